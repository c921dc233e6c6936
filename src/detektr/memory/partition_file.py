"""The map of one consumer's cameras and replicas in shared memory: its supervisor writes it, everybody reads it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detektr.memory import layout
from detektr.memory.segment import Segment, create_segment, open_segment

Row = tuple[str, int, int]  # camera, number of its replica (-1: nobody), epoch since which that is so


class PartitionWriter:
    """Its only writer. A reader sees one whole state of the map or another, never a mixture."""

    def __init__(self, path: Path, epoch: int, replicas: int, rows: Sequence[Row]) -> None:
        """Make the file; the cameras and their order are the same for as long as it lives.

        Raises:
            NoRoomError: shared memory has no room for it.
        """

        def fill(segment: Segment) -> None:
            words = segment.words
            words[layout.PARTITION_WORD_REPLICAS], words[layout.PARTITION_WORD_COUNT] = replicas, len(rows)
            for place, (camera, owner, since) in enumerate(rows):
                at = _entry(place)
                begin = (at + layout.PARTITION_CAMERA) * layout.WORD_BYTES
                end = begin + layout.PARTITION_CAMERA_BYTES
                segment.bytes[begin:end] = camera.encode().ljust(layout.PARTITION_CAMERA_BYTES, b"\0")
                words[at + layout.PARTITION_OWNER], words[at + layout.PARTITION_SINCE] = owner + 1, since
            words[layout.PARTITION_WORD_CHANGE] = 2 * epoch
            words[layout.PARTITION_WORD_VERSION] = layout.VERSION
            words[layout.PARTITION_WORD_MAGIC] = layout.PARTITION_MAGIC

        self._segment = create_segment(path, layout.partition_bytes(len(rows)), fill)

    def write(self, epoch: int, replicas: int, rows: Sequence[Row]) -> None:
        """Replace the state of the map by that of a later epoch."""
        words = self._segment.words
        words[layout.PARTITION_WORD_CHANGE] += 1
        words[layout.PARTITION_WORD_REPLICAS] = replicas
        for place, (_, owner, since) in enumerate(rows):
            at = _entry(place)
            words[at + layout.PARTITION_OWNER], words[at + layout.PARTITION_SINCE] = owner + 1, since
        words[layout.PARTITION_WORD_CHANGE] = 2 * epoch

    def close(self) -> None:
        """Unmap the file; its name stays."""
        self._segment.close()


class PartitionReader:
    """The map for any process."""

    def __init__(self, segment: Segment) -> None:
        """Read the mapped file."""
        self._segment, self._words = segment, segment.words

    @property
    def is_unlinked(self) -> bool:
        """Whether the file's name is gone: the run is over."""
        return self._segment.is_unlinked

    @property
    def epoch(self) -> int:
        """Epoch of the present state, or of the one before while it is being replaced."""
        return self._words[layout.PARTITION_WORD_CHANGE] >> 1

    @property
    def replicas(self) -> int:
        """Replicas of the consumer."""
        return self._words[layout.PARTITION_WORD_REPLICAS]

    def read(self) -> tuple[int, list[Row]] | None:
        """Return epoch and rows of the present state; None: it is just being replaced."""
        words = self._words
        change = words[layout.PARTITION_WORD_CHANGE]
        rows = []
        for place in range(words[layout.PARTITION_WORD_COUNT]):
            at = _entry(place)
            begin = (at + layout.PARTITION_CAMERA) * layout.WORD_BYTES
            camera = bytes(self._segment.bytes[begin : begin + layout.PARTITION_CAMERA_BYTES]).rstrip(b"\0").decode()
            rows.append((camera, words[at + layout.PARTITION_OWNER] - 1, words[at + layout.PARTITION_SINCE]))
        return None if change & 1 or words[layout.PARTITION_WORD_CHANGE] != change else (change >> 1, rows)

    def close(self) -> None:
        """Unmap the file."""
        self._segment.close()


def open_partition(path: Path) -> PartitionReader | None:
    """Map a consumer's map; None: there is none, so that its cameras live where they began."""
    segment = open_segment(path)
    if segment is None:
        return None
    words = segment.words
    if (words[layout.PARTITION_WORD_MAGIC], words[layout.PARTITION_WORD_VERSION]) != (
        layout.PARTITION_MAGIC,
        layout.VERSION,
    ):
        segment.close()
        return None
    return PartitionReader(segment)


def _entry(place: int) -> int:
    return layout.PARTITION_WORD_ENTRIES + place * layout.PARTITION_ENTRY_WORDS
