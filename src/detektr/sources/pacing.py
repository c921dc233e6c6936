"""Which pictures `fps` lets through, and when a file's picture is due in real time. No clock: moments come in."""

from __future__ import annotations

import math
from fractions import Fraction

SECOND_NS = 1_000_000_000
STEP_BACK_S_MAX = Fraction(1)  # a larger step back is a stream that began again, not jitter
_SECOND = Fraction(1)
STEP_AHEAD_S_MAX = Fraction(5)  # a larger step ahead is another time line, unless all are as large
STEPS_AHEAD_MAX = 3  # so many times the usual step
LATE_NS_MAX = SECOND_NS  # a picture that is later than this is not caught up with


class RateLimiter:
    """Lets through `fps` pictures a second, evenly by their own times.

    Args:
        fps: pictures a second, above 0; the time line is cut into that many ticks, the first picture of each passes.
    """

    def __init__(self, fps: float) -> None:
        self._fps = Fraction(str(fps))
        self._origin: Fraction | None = None
        self._moment = Fraction(0)
        self._tick = 0

    def takes(self, moment: Fraction, step: Fraction | None = None) -> bool:
        """Tell whether the picture of this moment passes.

        Args:
            moment: in seconds, of any origin.
            step: usual time between two pictures, in seconds; None: that since the picture asked of before.
        """
        step, self._moment = moment - self._moment if step is None else step, moment
        if self._origin is not None:
            tick = self._tick_at(moment + self._slack(step))
            if tick > self._tick:
                self._tick = tick
                return True
            if self._tick - tick <= max(Fraction(1), STEP_BACK_S_MAX * self._fps):
                return False
        self._origin, self._tick = moment, 0
        return True

    def may_take(self, moment: Fraction, step: Fraction) -> bool:
        """Tell whether the picture of this moment might pass, of pictures that come in any order and will be asked of.

        Args:
            moment: in seconds, of the same origin as those of `takes`.
            step: time between two pictures, in seconds, from which theirs differ by less than an eighth.
        """
        if self._origin is None:
            return True
        return self._tick_at(moment + self._slack(step)) != self._tick_at(moment - 7 * step / 8)

    def _tick_at(self, moment: Fraction) -> int:
        return math.floor((moment - (self._origin or 0)) * self._fps)

    def _slack(self, step: Fraction) -> Fraction:
        """Return what rounded and jittering times, which fall just before their tick, are forgiven."""
        return min(max(step, Fraction(0)), 1 / self._fps) / 4


class Steps:
    """Tells a jump ahead from pictures that are always far apart.

    Args:
        usual: units from one picture to the next, as the stream says; None: it does not.
        unit_s: seconds of one unit.
    """

    def __init__(self, usual: Fraction | int | None = None, unit_s: Fraction = _SECOND) -> None:
        self._usual = usual
        self._ahead_max = math.floor(STEP_AHEAD_S_MAX / unit_s)  # whole: this is asked of every picture
        self._moment: Fraction | int | None = None
        self._step: Fraction | int | None = usual

    def is_jump(self, moment: Fraction | int) -> bool:
        """Tell whether the picture of this moment, in units, begins another time line that is ahead."""
        before, self._moment = self._moment, moment
        if before is None:
            return False
        step, step_before = moment - before, self._step
        self._step = max(step, self._usual or 0)
        is_far = step > self._ahead_max
        return is_far and step_before is not None and step > STEPS_AHEAD_MAX * step_before


class Pacer:
    """Says how long to wait for a picture so that a file runs at its own pace."""

    def __init__(self) -> None:
        self._moment: Fraction | None = None
        self._origin: Fraction = Fraction(0)
        self._origin_ns = 0

    def wait_ns(self, moment: Fraction, now_ns: int, *, is_jump: bool = False) -> int:
        """Return the nanoseconds until the picture of `moment` (in seconds) is due, 0 if it is.

        The pace begins anew with the first picture, after a step back, after a jump ahead (see `Steps`) and after a
        wait for the consumers of more than `LATE_NS_MAX`: what was late stays late, instead of being made up for in a
        burst.
        """
        is_anew = self._moment is None or moment < self._moment or is_jump
        self._moment = moment
        due_ns = self._origin_ns + round((moment - self._origin) * SECOND_NS)
        if is_anew or now_ns - due_ns > LATE_NS_MAX:
            self._origin, self._origin_ns, due_ns = moment, now_ns, now_ns
        return max(0, due_ns - now_ns)
