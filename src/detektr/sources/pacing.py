"""When a file's picture is due in real time, and which steps in time are jumps. No clock: moments come in."""

from __future__ import annotations

import math
from fractions import Fraction

from detektr.options import SECOND_NS

_SECOND = Fraction(1)
STEP_AHEAD_S_MAX = Fraction(5)  # a larger step ahead is another time line, unless all are as large
STEPS_AHEAD_MAX = 3  # so many times the usual step
LATE_NS_MAX = SECOND_NS  # a picture that is later than this is not caught up with


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
