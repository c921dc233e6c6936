"""The frames that are known where branches part: as long as one is, whoever joins them may ask what became of it."""

from __future__ import annotations

from collections.abc import Sequence

from detektr.edge.gathering.journals import Journals
from detektr.edge.gathering.ways import WayEdge
from detektr.memory.announcement import FrameName
from detektr.memory.run_folder import RunFolder


class KnownAbove:
    """The journals of the edges above a node on which branches part that are joined below it."""

    def __init__(self, folder: RunFolder, forks: Sequence[WayEdge]) -> None:
        """Open nothing yet; `forks` are those edges."""
        self._journals, self._forks = Journals(folder), tuple(forks)

    def names(self) -> set[FrameName]:
        """Return the names of all frames that are known there now."""
        found = set[FrameName]()
        for edge in self._forks:
            for part in range(edge.parts):
                journal = self._journals.get(edge.producer, part, edge.consumer)
                if journal is not None:
                    live, settled = journal.names()
                    found |= live | settled
        return found

    def close(self) -> None:
        """Close the journals."""
        self._journals.close()
