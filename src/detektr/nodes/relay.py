"""What a node has passed on: which frames its own edges hold, and which of its inputs each came from.

For nodes whose edges know frames by name (`edge/relay_fanout.py`): processors that others read frames from, and buffers
below them. A frame that the edges hold is leased from above for as long, and released when the last edge is done with
it. Its name is forgotten when the journal above says that this lease is over.
"""

from __future__ import annotations

from collections.abc import Sequence

from detektr.edge.relay.fanout import RelayFanout
from detektr.edge.subscriber import EdgeSubscriber
from detektr.memory.announcement import Announcement, FrameName


class Relay:
    """See the module's first lines."""

    def __init__(self, fanout: RelayFanout, subscribers: Sequence[EdgeSubscriber], *, has_work: bool) -> None:
        """Begin with what a predecessor had passed on.

        Args:
            fanout: our edges, made or adopted.
            subscribers: our inputs; the place of each is its frames' input index.
            has_work: whether we work on frames before we pass them on, and so tell the producer when that is done.
        """
        self._fanout, self._subscribers, self._has_work = fanout, subscribers, has_work
        self._input_of: dict[FrameName, int] = {}
        fanout.catch_up()
        for edge in fanout.edges.values():
            for cell in edge.holds():
                self._input_of[cell.name] = self._entry(cell.input_index)
        for name, entry in self._input_of.items():
            subscribers[entry].adopt(name, is_passed=has_work)

    def knows(self, name: FrameName) -> bool:
        """Whether a frame was passed on already, and may come again."""
        return name in self._input_of or self._fanout.knows(name)

    def has_room(self, entry: int) -> bool:
        """Whether a frame of this input may be passed on now."""
        return self._fanout.has_room(entry)

    def pass_on(self, entry: int, announcement: Announcement, now_ns: int) -> None:
        """Offer a frame to all our edges; from now on they hold it."""
        name = announcement.name
        self._input_of[name] = entry
        self._fanout.fan_out(entry, announcement, now_ns)
        if self._has_work and self._fanout.needs(name):
            self._subscribers[entry].pass_on(name)

    def keep(self, entry: int, name: FrameName) -> None:
        """Take a lease of a frame that we know: it stands for the one that we had, or is released at once."""
        if self._input_of.get(name) != entry:
            self._subscribers[entry].settle(name)
        elif self._has_work:
            self._subscribers[entry].pass_on(name)

    def settle(self) -> None:
        """Release the frames that no edge needs any more."""
        for name in self._fanout.collect():
            entry = self._input_of.pop(name, None)
            if entry is not None:
                self._subscribers[entry].settle(name)

    def done(self, entry: int) -> list[FrameName]:
        """Return the frames of an input that our edges are done with, and that may come again."""
        return [cell.name for cell in self._fanout.done() if self._entry(cell.input_index) == entry]

    def sweep(self, *, is_due: bool) -> None:
        """Forget frames that cannot come again, if that is due or our edges run short of cells."""
        if not is_due and not self._fanout.is_short:
            return
        standing = [subscriber.standing() for subscriber in self._subscribers]
        over: list[FrameName] = []
        known = set[FrameName]() if self._fanout.above is None else self._fanout.above()
        for cell in self._fanout.done():
            leased = standing[self._entry(cell.input_index)]
            is_over = leased is not None and cell.name not in leased and cell.name not in self._input_of
            if is_over and cell.name not in known:
                over.append(cell.name)
        self._fanout.forget(over)

    def _entry(self, input_index: int) -> int:
        """Return the input of a frame; a predecessor may have had more of them."""
        return min(input_index, len(self._subscribers) - 1)
