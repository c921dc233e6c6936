"""`order: camera`: each camera's frames come in order from replicas that finish them in another, whoever is killed."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.graphs.test_chain import QUICK, of
from tests.harness.chain import Passed, read_passed
from tests.harness.following import assert_in_order, read_seen
from tests.harness.running import RunningPipeline


def ordered(tmp_path: Path, count: int, cameras: int = 1, **detect: Any) -> dict[str, Any]:
    """Cameras, a buffer, four detectors with random times, a reader that wants order, and a sink."""
    names = [f"cam{number}" for number in range(cameras)]
    nodes: dict[str, Any] = {
        name: {"kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": count}, **QUICK}
        for name in names
    }
    return nodes | {
        "buffer": {"kind": "buffer", "input": names, "high_water_mark": 16, "when_full": "block", **QUICK},
        "detect": {
            "kind": "processor", "input": "buffer", "use": "tests.harness.chain:Detect", "replicas": 4,
            "with": {"busy_s": 0.004} | detect, **QUICK,
        },
        "track": {
            "kind": "processor", "input": "detect", "order": "camera", "use": "tests.harness.chain:Note",
            "with": {"path": str(tmp_path / "notes"), "name": "track"}, **QUICK,
        },
        "log": {"kind": "sink", "input": "track", "use": "jsonl", "with": {"path": str(tmp_path / "log")}, **QUICK},
    }  # fmt: skip


def assert_ordered(notes: list[Passed]) -> None:
    """In increasing sequence; one that comes again, or late as it was tried again, says so."""
    for camera in {note.camera for note in notes}:
        own = [note for note in notes if note.camera == camera]
        late = [(one.sequence, after) for one, after in pairwise(own) if after.sequence <= one.sequence]
        assert all(after.delivery > 1 for _, after in late), late
        highest = -1
        for note in own:  # what is not in order was begun in order before: its first attempt has died
            if note.delivery == 1:
                assert note.sequence > highest, note
            highest = max(highest, note.sequence)


@pytest.mark.usefixtures("lane")
def test_replicas_with_random_times_pass_frames_on_in_order(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "order", ordered(tmp_path, 400, cameras=3)) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "track")
    for camera in ("cam0", "cam1", "cam2"):
        assert [note.sequence for note in notes if note.camera == camera] == list(range(400)), camera
    assert all(note.delivery == 1 for note in notes)


@pytest.mark.usefixtures("lane")
def test_what_was_dead_lettered_or_filtered_is_known_and_skipped(tmp_path: Path) -> None:
    nodes = ordered(tmp_path, 600, silent=7, faulty=50)
    nodes["detect"]["max_deliveries"] = 2
    nodes["track"]["input"] = {"from": "detect", "only": "results"}
    with RunningPipeline(tmp_path, "gaps", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "track")
    expected = [number for number in range(600) if number % 7 and number % 50 != 49]
    assert [note.sequence for note in notes] == expected


@pytest.mark.usefixtures("lane")
def test_killed_detectors_lose_nothing_and_order_holds(tmp_path: Path) -> None:
    nodes = ordered(tmp_path, 500, cameras=2, silent=7, faulty=50)
    nodes["detect"]["max_deliveries"] = 3
    chance = random.Random(7)
    with RunningPipeline(tmp_path, "killed", nodes) as run:
        for target in range(100, 900, 100):
            run.wait_delivered("detect", "track", target)
            run.kill("detect", place=chance.randrange(4))
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "track")
    assert_ordered(notes)
    given_up = next(edge for edge in report["edges"] if edge["to"] == "detect")["dead_lettered"]
    assert len({(note.camera, note.sequence) for note in notes}) == 1000 - given_up
    faulty = {number for number in range(500) if number % 50 == 49}
    assert not {note.sequence for note in notes} & faulty


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("victim", ["track", "buffer"])
def test_order_holds_when_its_reader_or_what_is_above_is_killed(tmp_path: Path, victim: str) -> None:
    nodes = ordered(tmp_path, 450, cameras=2, faulty=50)
    nodes["detect"]["max_deliveries"] = 2
    with RunningPipeline(tmp_path, "reader", nodes) as run:
        for target in range(150, 800, 150):
            run.wait_delivered("detect", "track", target)
            run.kill(victim)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "track")
    assert_ordered(notes)
    given_up = next(edge for edge in report["edges"] if edge["to"] == "detect")["dead_lettered"]
    assert len({(note.camera, note.sequence) for note in notes}) == 900 - given_up


@pytest.mark.usefixtures("lane")
def test_a_frame_that_fails_comes_again_before_the_later_ones(tmp_path: Path) -> None:
    nodes = ordered(tmp_path, 350, cameras=2)
    nodes["track"] |= {
        "use": "tests.harness.following:Follow", "replicas": 2,
        "with": {"path": str(tmp_path / "seen"), "faulty": [50, 51, 120, 300]},
    }  # fmt: skip
    with RunningPipeline(tmp_path, "again", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in ("cam0", "cam1"):
        assert_in_order(seen, camera, 350)


@pytest.mark.usefixtures("lane")
def test_a_partitioned_reader_of_replicas_sees_each_camera_in_order_while_its_replicas_are_killed(
    tmp_path: Path,
) -> None:
    nodes = ordered(tmp_path, 350, cameras=4)
    nodes["track"] |= {
        "use": "tests.harness.following:Follow", "replicas": 2, "with": {"path": str(tmp_path / "seen")},
    }  # fmt: skip
    with RunningPipeline(tmp_path, "parts", nodes) as run:
        for target in range(200, 1200, 200):
            run.wait_delivered("detect", "track", target)
            run.kill("track", place=target // 200 % 2)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in ("cam0", "cam1", "cam2", "cam3"):
        own = [one for one in seen if one.camera == camera]
        assert {one.sequence for one in own} == set(range(350)), camera
        assert_ordered([Passed(one.sequence, one.delivery, 0, {}, "track", camera) for one in own])


@pytest.mark.parametrize("is_ordered", [False, True])
def test_a_node_whose_code_keeps_state_says_once_that_its_frames_may_come_in_any_order(
    tmp_path: Path, *, is_ordered: bool
) -> None:
    nodes = ordered(tmp_path, 40)
    nodes["track"] |= {"use": "tests.harness.following:Follow", "with": {"path": str(tmp_path / "seen")}}
    if not is_ordered:
        del nodes["track"]["order"]
    with RunningPipeline(tmp_path, "told", nodes) as run:
        run.end(None)
    assert run.exit_code == 0, run.tail()
    told = [line for line in run.log.read_text().splitlines() if "keeps state of each camera" in line]
    assert len(told) == (0 if is_ordered else 1), told
    assert is_ordered or "write `order: camera` at node track" in told[0]
