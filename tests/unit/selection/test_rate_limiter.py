from __future__ import annotations

from fractions import Fraction

import pytest

from detektr.selection.rate_limiter import RateLimiter

TIMES: list[tuple[int, float, int]] = [
    (24, 1, 10),
    (24, 5, 50),
    (25, 10, 96),
    (30, 30, 240),
    (30, 29.97, 240),
    (24, 60, 240),
]


@pytest.mark.parametrize(("rate", "fps", "expected"), TIMES)
def test_rate_limiter_keeps_the_rate_with_times_rounded_to_milliseconds(rate: int, fps: float, expected: int) -> None:
    rate_limiter = RateLimiter(fps)
    taken = [rate_limiter.takes(Fraction(round(1000 * number / rate), 1000)) for number in range(240)]
    assert abs(sum(taken) - expected) <= 1


def test_rate_limiter_begins_anew_after_a_step_back() -> None:
    rate_limiter = RateLimiter(10)
    moments = [100, 100.05, 100.1, 0, 0.05, 0.1]
    assert [rate_limiter.takes(Fraction(str(moment))) for moment in moments] == [True, False, True, True, False, True]
