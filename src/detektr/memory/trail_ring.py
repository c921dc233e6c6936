"""The trail of one process: a ring of records of what became of frames. Its process writes, the supervisor reads.

The oldest records are overwritten; the reader counts how many. A successor of the process goes on in the same ring.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

from detektr.memory import layout
from detektr.memory.layout import (
    TRAIL_DELIVERY_SHIFT,
    TRAIL_EDGE_SHIFT,
    TRAIL_EDGE_WORDS,
    TRAIL_EDGES_MAX,
    TRAIL_NAME_BYTES,
    TRAIL_RECORD_WORDS,
    TRAIL_REPLICA_SHIFT,
    TRAIL_WORD_COUNT,
    TRAIL_WORD_EDGES,
    TRAIL_WORD_RECORDS,
    WORD_BYTES,
)
from detektr.memory.segment import Segment, create_segment, open_segment

_RECORD: Final = struct.Struct(f"={TRAIL_RECORD_WORDS}Q")
_RECORD_BYTES: Final = TRAIL_RECORD_WORDS * WORD_BYTES
_RECORDS_BYTE: Final = TRAIL_WORD_RECORDS * WORD_BYTES


class TrailRecord(NamedTuple):
    """One record; times are monotonic, in nanoseconds."""

    outcome: int
    """`layout.TRAIL_WORKED`, `TRAIL_FAILED` (an attempt), or the word of a journal that counts the frame."""
    edge: int
    """Entry of the edge, see `TrailReader.edge`."""
    replica: int
    """Of the consumer; `layout.TRAIL_NOBODY`: none had it."""
    delivery: int
    key: int
    sequence: int
    at_ns: int
    """When the frame left the edge, or the work on it ended."""
    queued_ns: int
    leased_ns: int
    """Of work: when it began."""
    frames: int
    """How many; `sequence` is that of the last one."""
    about: int
    """Of an event: mark (high half) and sequence (low half) of the frame that it is about; 0: it is a frame itself."""


class TrailWriter:
    """The process's end; used by one thread at a time."""

    def __init__(self, path: Path, records: int = layout.TRAIL_RECORDS) -> None:
        """Go on where a predecessor stopped, or reserve room for so many records.

        Raises:
            NoRoomError: shared memory has not that much left.
        """
        segment = open_segment(path, is_writable=True)
        if segment is not None and not _is_right(segment):
            segment.close()
            segment = None
        self.segment = segment or create_segment(path, layout.trail_bytes(records), lambda new: _fill(new, records))
        self._bytes, self._words = self.segment.bytes, self.segment.words
        self._room = self._words[layout.TRAIL_WORD_ROOM]
        self._count = self._words[TRAIL_WORD_COUNT]
        self._next_edge = 0
        self._used: set[int] = set()

    def add_edge(self, producer: str, consumer: str) -> int:
        """Return the entry of an edge: the one that it has, or the next that no edge uses; -1: there is none.

        Args:
            producer: the process, as in `buffer.0`.
            consumer: the process, or the node where any of its processes may be meant.
        """
        name = _name(producer) + _name(consumer)
        free = -1
        for place in range(TRAIL_EDGES_MAX):
            entry = (self._next_edge + place) % TRAIL_EDGES_MAX
            begin = _edge_byte(entry)
            known = bytes(self._bytes[begin : begin + 2 * TRAIL_NAME_BYTES])
            if known == name:
                self._used.add(entry)
                return entry
            if free < 0 and entry not in self._used:
                free = entry
        if free >= 0:  # the next one each time, so that records which are still to be read keep the name they had
            begin = _edge_byte(free)
            self._bytes[begin : begin + 2 * TRAIL_NAME_BYTES] = name
            self._used.add(free)
            self._next_edge = (free + 1) % TRAIL_EDGES_MAX
        return free

    def free_edge(self, entry: int) -> None:
        """Let another edge have an entry, some time."""
        self._used.discard(entry)

    def append(
        self,
        outcome: int,
        edge: int,
        replica: int,
        delivery: int,
        key: int,
        sequence: int,
        at_ns: int,
        queued_ns: int,
        leased_ns: int,
        frames: int,
        about: int,
    ) -> None:
        """Write one record, whose fields are those of `TrailRecord`; the reader sees it when it looks."""
        head = outcome | edge << TRAIL_EDGE_SHIFT | replica << TRAIL_REPLICA_SHIFT | delivery << TRAIL_DELIVERY_SHIFT
        record = _RECORD.pack(head, key, sequence, at_ns, queued_ns, leased_ns, frames, about)
        begin = _RECORDS_BYTE + self._count % self._room * _RECORD_BYTES
        self._bytes[begin : begin + _RECORD_BYTES] = record
        self._count += 1
        self._words[TRAIL_WORD_COUNT] = self._count

    def close(self, *, unlink: bool) -> None:
        """Unmap the ring; with `unlink` its file goes too."""
        if unlink:
            self.segment.path.unlink(missing_ok=True)
        self._bytes, self._words = self._bytes[:0], self._words[:0]
        self.segment.close()


class TrailReader:
    """The supervisor's end: each record once, in the order in which they were written."""

    def __init__(self, segment: Segment) -> None:
        """Read a mapped ring from its oldest record on."""
        self.segment = segment
        self._words, self._bytes = segment.words, segment.bytes
        self._room = self._words[layout.TRAIL_WORD_ROOM]
        self._count = max(0, self._words[TRAIL_WORD_COUNT] - self._room)
        self.lost = 0
        """Records that were overwritten before they were read."""

    def take(self) -> list[TrailRecord]:
        """Return the records that came since the last call; those that were overwritten meanwhile are counted."""
        begin, end = self._count, self._words[TRAIL_WORD_COUNT]
        if end == begin:
            return []
        begin = max(begin, end - self._room)
        first, last = begin % self._room, end % self._room
        if first < last:
            raw = bytes(self._bytes[self._byte(first) : self._byte(last)])
        else:
            raw = bytes(self._bytes[self._byte(first) : self._byte(self._room)])
            raw += bytes(self._bytes[self._byte(0) : self._byte(last)])
        # What was overwritten while we read, and the one that is being written now.
        oldest = self._words[TRAIL_WORD_COUNT] - self._room + 1
        torn = min(max(0, oldest - begin), end - begin)
        self.lost += begin - self._count + torn
        self._count = end
        return [
            TrailRecord(
                head & 0xFF,
                head >> TRAIL_EDGE_SHIFT & 0xFFFF,
                head >> TRAIL_REPLICA_SHIFT & 0xFFFF,
                head >> TRAIL_DELIVERY_SHIFT,
                *rest,
            )
            for head, *rest in _RECORD.iter_unpack(raw[torn * _RECORD_BYTES :])
        ]

    def edge(self, entry: int) -> tuple[str, str]:
        """Return the producer process and the consumer of an edge."""
        begin = _edge_byte(entry)
        raw = bytes(self._bytes[begin : begin + 2 * TRAIL_NAME_BYTES])
        names = raw[:TRAIL_NAME_BYTES], raw[TRAIL_NAME_BYTES:]
        producer, consumer = (name.rstrip(b"\0").decode("utf-8", "replace") for name in names)
        return producer, consumer

    def close(self) -> None:
        """Unmap the ring."""
        self._bytes, self._words = self._bytes[:0], self._words[:0]
        self.segment.close()

    def _byte(self, record: int) -> int:
        return _RECORDS_BYTE + record * _RECORD_BYTES


def open_trail(path: Path) -> TrailReader | None:
    """Map the ring of a process for reading; None: there is none of this version."""
    segment = open_segment(path)
    if segment is None or _is_right(segment):
        return None if segment is None else TrailReader(segment)
    segment.close()
    return None


def _edge_byte(entry: int) -> int:
    return (TRAIL_WORD_EDGES + entry * TRAIL_EDGE_WORDS) * WORD_BYTES


def _name(name: str) -> bytes:
    return name.encode()[:TRAIL_NAME_BYTES].ljust(TRAIL_NAME_BYTES, b"\0")


def _is_right(segment: Segment) -> bool:
    words = segment.words
    return (
        len(words) > TRAIL_WORD_RECORDS
        and words[layout.TRAIL_WORD_MAGIC] == layout.TRAIL_MAGIC
        and words[layout.TRAIL_WORD_VERSION] == layout.VERSION
        and 0 < words[layout.TRAIL_WORD_ROOM] <= (len(words) - TRAIL_WORD_RECORDS) // TRAIL_RECORD_WORDS
    )


def _fill(segment: Segment, records: int) -> None:
    words = segment.words
    words[layout.TRAIL_WORD_ROOM] = records
    words[layout.TRAIL_WORD_VERSION] = layout.VERSION
    words[layout.TRAIL_WORD_MAGIC] = layout.TRAIL_MAGIC
