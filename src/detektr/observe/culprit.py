"""Finds the node that holds up a run: the last consumer in a chain of full edges, whose own edges have room. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.ledger import EdgeLedger, merge

HELD_NS = 2_000_000_000  # an edge that is full for so long has no mere burst


def held_up(ledgers: Iterable[EdgeLedger], now_ns: int) -> dict[str, str]:
    """Return the nodes that wait for room, each with the node that it waits for in the end.

    Args:
        ledgers: of all edges.
        now_ns: now, monotonic.
    """
    full: dict[str, EdgeLedger] = {}
    for edge in merge(ledgers):
        if not edge.full_since_ns or not edge.queued or now_ns - edge.full_since_ns < HELD_NS:
            continue
        known = full.get(edge.producer)
        if known is None or edge.full_since_ns < known.full_since_ns:
            full[edge.producer] = edge
    culprits = {}
    for node in full:
        last, passed = node, {node}
        while last in full and full[last].consumer not in passed:
            last = full[last].consumer
            passed.add(last)
        culprits[node] = last
    return culprits
