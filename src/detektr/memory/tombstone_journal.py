"""Journals that keep the name of a settled frame, and what became of it, until their writer forgets it.

The cell of a settled frame becomes a tombstone: counted, neither queued nor leased, its name and payload kept, and the
counter that has it. An edge whose frames come in any order knows them by these names, not by a high mark; an edge that
others ask what became of a frame answers by them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from detektr.memory.announcement import Announcement
from detektr.memory.journal import Journal, map_journal
from detektr.memory.layout import (
    CELL_FREE,
    CELL_LEASED,
    CELL_OWNER,
    CELL_PAYLOAD,
    CELL_QUEUED,
    CELL_SETTLED,
    CELL_STATE,
    EDGE_WORD_OFFERED,
    STATE_COUNTER_SHIFT,
    WORD_BYTES,
)
from detektr.memory.segment import Segment

Kept = TypeVar("Kept", bound="TombstoneJournal")
_CELL = struct.Struct(f"={CELL_PAYLOAD - CELL_OWNER}Q")


class TombstoneJournal(Journal):
    """See the module's first lines. Frames come in order."""

    def record_settled(
        self,
        cell: int,
        ordinal: int,
        input_index: int,
        announcement: Announcement,
        offered: int,
        counter: int,
        camera: int | None,
    ) -> None:
        """Write a frame that the edge does not take into a free cell as a tombstone, and count it, in one change.

        Args:
            cell: see `record`, as the next four.
            ordinal: see there.
            input_index: see there.
            announcement: see there.
            offered: see there.
            counter: one of `DROPPED`.
            camera: entry of its camera, see `take_camera`; None: not known.
        """
        self._fill(cell, ordinal, input_index, announcement, (0, 0, 0, 0))
        change = [*self._counted(counter, 1, camera), *self._expected(announcement)]
        self.apply([EDGE_WORD_OFFERED, offered, *change, self.word_of(cell, CELL_STATE), _tombstone(counter)])

    def count_settled(self, announcement: Announcement, counter: int, offered: int, camera: int | None) -> None:
        """Count a frame that the edge does not take, where there is no cell for its tombstone."""
        self.apply([EDGE_WORD_OFFERED, offered, *self._counted(counter, 1, camera), *self._expected(announcement)])

    def settle(self, cells: Sequence[int], counter: int, camera: int | None = None) -> None:
        """Make tombstones of these cells, at most `SETTLED_MAX`, and count their frames; see `Journal.settle`."""
        change = self._counted(counter, len(cells), camera)
        state = _tombstone(counter)
        for cell in cells:
            change += (self.word_of(cell, CELL_STATE), state)
        self.apply(change)

    def forget(self, cell: int) -> None:
        """Free the cell of a tombstone: its frame cannot be offered again."""
        self._words[self.word_of(cell, CELL_STATE)] = CELL_FREE

    def _expected(self, announcement: Announcement) -> tuple[int, ...]:
        """Return the change that says which sequence is expected after this one."""
        return self.seen_word(announcement.key), announcement.sequence + 1

    def _counted(self, counter: int, count: int, camera: int | None) -> list[int]:
        """Return the change that counts frames in a counter, and where they are drops of one camera in its entry."""
        change = [counter, self._words[counter] + count]
        if camera is not None:
            change += self._of_camera(camera, counter, count)
        return change

    def _fill(
        self, cell: int, ordinal: int, input_index: int, announcement: Announcement, lease: tuple[int, int, int, int]
    ) -> None:
        """Write all of a cell but its state: it counts as nothing until that says otherwise."""
        key, sequence, payload = announcement.key, announcement.sequence, announcement.payload
        begin = self.word_of(cell, CELL_OWNER) * WORD_BYTES
        words = _CELL.pack(*lease, 0, ordinal, key, sequence, input_index, announcement.captured_ns, len(payload))
        self._bytes[begin : begin + len(words) + len(payload)] = words + payload


class NamedJournal(TombstoneJournal):
    """The journal of an edge whose frames come in any order. The words of seen streams stay empty."""

    def record(
        self,
        cell: int,
        ordinal: int,
        input_index: int,
        announcement: Announcement,
        offered: int,
        lease: tuple[int, int, int, int] | None = None,
    ) -> None:
        """See `Journal.record`."""
        self._fill(cell, ordinal, input_index, announcement, lease or (0, 0, 0, 0))
        state = CELL_QUEUED if lease is None else CELL_LEASED
        self.apply((EDGE_WORD_OFFERED, offered, self.word_of(cell, CELL_STATE), state))

    def _expected(self, announcement: Announcement) -> tuple[int, ...]:
        return ()


def _tombstone(counter: int) -> int:
    """Return the state of a cell whose frame is counted in a counter."""
    return CELL_SETTLED | counter << STATE_COUNTER_SHIFT


def adopt_tombstone_journal(
    path: Path, cells: int, payload_bytes: int, mark: int, kind: type[Kept]
) -> tuple[Segment, Kept]:
    """See `adopt_journal`; of an edge that keeps the names of settled frames.

    Raises:
        NoRoomError: shared memory has no room for a fresh one.
    """
    segment = map_journal(path, cells, payload_bytes, mark)
    journal = kind(segment.bytes)
    journal.open()
    return segment, journal
