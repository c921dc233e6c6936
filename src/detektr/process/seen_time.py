"""Time as a process saw it: without the spans in which it did not run, stopped, frozen or on a machine that was paused.

Who waits for others by the clock must not count against them what it did not see itself: they stood still too. Pure.
"""

from __future__ import annotations

from collections import deque

LATE_NS = 300_000_000  # a look that is later than it was to be by more than this was held up from outside ...
COUNTED_NS = 50_000_000  # ... and of the time before it, whose good part is not known, so much counts
GAPS_KEPT = 64


class SeenClock:
    """Monotonic time less what was not seen: of a span between two looks that was too long all but `COUNTED_NS`."""

    def __init__(self, now_ns: int) -> None:
        """Begin to look now."""
        self.due_ns = now_ns + LATE_NS
        """A look after this is one too late."""
        self._looked_ns = now_ns
        self._gaps: deque[tuple[int, int]] = deque(maxlen=GAPS_KEPT)  # begin and length of what was not seen
        self._before_ns = 0  # unseen in gaps that are no longer kept

    def expect(self, now_ns: int, next_ns: int) -> None:
        """Say when we last looked, which was in time, and when the next look is meant to be, monotonic."""
        self._looked_ns, self.due_ns = now_ns, next_ns + LATE_NS

    def look(self, now_ns: int) -> int:
        """Take a look; returns how much of the time before it was not seen."""
        unseen_ns = now_ns - self._looked_ns - COUNTED_NS if now_ns > self.due_ns else 0
        if unseen_ns:
            if len(self._gaps) == GAPS_KEPT:
                self._before_ns += self._gaps[0][1]
            self._gaps.append((self._looked_ns + COUNTED_NS, unseen_ns))
        self._looked_ns, self.due_ns = now_ns, now_ns + LATE_NS
        return unseen_ns

    def seen_ns(self, at_ns: int) -> int:
        """Return the seen time at a monotonic time: of this and of other processes of this machine."""
        seen_ns = at_ns - self._before_ns
        for begin_ns, length_ns in self._gaps:
            seen_ns -= min(length_ns, max(0, at_ns - begin_ns))
        return seen_ns
