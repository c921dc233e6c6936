"""An edge whose frames come in any order, since its producer, or one above it, is a relay. It knows them by name.

A relay has replicas, and frames go back to them for another attempt, so the frames that it passes on are in no order.
What was offered here is known as long as it can be offered again: a settled frame leaves a tombstone, which the
producer forgets once the lease that it holds upstream is over (`RelayFanout.forget`).
"""

from __future__ import annotations

from collections.abc import Callable

from detektr.edge.edge import Edge, Offer
from detektr.edge.edge_options import EdgeOptions, FrameOutcome, OutcomeKind
from detektr.edge.lease import Cell
from detektr.memory.announcement import Announcement, FrameName
from detektr.memory.journal import DROPPED, SETTLED_MAX, CellRecord
from detektr.memory.named_journal import NamedJournal


class AnyOrderEdge(Edge):
    """See the module's first lines."""

    def __init__(
        self,
        consumer: str,
        options: EdgeOptions,
        journal: NamedJournal,
        keep: Callable[[FrameOutcome], None] | None = None,
    ) -> None:
        """Adopt the frames, tombstones and replicas in the journal; see `Edge`."""
        self.tombstones: dict[FrameName, Cell] = {}
        self._known: set[FrameName] = set()
        self._named = journal
        self._input = 0  # where the frame that is being offered came from
        self._at_hand: Announcement | None = None  # that frame
        super().__init__(consumer, options, journal, keep)

    def knows(self, name: FrameName) -> bool:
        """Whether the frame was offered here, and may come again."""
        return name in self._known

    @property
    def is_short(self) -> bool:
        """Whether no cell is left for another frame."""
        return not self._free

    def has_room(self, input_index: int) -> bool:
        """See `Edge.has_room`; without a cell not even a frame that is dropped can be offered, as it must be known."""
        return bool(self._free) and super().has_room(input_index)

    def offer(self, input_index: int, announcement: Announcement, now_ns: int = 0, *, is_owed: bool = False) -> Offer:
        """See `Edge.offer`; the sequences of a stream may come in any order, `known` is decided by name."""
        if announcement.name in self._known:
            return "known"
        self._input, self._at_hand = input_index, announcement
        answer = super().offer(input_index, announcement, now_ns, is_owed=is_owed)
        if answer == "taken":
            self._known.add(announcement.name)
        return answer

    def count_dropped(self, key: int, last_sequence: int, count: int, reason: str, payload: bytes = b"") -> None:
        """Count the frame that is being offered as dropped, and keep its name; see `Edge.count_dropped`."""
        assert count == 1 and self._at_hand is not None, "only captures count frames that they never announced"
        is_asked_for = reason == "filtered" and self.options.only_results  # on nearly every frame: no news
        if not is_asked_for:
            self._outcomes.append(FrameOutcome(OutcomeKind.DROPPED, last_sequence, reason, 0, payload))
        self._offered += 1
        camera = None if self._dropped_cameras is None else self._dropped_cameras.entry_of(key, payload)
        if not self._free:
            self._named.count_settled(DROPPED[reason], self._offered, camera)
            return
        ordinal, self._next_ordinal = self._next_ordinal, self._next_ordinal + 1
        cell = Cell(self._free.pop(), ordinal, self._input, self._at_hand)
        counted = self._offered, DROPPED[reason], camera
        self._named.record_settled(cell.index, ordinal, self._input, self._at_hand, *counted)
        self._bury(cell)

    def forget(self, name: FrameName) -> None:
        """Free the tombstone of a frame that cannot come again, if there is one."""
        cell = self.tombstones.pop(name, None)
        if cell is not None:
            self._named.forget(cell.index)
            self._known.discard(name)
            self._free.append(cell.index)

    def _bury(self, cell: Cell) -> None:
        self._known.add(cell.name)
        self.tombstones[cell.key, cell.sequence] = cell

    def _adopt_cells(self, records: list[CellRecord]) -> None:
        for record in records:
            if record.is_settled:
                announcement = Announcement(record.key, record.sequence, record.captured_ns, record.payload)
                self._bury(Cell(record.cell, record.ordinal, record.input_index, announcement))
            else:
                self._known.add((record.key, record.sequence))
        super()._adopt_cells([record for record in records if not record.is_settled])

    def _settle(self, cells: list[Cell], counter: int, camera: int | None = None) -> None:
        """Make tombstones of frames, and count each once in `counter`; drops of one camera also in its entry."""
        for begin in range(0, len(cells), SETTLED_MAX):
            batch = cells[begin : begin + SETTLED_MAX]
            self._named.settle([cell.index for cell in batch], counter, camera)
            for cell in batch:
                self.group.release(cell)
                self._bury(cell)
                self.settled.append((cell.key, cell.sequence))
