"""A stream's time: where it breaks, which of its times are good, and when in UTC. No clock: all times come in."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, NamedTuple

SECOND_NS = 1_000_000_000
STEP_BACK_NS_MAX = SECOND_NS  # up to this, a picture came out of order; beyond, the stream's time began anew
STEP_AHEAD_NS_MAX = 5 * SECOND_NS  # more than this ahead of what has really passed is another time line
CLOCK_STEP_NS_MAX = SECOND_NS  # a clock that differs by more was set; by less, it is being slewed
CLOCK_SET_NS_MIN = 946_684_800 * SECOND_NS  # the year 2000: a camera that says less has no clock, or never set it


_BARE_TIME_BASE = Fraction(1, 1_200_000)  # what FFmpeg gives all streams that have none


class Placed(NamedTuple):
    """Where one picture stands in time."""

    is_break: bool
    """True: the first picture of a time line; differences to the times of those before mean nothing."""
    pts: int | None
    """The picture's own; None: it has none, or one that is before that of its predecessor."""
    utc_ns: int
    """When it was taken by the camera's clock, or else when it came by this machine's; nanoseconds since 1970."""


class Timeline:
    """Follows one connection's pictures, in the order in which they are shown."""

    def __init__(self, time_base: Fraction | None) -> None:
        """Begin; `time_base` is the seconds of one unit of pts, None where the stream has no times."""
        self._time_base = time_base
        self._pts_ns: int | None = None
        self._received_ns = 0
        self._clock: tuple[int, int | None] | None = None  # what was given as host's and camera's clock the last time

    def place(
        self, pts: int | None, received_ns: int, host_offset_ns: int, camera_start_ns: int | None = None
    ) -> Placed:
        """Place the next picture.

        Args:
            pts: its time in units of the time base; None: it has none.
            received_ns: monotonic time at which it came.
            host_offset_ns: this machine's UTC minus its monotonic time.
            camera_start_ns: UTC at which the camera's pts were 0, by its own clock; None: not known (yet).
        """
        pts_ns = None if pts is None or self._time_base is None else round(pts * self._time_base * SECOND_NS)
        is_break = self._clock is None
        if pts_ns is not None and self._pts_ns is not None:
            step_ns = pts_ns - self._pts_ns
            is_break |= not -STEP_BACK_NS_MAX <= step_ns <= received_ns - self._received_ns + STEP_AHEAD_NS_MAX
            if step_ns < 0 and not is_break:
                pts, pts_ns = None, None
        if camera_start_ns is not None and camera_start_ns + (pts_ns or 0) < CLOCK_SET_NS_MIN:
            camera_start_ns = None
        clock = host_offset_ns, camera_start_ns
        utc_ns = _utc_ns(clock, pts_ns, received_ns)
        if self._clock is not None:
            is_break |= abs(utc_ns - _utc_ns(self._clock, pts_ns, received_ns)) > CLOCK_STEP_NS_MAX
        self._clock = clock
        if pts_ns is not None:
            self._pts_ns, self._received_ns = pts_ns, received_ns
        return Placed(is_break, pts, utc_ns)


def exact(value: Any) -> Fraction | None:
    """Return FFmpeg's rational as a fraction; None where it is unset (None, 0/0 or 0/1, by the version of PyAV)."""
    return Fraction(value.numerator, value.denominator) if value else None


def rate_of(stream: Any) -> Fraction | None:
    """Return how many pictures a second a stream says that it has; None: it does not.

    A bare stream without a container, such as a .h264 file, says so in its own bytes: there, FFmpeg makes up 25.
    """
    context = stream.codec_context
    told = exact(context.framerate) if context is not None and exact(stream.time_base) == _BARE_TIME_BASE else None
    return told or exact(stream.average_rate)


def _utc_ns(clock: tuple[int, int | None], pts_ns: int | None, received_ns: int) -> int:
    host_offset_ns, camera_start_ns = clock
    if camera_start_ns is None or pts_ns is None:
        return received_ns + host_offset_ns
    return camera_start_ns + pts_ns
