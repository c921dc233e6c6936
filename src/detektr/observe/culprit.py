"""Finds the node that holds up a run: the last consumer in a chain of full edges, whose own edges have room. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
    waits_for = {node: edge.consumer for node, edge in full.items()}
    return {node: follow(node, waits_for)[-1] for node in full}


def follow(node: str, waits_for: Mapping[str, str]) -> list[str]:
    """Return the nodes from one to the culprit: each waits for the next, and the last for none.

    Args:
        node: the first.
        waits_for: of each node that waits for room, the consumer that it waits for.
    """
    path = [node]
    while (following := waits_for.get(path[-1])) is not None and following not in path:
        path.append(following)
    return path
