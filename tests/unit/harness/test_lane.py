"""Which lane a test or a chaos run takes."""

from __future__ import annotations

import pytest

from tests.harness.chaos import lane_of
from tests.harness.lane import DEFAULT, LANES, VARIABLE, lane_told


def test_the_product_s_default_unless_the_environment_names_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert lane_told() == DEFAULT
    for lane in LANES:
        monkeypatch.setenv(VARIABLE, lane)
        assert lane_told() == lane


def test_a_lane_that_there_is_not_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "smh")
    with pytest.raises(ValueError, match="TEST_ANNOUNCE is 'smh'; write zmq or shm"):
        lane_told()


def test_seeds_that_follow_each_other_take_every_lane_and_seed_1_the_default() -> None:
    assert lane_of(1) == DEFAULT
    assert {lane_of(seed) for seed in range(1, 1 + len(LANES))} == set(LANES)
