"""An edge that keeps the name of a settled frame, and what became of it, as a tombstone until it is told to forget.

Frames come in order here, as on any edge above the first processor. Somebody below joins branches, and asks the
journals of all edges on the way why a frame did not come: so nobody forgets it before the last branch is done with it
(`Fanout.sweep`). `AnyOrderEdge` is the kind below processors.
"""

from __future__ import annotations

from collections.abc import Callable

from detektr.edge.edge import Edge, Offer
from detektr.edge.edge_options import EdgeOptions, FrameOutcome, OutcomeKind
from detektr.edge.state.lease import Cell
from detektr.memory.announcement import Announcement, FrameName
from detektr.memory.journal import DELIVERED, DROPPED, SETTLED_MAX, CellRecord
from detektr.memory.tombstone_journal import TombstoneJournal


class TombstoneEdge(Edge):
    """See the module's first lines."""

    def __init__(
        self,
        consumer: str,
        options: EdgeOptions,
        journal: TombstoneJournal,
        keep: Callable[[FrameOutcome], None] | None = None,
    ) -> None:
        """Adopt the frames, tombstones and replicas in the journal; see `Edge`."""
        self.tombstones: dict[FrameName, Cell] = {}
        self._keeping = journal
        self._input = 0  # where the frame that is being offered came from
        self._at_hand: Announcement | None = None  # that frame
        super().__init__(consumer, options, journal, keep)

    @property
    def is_short(self) -> bool:
        """Whether no cell is left for another frame."""
        return not self._free

    def has_room(self, input_index: int) -> bool:
        """See `Edge.has_room`; without a cell not even a frame that is dropped can be offered, as it must be known."""
        return bool(self._free) and super().has_room(input_index)

    def offer(self, input_index: int, announcement: Announcement, now_ns: int = 0, *, is_owed: bool = False) -> Offer:
        """See `Edge.offer`."""
        self._input, self._at_hand = input_index, announcement
        answer = super().offer(input_index, announcement, now_ns, is_owed=is_owed)
        self._at_hand = None
        return answer

    def count_dropped(self, key: int, last_sequence: int, count: int, reason: str, payload: bytes = b"") -> None:
        """See `Edge.count_dropped`; the name of the frame that is being offered is kept."""
        at_hand = self._at_hand
        if at_hand is None:  # a capture's, which it never announced to anybody
            super().count_dropped(key, last_sequence, count, reason, payload)
            return
        self._has_lost = True
        is_asked_for = reason == "filtered" and self.options.only_results  # on nearly every frame: no news
        if not is_asked_for:
            self._outcomes.append(FrameOutcome(OutcomeKind.DROPPED, last_sequence, reason, 0, payload))
        if self.trail is not None:
            self.trail.dropped(key, last_sequence, count, reason, payload)
        self._offered += 1
        camera = None if self._dropped_cameras is None else self._dropped_cameras.entry_of(key, payload)
        if not self._free:
            self._keeping.count_settled(at_hand, DROPPED[reason], self._offered, camera)
            return
        ordinal, self._next_ordinal = self._next_ordinal, self._next_ordinal + 1
        cell = Cell(self._free.pop(), ordinal, self._input, at_hand)
        counted = self._offered, DROPPED[reason], camera
        self._keeping.record_settled(cell.index, ordinal, self._input, at_hand, *counted)
        self._bury(cell)

    def forget(self, name: FrameName) -> None:
        """Free the tombstone of a frame that nobody asks for any more, if there is one."""
        cell = self.tombstones.pop(name, None)
        if cell is not None:
            self._keeping.forget(cell.index)
            self._free.append(cell.index)

    def _bury(self, cell: Cell) -> None:
        self.tombstones[cell.key, cell.sequence] = cell

    def _adopt_cells(self, records: list[CellRecord]) -> None:
        for record in records:
            if record.is_settled:
                announcement = Announcement(record.key, record.sequence, record.captured_ns, record.payload)
                self._bury(Cell(record.cell, record.ordinal, record.input_index, announcement))
        super()._adopt_cells([record for record in records if not record.is_settled])

    def _settle(self, cells: list[Cell], counter: int, camera: int | None = None) -> None:
        """Make tombstones of frames, and count each once in `counter`; drops of one camera also in its entry."""
        self._has_lost |= counter != DELIVERED
        if self.trail is not None:
            self._tell(cells, counter)
        for begin in range(0, len(cells), SETTLED_MAX):
            batch = cells[begin : begin + SETTLED_MAX]
            self._keeping.settle([cell.index for cell in batch], counter, camera)
            for cell in batch:
                self.group.release(cell)
                self._bury(cell)
                self.settled.append((cell.key, cell.sequence))
