from __future__ import annotations

import pytest

from detektr.options import SECOND_NS
from detektr.sources.transport.reconnect import JITTER, REFUSALS, Reconnect

EVEN = 0.5  # no jitter


def pauses_s(policy: Reconnect, tries: int, state: str = "connecting", good_s: int = 0) -> list[float]:
    return [policy.pause_ns(state, good_s * SECOND_NS, EVEN) / SECOND_NS for _ in range(tries)]


def test_pauses_double_up_to_a_minute_and_never_end() -> None:
    assert pauses_s(Reconnect(), 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert set(pauses_s(Reconnect(first_ns=60 * SECOND_NS), 10_000)) == {60}


def test_pause_is_short_again_after_good_time_alone() -> None:
    policy = Reconnect()
    pauses_s(policy, 5)
    assert pauses_s(policy, 1, good_s=29) == [32]
    assert pauses_s(policy, 2, good_s=31) == [1, 1]


@pytest.mark.parametrize("state", REFUSALS)
def test_refusal_waits_half_a_minute_at_least_and_then_longer(state: str) -> None:
    assert pauses_s(Reconnect(), 7, state) == [30, 30, 30, 30, 30, 32, 60]
    assert Reconnect().pause_ns(state, 0, 0.0) == 30 * SECOND_NS, "jitter does not go below the floor"


@pytest.mark.parametrize(("chance", "factor"), [(0.0, 1 - JITTER), (1.0, 1 + JITTER)])
def test_jitter_spreads_the_pauses_and_does_not_grow_with_them(chance: float, factor: float) -> None:
    policy = Reconnect()
    taken = [policy.pause_ns("stalled", 0, chance) for _ in range(8)]
    assert taken == [round(second * SECOND_NS * factor) for second in (1, 2, 4, 8, 16, 32, 60, 60)]
