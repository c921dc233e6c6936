"""How long frames wait for somebody who asks for them, and when that is too long. Pure."""

from __future__ import annotations

from detektr.options import PULL_LEASE_S, SECOND_NS

NO_PULLER_NS = 10_000_000_000  # frames wait, and nobody has asked for so long ...
OUT_NS = PULL_LEASE_S * SECOND_NS  # ... while some are out: a usual lease excuses who works, a longer one no longer


class Patience:
    """Since when frames wait, somebody has asked, and no more frames come; monotonic times, 0: never."""

    def __init__(self) -> None:
        """Begin: nothing waits, nobody has asked."""
        self._called_ns = self._waits_since_ns = self._ends_since_ns = 0
        self._limit_ns = NO_PULLER_NS

    def note_call(self, now_ns: int) -> bool:
        """Note that somebody has asked for something; whether frames waited for that."""
        has_waited, self._called_ns, self._waits_since_ns = self._waits_since_ns > 0, now_ns, 0
        return has_waited

    def look(self, now_ns: int, *, waits: bool, is_any_out: bool, is_ending: bool) -> None:
        """Note what is so now.

        Args:
            now_ns: the monotonic time.
            waits: whether frames wait that nobody has asked for.
            is_any_out: whether others are out at clients, which may be at work on them.
            is_ending: whether no more frames come.
        """
        self._waits_since_ns = (self._waits_since_ns or now_ns) if waits else 0
        self._ends_since_ns = (self._ends_since_ns or now_ns) if is_ending else 0
        self._limit_ns = OUT_NS if is_any_out else NO_PULLER_NS

    def lonely_since_ns(self, now_ns: int) -> int | None:
        """Return since when frames wait and nobody has asked, if that is too long; None: it is not."""
        since_ns = max(self._called_ns, self._waits_since_ns)
        return since_ns if self._waits_since_ns and now_ns - since_ns > self._limit_ns else None

    def is_left_alone(self, now_ns: int, drain_ns: int) -> bool:
        """Whether no more frames come, and nobody has asked for any within `drain_ns`."""
        return self._ends_since_ns > 0 and now_ns - max(self._called_ns, self._ends_since_ns) > drain_ns
