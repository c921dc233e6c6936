"""The completion queue: one consumer process writes the leases that it completes on one edge; the producer reads it.

It also says whether the consumer sleeps; then the producer rings its doorbell for new leases.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from detektr.errors import WireError
from detektr.memory import layout
from detektr.memory.segment import Segment, create_segment, open_segment

Completion = tuple[int, int, int]  # stream key, sequence, delivery tag (0: not known), perhaps with `PASSED_ON`
PASSED_ON: Final = 1 << 63  # in a delivery tag: the work is done and the frame passed on; its lease stands until later
_ENTRY_WORDS = 3


class CompletionQueueWriter:
    """The consumer's end. It never overtakes its reader: there is room for as many leases as the consumer can hold."""

    def __init__(self, path: Path, room: int) -> None:
        """Go on where a predecessor stopped, or reserve room for `room` leases.

        Raises:
            NoRoomError: shared memory has not that much left.
        """
        segment = open_segment(path, is_writable=True)
        if segment is not None and not (_is_right(segment) and segment.words[layout.COMPLETION_WORD_ROOM] >= room):
            segment.close()
            segment = None
        self.segment = segment or create_segment(path, layout.completion_queue_bytes(room), _fill)
        self._words = self.segment.words
        self._room = self._words[layout.COMPLETION_WORD_ROOM]
        self.count = self._words[layout.COMPLETION_WORD_COUNT]
        self._sleeps = self._words[layout.COMPLETION_WORD_SLEEPS]
        self.is_asleep = self._sleeps & 1 == 1
        """Whether the queue says that we sleep."""

    def append(self, key: int, sequence: int, delivery_tag: int) -> None:
        """Complete one lease; the producer sees it when it looks. An ended lease of the same frame has another tag."""
        words = self._words
        at = layout.COMPLETION_WORD_ENTRIES + self.count % self._room * _ENTRY_WORDS
        words[at] = key
        words[at + 1] = sequence
        words[at + 2] = delivery_tag
        self.count += 1
        words[layout.COMPLETION_WORD_COUNT] = self.count

    def toggle_asleep(self) -> None:
        """Say that we sleep; if the queue says so already, that we are awake."""
        self._sleeps += 1
        self.is_asleep = not self.is_asleep
        self._words[layout.COMPLETION_WORD_SLEEPS] = self._sleeps

    def restate(self) -> int:
        """Write the count of completed leases again, and return it; a new producer begins after them."""
        self._words[layout.COMPLETION_WORD_COUNT] = self.count
        return self.count

    def close(self) -> None:
        """Remove the name; a producer that has the queue mapped can still read it to the end."""
        self.segment.path.unlink(missing_ok=True)
        self._words = self._words[:0]
        self.segment.close()


class CompletionQueueReader:
    """The producer's end: leases in the order in which they were completed, each once."""

    def __init__(self, segment: Segment, count: int) -> None:
        """Read a mapped queue from the `count`-th lease on."""
        self.segment = segment
        self._words = segment.words
        self._room = segment.words[layout.COMPLETION_WORD_ROOM]
        self._count = count

    @property
    def sleep_count(self) -> int:
        """How often its writer fell asleep or woke: odd while it sleeps."""
        return self._words[layout.COMPLETION_WORD_SLEEPS]

    @property
    def has_news(self) -> bool:
        """Whether leases were completed since the last `take`."""
        return self._words[layout.COMPLETION_WORD_COUNT] != self._count

    def take(self) -> list[Completion]:
        """Return the leases that were completed since the last call.

        Raises:
            WireError: there are more than the queue has room for: its writer is not detektr.
        """
        words, begin = self._words, self._count
        end = words[layout.COMPLETION_WORD_COUNT]
        if end == begin:
            return []
        if not 0 < end - begin <= self._room:
            raise WireError(f"{self.segment.path.name} says that {end} leases were released; {begin} were read so far")
        first, last = begin % self._room, (end - 1) % self._room
        at, room = layout.COMPLETION_WORD_ENTRIES, self._room
        if first == last:
            at += first * _ENTRY_WORDS
            self._count = end
            return [(words[at], words[at + 1], words[at + 2])]
        if first < last:
            flat = words[at + first * _ENTRY_WORDS : at + (last + 1) * _ENTRY_WORDS].tolist()
        else:
            flat = words[at + first * _ENTRY_WORDS : at + room * _ENTRY_WORDS].tolist()
            flat += words[at : at + (last + 1) * _ENTRY_WORDS].tolist()
        self._count = end
        return list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))

    def close(self) -> None:
        """Unmap the file."""
        self._words = self._words[:0]
        self.segment.close()


def open_completion_queue(path: Path, count: int) -> CompletionQueueReader | None:
    """Map a consumer's completion queue, to be read from the `count`-th lease on; None: there is none.

    Raises:
        WireError: the file is not one of this version.
    """
    segment = open_segment(path)
    if segment is None:
        return None
    if not _is_right(segment):
        segment.close()
        raise WireError(f"{path.name} is not a completion queue of version {layout.VERSION}")
    return CompletionQueueReader(segment, count)


def _is_right(segment: Segment) -> bool:
    words = segment.words
    return (
        len(segment.bytes) >= layout.PAGE_BYTES
        and words[layout.COMPLETION_WORD_MAGIC] == layout.COMPLETION_MAGIC
        and words[layout.COMPLETION_WORD_VERSION] == layout.VERSION
        and 0 < words[layout.COMPLETION_WORD_ROOM] <= (len(words) - layout.COMPLETION_WORD_ENTRIES) // _ENTRY_WORDS
    )


def _fill(segment: Segment) -> None:
    words = segment.words
    words[layout.COMPLETION_WORD_ROOM] = (len(words) - layout.COMPLETION_WORD_ENTRIES) // _ENTRY_WORDS
    words[layout.COMPLETION_WORD_VERSION] = layout.VERSION
    words[layout.COMPLETION_WORD_MAGIC] = layout.COMPLETION_MAGIC
