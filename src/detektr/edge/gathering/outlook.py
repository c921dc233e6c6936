"""What may still come to a node, and what will not, and why: as the journals of all edges on the way say.

A relay holds its lease of a frame until its own readers have settled it. So whatever has not reached the node yet is
queued or leased on the last edge above it whose frames come in order; and of that, a frame comes no more by an edge
that has a tombstone of it. Nothing is guessed: there is no clock here.
"""

from __future__ import annotations

from collections.abc import Sequence

from detektr.edge.gathering.journals import Journals
from detektr.edge.gathering.ways import WayEdge
from detektr.memory.announcement import FrameName
from detektr.memory.journal_reader import DELIVERED, LIVE
from detektr.memory.run_folder import RunFolder

Outcomes = dict[FrameName, str]


class Outlook:
    """The journals on the ways to one node, read when they are asked for, once between two calls of `look`."""

    def __init__(self, folder: RunFolder, node: str, ways: Sequence[WayEdge]) -> None:
        """Open nothing yet.

        Args:
            folder: of the run.
            node: to which the ways lead.
            ways: all edges on them.
        """
        self._journals, self._node, self._ways = Journals(folder), node, tuple(ways)
        self._from = {edge.producer: [other for other in ways if other.producer == edge.producer] for edge in ways}
        self._read: dict[WayEdge, Outcomes] = {}
        self._expected: dict[WayEdge, dict[int, int]] = {}

    def look(self) -> None:
        """Read the journals anew at the next question."""
        self._read.clear()

    def pending(self, key: int, first: int, last: int) -> set[int]:
        """Return which frames of a stream, from one sequence on and before another, may still come to the node."""
        found = set[int]()
        for edge in self._ways:
            if edge.is_last_in_order:
                for name, outcome in self._outcomes(edge).items():
                    is_asked = name[0] == key and first <= name[1] < last and outcome == LIVE
                    if is_asked and self._is_open(edge, name):
                        found.add(name[1])
        return found

    def outcome(self, branch: str, capture: str, name: FrameName) -> str:
        """Return why a frame will not come by one input of the node; empty: it may come.

        Args:
            branch: which input: the node at its other end.
            capture: the node that captured the frame.
            name: the frame, which is known to have come by another input, and so is not forgotten above.
        Returns:
            The reason of its drop, `dead_lettered`, `gone`; or `delivered`: the node was done with it.
        """
        found: list[str] = []
        for edge in self._ways:
            if edge.capture == capture:
                found += self._ends(edge, branch, name, LIVE)
        return "" if LIVE in found or not found else next((one for one in found if one != DELIVERED), DELIVERED)

    def close(self) -> None:
        """Close the journals."""
        self._journals.close()

    def _is_open(self, edge: WayEdge, name: FrameName) -> bool:
        """Whether a frame that an edge has not settled may come to the node by it."""
        if edge.consumer == self._node:
            return True
        for below in self._from[edge.consumer]:
            if self._outcomes(below).get(name, LIVE) == LIVE and self._is_open(below, name):
                return True
        return False

    def _ends(self, edge: WayEdge, branch: str, name: FrameName, above: str) -> list[str]:
        """Return how each way through an edge to the branch ends: empty where the frame may still come."""
        known = self._outcomes(edge).get(name)
        if known is None and above == DELIVERED:  # read before the edge above, perhaps, for another camera's frame
            known = self._outcomes(edge, is_anew=True).get(name)
        # Forgotten, or let go of above: of a node that has failed for good, or one that passed it on after its lease.
        if known is None and (self._has_forgotten(edge, name) or (edge.consumer == self._node and above == DELIVERED)):
            known = "gone"
        outcome = known or LIVE
        if outcome not in (LIVE, DELIVERED):
            return [outcome] if self._leads_to(edge, branch) else []
        if edge.consumer == self._node:
            return [outcome] if edge.producer == branch else []
        found: list[str] = []
        for below in self._from[edge.consumer]:
            found += self._ends(below, branch, name, outcome or above)
        return found

    def _leads_to(self, edge: WayEdge, branch: str) -> bool:
        if edge.consumer == self._node:
            return edge.producer == branch
        return any([self._leads_to(below, branch) for below in self._from[edge.consumer]])

    def _has_forgotten(self, edge: WayEdge, name: FrameName) -> bool:
        """Whether an edge that does not know a frame was offered it; never where frames come in any order."""
        return name[1] < self._expected[edge].get(name[0], 0)

    def _outcomes(self, edge: WayEdge, *, is_anew: bool = False) -> Outcomes:
        """Return what an edge knows of frames, on all its parts; one live on any part is live."""
        found = self._read.get(edge)
        if found is None or is_anew:
            found = self._read[edge] = {}
            self._expected[edge] = {}
            for part in range(edge.parts):
                journal = self._journals.get(edge.producer, part, edge.consumer)
                if journal is None:
                    continue
                self._expected[edge] |= journal.expected()  # first: what is offered after it is known to the second
                for name, outcome in journal.outcomes().items():
                    if outcome == LIVE or name not in found:
                        found[name] = outcome
        return found
