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


class HeldUp:
    """How long each culprit has held up others in a run, and whom: for the last lines."""

    def __init__(self) -> None:
        """Begin without a look."""
        self._looked_ns = 0
        self._spans_ns: dict[str, int] = {}
        self._held: dict[str, dict[str, None]] = {}

    def look(self, ledgers: Iterable[EdgeLedger], now_ns: int) -> None:
        """Take another look; a culprit now counts as one since the last look."""
        culprits = held_up(ledgers, now_ns)
        for culprit in dict.fromkeys(culprits.values()):
            self._spans_ns[culprit] = self._spans_ns.get(culprit, 0) + now_ns - (self._looked_ns or now_ns)
            held = (node for node, other in culprits.items() if other == culprit)
            self._held.setdefault(culprit, {}).update(dict.fromkeys(held))
        self._looked_ns = now_ns

    def words(self, ledgers: Iterable[EdgeLedger]) -> list[str]:
        """Return who held up whom, for nodes before which frames were lost.

        Args:
            ledgers: of all edges, at the end.
        """
        whole, lines = merge(ledgers), []
        for culprit, held in self._held.items():
            lost = sum(sum(edge.dropped.values()) for edge in whole if {edge.producer, edge.consumer} & held.keys())
            taken = [edge for edge in whole if edge.consumer == culprit and edge.producer in held]
            if lost:
                lines.append(
                    f"{culprit} HELD UP {', '.join(held)} for {self._spans_ns[culprit] / 1e9:.0f} s:"
                    f" it took {sum(edge.delivered for edge in taken)} of {sum(edge.offered for edge in taken)},"
                    f" and {lost} were dropped before it; make it faster, or `optional: true`"
                )
        return lines
