"""The bars of the transport: each lane is held against its own, by the figures of its own rows."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.harness.lane import LANES

BENCHMARK = Path(__file__).parents[3] / "scripts/benchmark"
SATURATED, PACED = "1080p bgr24, saturated, K=", "1080p bgr24, 30/s, K="


@pytest.fixture
def transport(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return the benchmark; its modules have short names, which nobody else is to find afterwards."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [*sys.path, str(BENCHMARK)])
    yield importlib.import_module("transport")
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARK)):
            del sys.modules[name]


def rows(lane: str, *, fps: float = 1.0, p50: float = 1.0, cpu: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    """Build the rows of one lane that beside iceoryx2 came to these ratios, with one consumer and with four."""
    figures = {"who": f"detektr {lane}", "lost": 0.0, "failed": 0, **more}
    found = []
    for consumers in (1, 4):
        found.append({"run": f"{SATURATED}{consumers}", **figures, "fps/iceoryx2": fps, "fps/copy": 1.0})
        found.append({"run": f"{PACED}{consumers}", **figures, "p50/iceoryx2": p50, "cpu/iceoryx2": cpu})
    return found


def missed(transport: ModuleType, found: list[dict[str, Any]]) -> list[str]:
    return [bar.what for bar in transport.bars(found) if bar.holds is False]


def test_both_lanes_hold_what_is_as_good_as_the_peer(transport: ModuleType) -> None:
    assert missed(transport, [*rows("zmq"), *rows("shm")]) == []


def test_a_ratio_between_the_bars_of_both_lanes_holds_for_messages_and_misses_for_shared_memory(
    transport: ModuleType,
) -> None:
    figures = {"fps": 0.93, "p50": 1.6, "cpu": 1.7}
    assert missed(transport, rows("zmq", **figures)) == []
    assert missed(transport, rows("shm", **figures)) == [
        "shm: 1080p saturated, K=1: frames/s of iceoryx2",
        "shm: 1080p at 30/s, K=1: p50 of iceoryx2",
        "shm: 1080p at 30/s, K=4: p50 of iceoryx2",
        "shm: 1080p at 30/s, K=1: CPU a frame of iceoryx2",
    ]


@pytest.mark.parametrize(
    ("lane", "figure", "bound", "beyond", "bars"),
    [
        ("zmq", "fps", 0.9, 0.89, 1),
        ("zmq", "fps", 0.9, 0.79, 2),
        ("zmq", "p50", 1.7, 1.71, 2),
        ("zmq", "cpu", 1.8, 1.81, 1),
        ("shm", "fps", 0.95, 0.94, 1),
        ("shm", "fps", 0.95, 0.84, 2),
        ("shm", "p50", 1.3, 1.31, 2),
        ("shm", "cpu", 1.3, 1.31, 1),
    ],
)
def test_a_bar_holds_at_its_bound_and_misses_beyond_it(
    transport: ModuleType, lane: str, figure: str, bound: float, beyond: float, bars: int
) -> None:
    assert missed(transport, rows(lane, **{figure: bound})) == []
    assert len(missed(transport, rows(lane, **{figure: beyond}))) == bars


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_that_did_not_run_is_told_as_not_measured(transport: ModuleType, lane: str) -> None:
    [other] = set(LANES) - {lane}
    holds = {bar.holds for bar in transport.bars(rows(other)) if bar.what.startswith(f"{lane}:")}
    assert holds == {None}


def test_a_lane_whose_rounds_all_failed_misses_its_bars_instead_of_being_told_as_not_measured(
    transport: ModuleType,
) -> None:
    found = [{"run": f"{SATURATED}1", "who": "detektr zmq", "failed": 5}]
    assert missed(transport, found) == ["zmq: rounds that failed, all runs"]


def test_a_frame_lost_on_one_lane_is_told_of_that_lane(transport: ModuleType) -> None:
    found = [*rows("zmq", lost=1.0), *rows("shm")]
    assert missed(transport, found) == ["zmq: frames lost, all runs"]


@pytest.mark.parametrize(
    ("told", "names"),
    [
        ([], ["copy", "detektr zmq", "detektr shm"]),
        (["--announce", "shm"], ["copy", "detektr shm"]),
        (["--only", "detektr"], ["detektr zmq", "detektr shm"]),
        (["--only", "detektr zmq", "copy"], ["copy", "detektr zmq"]),
        (["--only", "detektr", "--announce", "zmq"], ["detektr zmq"]),
    ],
)
def test_both_lanes_are_in_every_round_unless_told_otherwise(
    transport: ModuleType, told: list[str], names: list[str]
) -> None:
    parser = argparse.ArgumentParser()
    transport.add_arguments(parser)
    assert [one.name for one in transport.entrants(parser.parse_args(told))] == names


def test_who_ended_well_in_no_round_has_a_row_that_says_so(transport: ModuleType) -> None:
    pairing = importlib.import_module("pairing")
    figures = importlib.import_module("run").Figures(100.0, 1.0, 2.0, 3.0, 0.5, 0.0, {})
    paired = pairing.Pairing([{"copy": figures}, {"copy": figures}], ["copy", "detektr zmq"])
    found = {row["who"]: row["failed"] for row in transport.table("a run", paired, ("copy", "iceoryx2"))}
    assert found == {"copy": 0, "detektr zmq": 2}
