"""An edge whose frames come in any order, since its producer, or one above it, is a relay. It knows them by name.

A relay has replicas, and frames go back to them for another attempt, so the frames that it passes on are in no order.
What was offered here is known as long as it can be offered again: a settled frame leaves a tombstone, which the
producer forgets once the lease that it holds upstream is over (`RelayFanout.forget`).
"""

from __future__ import annotations

from collections.abc import Callable

from detektr.edge.edge import Offer
from detektr.edge.edge_options import EdgeOptions, FrameOutcome
from detektr.edge.state.lease import Cell
from detektr.edge.tombstone_edge import TombstoneEdge
from detektr.memory.announcement import Announcement, FrameName
from detektr.memory.journal import CellRecord
from detektr.memory.tombstone_journal import NamedJournal


class AnyOrderEdge(TombstoneEdge):
    """See the module's first lines."""

    def __init__(
        self,
        consumer: str,
        options: EdgeOptions,
        journal: NamedJournal,
        keep: Callable[[FrameOutcome], None] | None = None,
    ) -> None:
        """Adopt the frames, tombstones and replicas in the journal; see `Edge`."""
        self._known: set[FrameName] = set()
        super().__init__(consumer, options, journal, keep)

    def knows(self, name: FrameName) -> bool:
        """Whether the frame was offered here, and may come again."""
        return name in self._known

    def offer(self, input_index: int, announcement: Announcement, now_ns: int = 0, *, is_owed: bool = False) -> Offer:
        """See `Edge.offer`; the sequences of a stream may come in any order, `known` is decided by name."""
        if announcement.name in self._known:
            return "known"
        answer = super().offer(input_index, announcement, now_ns, is_owed=is_owed)
        if answer == "taken":
            self._known.add(announcement.name)
        return answer

    def forget(self, name: FrameName) -> None:
        """Free the tombstone of a frame that cannot come again, if there is one."""
        if name in self.tombstones:
            self._known.discard(name)
        super().forget(name)

    def _bury(self, cell: Cell) -> None:
        self._known.add(cell.name)
        super()._bury(cell)

    def _adopt_cells(self, records: list[CellRecord]) -> None:
        self._known |= {(record.key, record.sequence) for record in records}
        super()._adopt_cells(records)
