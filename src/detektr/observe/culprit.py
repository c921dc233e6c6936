"""Who holds up a run: the last consumer down a chain of full edges, whose own edges have room. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.ledger import EdgeLedger, merge

HELD_NS = 2_000_000_000  # full for so long: it is not a burst


def held_up(ledgers: Iterable[EdgeLedger], now_ns: int) -> dict[str, str]:
    """Return which nodes wait for room, and for whom each of them waits in the end.

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
