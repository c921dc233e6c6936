"""Processors that read processors: what each reader sees while anybody is killed, on both lanes."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detektr.observe.trail.trace import query
from tests.harness.chain import Passed, read_passed
from tests.harness.effort import alike
from tests.harness.following import of_camera, read_seen
from tests.harness.running import RunningPipeline

QUICK = {"restart": {"backoff": "50ms..200ms", "limit": "1000 in 1m"}, "drain": "20s"}


def chain(tmp_path: Path, count: int, *, replicas: int = 1, detect: dict[str, Any] | None = None) -> dict[str, Any]:
    """A numbered source, a buffer, a detector in replicas, a reader of it, a reader of that, and a sink."""
    notes = str(tmp_path / "notes")
    return {
        "camera": {
            "kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": count}, **QUICK,
        },
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block", **QUICK},
        "detect": {
            "kind": "processor", "input": "buffer", "use": "tests.harness.chain:Detect", "replicas": replicas,
            "with": detect or {}, **QUICK,
        },
        "track": {
            "kind": "processor", "input": "detect", "use": "tests.harness.chain:Note",
            "with": {"path": notes, "name": "track"}, **QUICK,
        },
        "last": {
            "kind": "processor", "input": "track", "use": "tests.harness.chain:Note",
            "with": {"path": notes, "name": "last", "returns": False}, **QUICK,
        },
        "log": {
            "kind": "sink", "input": ["detect", "track"], "use": "jsonl",
            "with": {"path": str(tmp_path / "log")}, **QUICK,
        },
    }  # fmt: skip


def of(notes: list[Passed], node: str) -> list[Passed]:
    return [note for note in notes if note.node == node]


def assert_complete(notes: list[Passed], expected: set[int], *, node: str) -> None:
    """Each frame once, or marked, with the results of one attempt at it."""
    seen = of(notes, node)
    assert {note.sequence for note in seen} == expected, (
        f"{node}: {sorted(expected ^ {note.sequence for note in seen})[:9]}"
    )
    for note in seen:
        given = note.results["detect"]
        assert not given or given[0]["number"] == note.number
    unmarked = Counter(note.sequence for note in seen if note.delivery == 1)
    assert [sequence for sequence, count in unmarked.items() if count > 1] == [], f"{node}: unmarked repeats"


@pytest.mark.usefixtures("lane")
def test_a_chain_gives_every_frame_to_each_reader_with_all_results(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "chain", chain(tmp_path, 600, replicas=2, detect={"silent": 3})) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = read_passed(tmp_path / "notes")
    assert_complete(notes, set(range(600)), node="track")
    assert_complete(notes, set(range(600)), node="last")
    assert all(note.delivery == 1 for note in notes)
    for note in of(notes, "track"):
        assert list(note.results) == ["detect"]
        assert len(note.results["detect"]) == (0 if note.number % 3 == 0 else 2)
    for note in of(notes, "last"):
        assert list(note.results) == ["detect", "track"] and note.results["track"] == [{"seen": note.number}]
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert edges["buffer", "detect"]["delivered"] == edges["detect", "track"]["delivered"] == 600
    assert edges["track", "last"]["delivered"] == 600


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("victim", ["detect", "buffer", "log", alike("track"), alike("last"), alike("camera")])
def test_killing_one_of_a_chain_loses_no_frame_and_marks_what_comes_twice(tmp_path: Path, victim: str) -> None:
    nodes = chain(tmp_path, 800, replicas=2, detect={"silent": 3, "busy_s": 0.001})
    with RunningPipeline(tmp_path, "chain", nodes) as run:
        for target in (80, 200, 350, 500):
            run.wait_delivered("detect", "track", target)
            run.kill(victim, place=0)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = read_passed(tmp_path / "notes")
    lost = sum(edge["dropped"].get("capture_died", 0) for edge in report["edges"] if edge["from"] == "camera")
    seen = {note.sequence for note in of(notes, "track")}
    assert len(seen) >= 800 - lost
    assert_complete(notes, seen, node="track")
    assert_complete(notes, seen, node="last")


@pytest.mark.usefixtures("lane")
def test_only_results_gates_the_reader_and_counts_the_rest_as_filtered(tmp_path: Path) -> None:
    nodes = chain(tmp_path, 300, replicas=2, detect={"silent": 3})
    nodes["track"]["input"] = {"from": "detect", "only": "results"}
    with RunningPipeline(tmp_path, "gate", nodes, audit="sqlite:audit.db") as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    notes = read_passed(tmp_path / "notes")
    assert sorted(note.number for note in of(notes, "track")) == [number for number in range(300) if number % 3]
    edge = next(edge for edge in report["edges"] if edge["to"] == "track")
    assert edge["offered"] == 300 and edge["dropped"] == {"filtered": 100} and report["unaccounted"] == 0
    assert query("gate", outcome="dropped") == []


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("victim", ["queue", alike("detect"), alike("track")])
def test_a_buffer_below_a_processor_holds_its_frames_through_the_death_of_its_neighbours(
    tmp_path: Path, victim: str
) -> None:
    nodes = chain(tmp_path, 1000, replicas=2, detect={"busy_s": 0.001, "silent": 4})
    nodes["queue"] = {"kind": "buffer", "input": "detect", "high_water_mark": 8, "when_full": "block", **QUICK}
    nodes["track"]["input"] = "queue"
    with RunningPipeline(tmp_path, "queue", nodes) as run:
        for target in (100, 300, 500, 700):
            run.wait_delivered("queue", "track", target)
            run.kill(victim)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = read_passed(tmp_path / "notes")
    assert_complete(notes, set(range(1000)), node="track")
    assert_complete(notes, set(range(1000)), node="last")


@pytest.mark.usefixtures("lane")
def test_what_track_sees_of_killed_faulty_and_silent_detectors_is_complete(tmp_path: Path) -> None:
    detect = {"busy_s": 0.004, "silent": 7, "faulty": 50}
    nodes = chain(tmp_path, 1800, replicas=4, detect=detect)
    nodes["detect"]["max_deliveries"] = 2
    chance = random.Random(5)
    with RunningPipeline(tmp_path, "torn", nodes) as run:
        for target in range(150, 1500, 150):
            run.wait_delivered("detect", "track", target)
            run.kill("detect", place=chance.randrange(4))
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = read_passed(tmp_path / "notes")
    given_up = next(edge for edge in report["edges"] if edge["to"] == "detect")["dead_lettered"]
    seen = {note.sequence for note in of(notes, "track")}
    faulty = {number for number in range(1800) if number % 50 == 49}
    assert not seen & faulty
    missing = set(range(1800)) - seen
    assert faulty <= missing and len(missing) == given_up, sorted(missing - faulty)
    assert_complete(notes, seen, node="track")
    assert_complete(notes, seen, node="last")


@pytest.mark.usefixtures("lane")
def test_frames_of_a_dead_relay_go_to_its_sibling_before_it_is_started_again(tmp_path: Path) -> None:
    nodes = chain(tmp_path, 0, replicas=2, detect={"busy_s": 0.01})
    nodes["detect"]["restart"] = {"backoff": "30s..60s", "limit": "1000 in 1m"}
    for node in nodes.values():
        node["drain"] = "3s"
    with RunningPipeline(tmp_path, "sibling", nodes) as run:
        run.wait_delivered("detect", "track", 50)
        run.kill("detect", place=0)
        killed = run.edge("buffer", "detect")["delivered"]
        run.wait_delivered("buffer", "detect", killed + 200, within_s=25)
        ledger = run.edge("buffer", "detect")
        assert ledger["in_flight"] <= 20, ledger
        report = run.end()
    assert report["unaccounted"] == 0


@pytest.mark.usefixtures("lane")
def test_a_relay_that_fails_for_good_lets_go_of_what_it_had_passed_on(tmp_path: Path) -> None:
    nodes = chain(tmp_path, 1500, replicas=2, detect={"busy_s": 0.002})
    nodes["detect"]["restart"] = {"when": "never"}
    nodes["track"]["with"]["busy_s"] = 0.05
    for name in ("detect", "track", "last", "log"):
        nodes[name]["optional"] = True
    nodes["look"] = {"kind": "processor", "input": "buffer", "use": "tests.harness.chain:Detect", **QUICK}
    with RunningPipeline(tmp_path, "good", nodes) as run:
        run.wait_delivered("detect", "track", 20)
        run.kill("detect", place=0)
        report = run.end(None)
    assert report["unaccounted"] == 0
    assert "detect.0 has ended for good" in run.log.read_text()
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert edges["buffer", "detect"]["delivered"] == edges["detect", "track"]["offered"]
    assert edges["detect", "track"]["dropped"]["gone"] > 0
    assert set(edges["buffer", "detect"]["dropped"]) <= {"consumer_slow"}  # it is optional
    for edge in report["edges"]:
        assert (edge["queued"], edge["in_flight"]) == (0, 0), edge


@pytest.mark.usefixtures("lane")
def test_killed_batches_pass_each_frame_on_once_or_marked_and_state_stays_with_its_camera(tmp_path: Path) -> None:
    cameras, count = ("cam0", "cam1", "cam2"), 500
    nodes: dict[str, Any] = {
        name: {
            "kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": count}, **QUICK,
        }
        for name in cameras
    }  # fmt: skip
    nodes["buffer"] = {
        "kind": "buffer", "input": list(cameras), "high_water_mark": 8, "when_full": "block", **QUICK,
    }  # fmt: skip
    nodes["detect"] = {
        "kind": "processor", "input": "buffer", "use": "tests.harness.chain:Detect", "batch": {"size": 4},
        "replicas": 2, "with": {"silent": 3}, **QUICK,
    }  # fmt: skip
    nodes["track"] = {
        "kind": "processor", "input": "detect", "use": "tests.harness.following:Follow", "replicas": 2,
        "with": {"path": str(tmp_path / "seen")}, **QUICK,
    }  # fmt: skip
    nodes["log"] = {"kind": "sink", "input": "track", "use": "jsonl", "with": {"path": str(tmp_path / "log")}, **QUICK}
    with RunningPipeline(tmp_path, "meeting", nodes) as run:
        for target in range(150, 1200, 150):
            run.wait_delivered("detect", "track", target)
            run.kill("detect", place=target % 2)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in cameras:
        own = of_camera(seen, camera)
        assert {one.sequence for one in own} == set(range(count)), camera
        unmarked = Counter(one.sequence for one in own if one.delivery == 1)
        assert [sequence for sequence, times in unmarked.items() if times > 1] == [], f"{camera}: unmarked repeats"
        assert len({one.pid for one in own}) == 1, f"{camera} was worked on by several replicas"
        assert [one.is_first_here for one in own] == [True] + [False] * (len(own) - 1)
    assert len({one.pid for one in seen}) == 2


@pytest.mark.usefixtures("lane")
def test_each_frame_of_a_batch_has_results_of_its_own_for_readers_that_want_only_those(tmp_path: Path) -> None:
    nodes = chain(tmp_path, 300, replicas=2, detect={"silent": 3, "faulty": 50, "busy_s": 0.0})
    nodes["detect"]["batch"] = {"size": 4}
    nodes["detect"]["max_deliveries"] = 1
    nodes["track"]["input"] = {"from": "detect", "only": "results"}
    with RunningPipeline(tmp_path, "batched", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    notes = read_passed(tmp_path / "notes")
    faulty = {number for number in range(300) if number % 50 == 49}
    wanted = {number for number in range(300) if number % 3} - faulty
    assert sorted(note.number for note in of(notes, "track")) == sorted(wanted)
    assert_complete(notes, wanted, node="track")
    assert_complete(notes, wanted, node="last")
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert edges["buffer", "detect"]["dead_lettered"] == len(faulty)
    assert edges["detect", "track"]["dropped"] == {"filtered": 300 - len(faulty) - len(wanted)}
    assert report["unaccounted"] == 0
