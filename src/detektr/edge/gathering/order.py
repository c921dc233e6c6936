"""Holds frames back until all earlier ones of their stream have been begun, or will not come. Pure: it has no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from detektr.memory.announcement import FrameName

STREAMS_MAX = 1024  # of which something is remembered though nothing of them is here
Item = TypeVar("Item")
Pending = Callable[[int, int, int], set[int]]
"""Of a stream: which frames from one sequence on, and before another, may still come."""


class _Stream(Generic[Item]):
    """One stream."""

    __slots__ = ("failed", "held", "low", "out")

    def __init__(self) -> None:
        self.low = 0
        """All frames before it were begun, or will not come; but for those in `failed`."""
        self.held: dict[int, Item] = {}
        self.failed = set[int]()
        """Frames before `low` whose attempt has failed, and that may come again."""
        self.out: int | None = None
        """The frame that may begin, and has not."""


class Order(Generic[Item]):
    """The frames of all streams that have come to one node and may not begin yet.

    At most one frame of each stream is out, ready to begin, at a time: the next one is asked for when that has begun.
    """

    def __init__(self, pending: Pending) -> None:
        """Begin without any; `pending` tells what may still come."""
        self._pending = pending
        self._streams: dict[int, _Stream[Item]] = {}

    @property
    def is_holding(self) -> bool:
        """Whether some frame is held back."""
        return any([stream.held for stream in self._streams.values()])

    def hold(self, name: FrameName, item: Item) -> Item | None:
        """Take a frame that has come; returns the other lease of one that is held already."""
        stream = self._streams.setdefault(name[0], _Stream())
        other = stream.held.get(name[1])
        stream.held[name[1]] = item
        return other

    def ready(self) -> list[tuple[FrameName, Item]]:
        """Return the frames that may begin now, one of each stream at most."""
        found = []
        for key, stream in self._streams.items():
            if stream.held and stream.out is None:
                sequence = min(stream.held)
                if self._may_begin(key, stream, sequence):
                    stream.out = sequence
                    found.append(((key, sequence), stream.held.pop(sequence)))
        return found

    def following(self) -> int:
        """Return how many held frames may begin one after the other, as soon as those before them have."""
        return sum([self._following(key, stream) for key, stream in self._streams.items() if stream.held])

    def begun(self, name: FrameName) -> None:
        """Note that work on a frame that was ready has begun."""
        stream = self._streams.setdefault(name[0], _Stream())
        if stream.out == name[1]:
            stream.out = None
        stream.failed.discard(name[1])
        stream.low = max(stream.low, name[1] + 1)

    def skipped(self, name: FrameName) -> None:
        """Note that a frame that was ready is not begun, as its lease was over: it may come again."""
        stream = self._streams.get(name[0])
        if stream is not None and stream.out == name[1]:
            stream.out = None

    def failed(self, name: FrameName) -> int | None:
        """Note that an attempt has failed: the frame may come again, before all later ones.

        Returns:
            The sequence of a later frame that is out, and is not to begin: it is to be held again. None: there is none.
        """
        stream = self._streams.setdefault(name[0], _Stream())
        if stream.out == name[1]:
            stream.out = None
        if name[1] < stream.low:
            stream.failed.add(name[1])
        recalled = stream.out if stream.out is not None and stream.out > name[1] else None
        if recalled is not None:
            stream.out = None
        return recalled

    def is_behind(self, name: FrameName) -> bool:
        """Whether an attempt at an earlier frame of the stream has failed, and that may come again."""
        stream = self._streams.get(name[0])
        return stream is not None and self._is_behind(name[0], stream, name[1])

    def forget(self, is_over: Callable[[Item], bool]) -> list[Item]:
        """Let go of held frames whose leases are over; returns those."""
        found = []
        for key, stream in list(self._streams.items()):
            for sequence, item in list(stream.held.items()):
                if is_over(item):
                    found.append(stream.held.pop(sequence))
            if not stream.held and stream.out is None and not stream.failed and len(self._streams) > STREAMS_MAX:
                del self._streams[key]  # whatever comes of it is in order by what is pending then
        return found

    def _may_begin(self, key: int, stream: _Stream[Item], sequence: int) -> bool:
        if self._is_behind(key, stream, sequence):
            return False
        if sequence <= stream.low:
            return True
        # What is held back itself is pending too, and comes later than the least of it, which this frame is.
        return not self._pending(key, stream.low, sequence)

    def _following(self, key: int, stream: _Stream[Item]) -> int:
        last = max(stream.held)
        waited_for = self._pending(key, stream.low, last) - stream.held.keys() - {stream.out}
        if self._is_behind(key, stream, last):
            waited_for |= stream.failed
        first = min(waited_for, default=last + 1)
        return sum([sequence < first for sequence in stream.held])

    def _is_behind(self, key: int, stream: _Stream[Item], sequence: int) -> bool:
        if not stream.failed or min(stream.failed) >= sequence:
            return False
        stream.failed &= self._pending(key, min(stream.failed), stream.low)
        return bool(stream.failed) and min(stream.failed) < sequence
