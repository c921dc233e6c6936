"""Which pictures or frames `fps` lets through, by their own times. No clock: moments come in."""

from __future__ import annotations

import math
from fractions import Fraction

STEP_BACK_S_MAX = Fraction(1)  # a larger step back is a stream that began again, not jitter


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
