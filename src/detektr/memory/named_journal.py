"""The journal of an edge whose frames come in any order: it knows each frame by its name, not by a high mark.

The cell of a settled frame becomes a tombstone: counted, neither queued nor leased, its name and payload kept. Its
writer forgets it once the frame cannot come again. So the names in the cells are exactly the frames that were offered
and may still be offered once more.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

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
    WORD_BYTES,
)
from detektr.memory.segment import Segment

_CELL = struct.Struct(f"={CELL_PAYLOAD - CELL_OWNER}Q")


class NamedJournal(Journal):
    """See the module's first lines. The words of seen streams stay empty."""

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
        change = self._counted(counter, 1, camera)
        self.apply([EDGE_WORD_OFFERED, offered, *change, self.word_of(cell, CELL_STATE), CELL_SETTLED])

    def count_settled(self, counter: int, offered: int, camera: int | None) -> None:
        """Count a frame that the edge does not take, where there is no cell for its tombstone."""
        self.apply([EDGE_WORD_OFFERED, offered, *self._counted(counter, 1, camera)])

    def settle(self, cells: Sequence[int], counter: int, camera: int | None = None) -> None:
        """Make tombstones of these cells, at most `SETTLED_MAX`, and count their frames; see `Journal.settle`."""
        change = self._counted(counter, len(cells), camera)
        for cell in cells:
            change += (self.word_of(cell, CELL_STATE), CELL_SETTLED)
        self.apply(change)

    def forget(self, cell: int) -> None:
        """Free the cell of a tombstone: its frame cannot be offered again."""
        self._words[self.word_of(cell, CELL_STATE)] = CELL_FREE

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


def adopt_named_journal(path: Path, cells: int, payload_bytes: int, mark: int) -> tuple[Segment, NamedJournal]:
    """See `adopt_journal`; of an edge whose frames come in any order.

    Raises:
        NoRoomError: shared memory has no room for a fresh one.
    """
    segment = map_journal(path, cells, payload_bytes, mark)
    journal = NamedJournal(segment.bytes)
    journal.open()
    return segment, journal
