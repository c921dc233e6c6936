"""`join: frame`: branches of one camera meet again, each frame once, with all results or the reason for a gap."""

from __future__ import annotations

import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detektr.options import WINDOW
from tests.graphs.test_chain import QUICK, of
from tests.harness.chain import Passed, read_passed
from tests.harness.effort import alike
from tests.harness.running import RunningPipeline


def joined(tmp_path: Path, count: int, source: str = "buffer", **pose: Any) -> dict[str, Any]:
    """A numbered camera, a buffer, a detector in three replicas and a second branch, and who joins them."""
    camera = {"kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": count}, **QUICK}
    nodes = {
        "camera": camera,
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block", **QUICK},
        "detect": {
            "kind": "processor", "input": source, "use": "tests.harness.chain:Detect", "replicas": 3,
            "with": {"busy_s": 0.006}, **QUICK,
        },
        "pose": {
            "kind": "processor", "input": source, "use": "tests.harness.chain:Detect",
            "with": {"busy_s": 0.001} | pose, "max_deliveries": 2, **QUICK,
        },
        "merge": {
            "kind": "processor", "input": ["detect", "pose"], "join": "frame", "use": "tests.harness.chain:Note",
            "with": {"path": str(tmp_path / "notes"), "name": "merge"}, **QUICK,
        },
        "log": {"kind": "sink", "input": "merge", "use": "jsonl", "with": {"path": str(tmp_path / "log")}, **QUICK},
    }  # fmt: skip
    if source == "camera":
        del nodes["buffer"]
    return nodes


def assert_whole(notes: list[Passed], expected: set[int], branches: tuple[str, ...] = ("detect", "pose")) -> None:
    """Each frame once, or marked; each branch has its results, or a reason."""
    assert {note.sequence for note in notes} == expected, sorted(expected ^ {note.sequence for note in notes})[:9]
    unmarked = Counter(note.sequence for note in notes if note.delivery == 1)
    assert [sequence for sequence, times in unmarked.items() if times > 1] == [], "unmarked repeats"
    for note in notes:
        assert set(note.results) | set(note.missing) == set(branches), note
        assert not set(note.results) & set(note.missing), note
        for given in note.results.values():
            assert not given or given[0]["number"] == note.number, note


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("source", ["buffer", "camera"])
def test_each_frame_comes_once_with_the_results_of_both_branches(tmp_path: Path, source: str) -> None:
    with RunningPipeline(tmp_path, "join", joined(tmp_path, 500, source)) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "merge")
    assert_whole(notes, set(range(500)))
    assert all(note.delivery == 1 and not note.missing for note in notes)
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert edges["detect", "merge"]["delivered"] == edges["pose", "merge"]["delivered"] == 500


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("source", ["buffer", "camera"])
def test_what_a_branch_gave_up_filtered_or_dropped_is_missing_with_its_reason(tmp_path: Path, source: str) -> None:
    nodes = joined(tmp_path, 600, source, silent=7, faulty=50)
    nodes["merge"]["input"] = ["detect", {"from": "pose", "only": "results"}]
    nodes["pose"]["input"] = {"from": source, "when_full": "drop-oldest", "high_water_mark": 1}
    with RunningPipeline(tmp_path, "missing", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "merge")
    assert_whole(notes, set(range(600)))
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    reasons = Counter(reason for note in notes for node, reason in note.missing.items() if node == "pose")
    assert reasons["filtered"] == edges["pose", "merge"]["dropped"].get("filtered", 0) > 0
    assert reasons["queue_full"] == edges[source, "pose"]["dropped"].get("queue_full", 0)
    assert reasons["dead_lettered"] == edges[source, "pose"]["dead_lettered"] > 0
    assert sum(reasons.values()) == sum([bool(note.missing) for note in notes])


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("victim", ["detect", "merge", alike("pose"), alike("buffer")])
def test_kills_of_anybody_leave_every_frame_whole(tmp_path: Path, victim: str) -> None:
    nodes = joined(tmp_path, 600, silent=7, faulty=50)
    nodes["merge"]["input"] = ["detect", {"from": "pose", "only": "results"}]
    for name in ("detect", "pose", "merge"):
        nodes[name]["max_deliveries"] = 3
    chance = random.Random(3)
    with RunningPipeline(tmp_path, "kills", nodes) as run:
        for target in range(70, 490, 70):
            run.wait_delivered("detect", "merge", target)
            run.kill(victim, place=chance.randrange(3) if victim == "detect" else 0)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "merge")
    assert_whole(notes, set(range(600)))
    again = sum(Counter(note.sequence for note in notes).values()) - 600
    # Of frames that it finished in another order than they were leased to it, nobody knows until they are completed:
    # those of its last turn come again, at most a window of each branch.
    assert again <= 6 * 2 * WINDOW if victim == "merge" else again == 0, again
    for note in notes:
        is_given_up = note.missing.get("pose") == "dead_lettered"
        is_silent = note.number % 7 == 0
        assert ("pose" in note.missing) == (note.number % 50 == 49 or is_silent or is_given_up), note


@pytest.mark.usefixtures("lane")
def test_a_frame_that_the_join_cannot_do_is_given_up_once_on_each_branch(tmp_path: Path) -> None:
    nodes = joined(tmp_path, 200)
    nodes["merge"] |= {"use": "tests.harness.chain:Detect", "with": {"busy_s": 0.0, "faulty": 50}, "max_deliveries": 2}
    with RunningPipeline(tmp_path, "poison", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    for branch in ("detect", "pose"):
        assert edges[branch, "merge"]["dead_lettered"] == 4 and edges[branch, "merge"]["delivered"] == 196


@pytest.mark.usefixtures("lane")
def test_a_join_in_order_with_a_reader_and_the_cameras_own_frames_as_a_branch(tmp_path: Path) -> None:
    nodes = joined(tmp_path, 400)
    nodes["merge"] |= {"input": ["buffer", "detect", "pose"], "order": "camera"}
    nodes["last"] = {
        "kind": "processor", "input": "merge", "use": "tests.harness.chain:Note",
        "with": {"path": str(tmp_path / "notes"), "name": "last"}, **QUICK,
    }  # fmt: skip
    with RunningPipeline(tmp_path, "ordered", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = read_passed(tmp_path / "notes")
    assert [note.sequence for note in of(notes, "merge")] == list(range(400))
    assert all(not note.missing for note in notes)
    last = of(notes, "last")
    assert [note.sequence for note in last] == list(range(400))
    assert all(list(note.results) == ["detect", "pose", "merge"] for note in last)


@pytest.mark.usefixtures("lane")
def test_an_optional_branch_that_is_not_there_is_absent_and_holds_nobody_up(tmp_path: Path) -> None:
    nodes = joined(tmp_path, 300)
    nodes["pose"] |= {"optional": True, "restart": {"when": "never"}}
    with RunningPipeline(tmp_path, "absent", nodes) as run:
        run.wait_delivered("detect", "merge", 50)
        run.kill("pose")
        report = run.end(None)
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "merge")
    assert_whole(notes, set(range(300)))
    assert set(note.missing.get("pose", "") for note in notes) <= {"", "absent", "gone", "consumer_slow"}
    assert notes[-1].missing == {"pose": "gone"} or notes[-1].missing == {"pose": "absent"}


@pytest.mark.usefixtures("lane")
def test_a_branch_that_ends_while_its_frames_are_in_work_costs_the_other_branch_nothing(tmp_path: Path) -> None:
    nodes = joined(tmp_path, 120)
    nodes["detect"] |= {"replicas": 1, "drain": "10ms"}  # what has not been joined by then is dropped as `stopped`
    nodes["merge"]["with"]["busy_s"] = 0.06
    with RunningPipeline(tmp_path, "ended", nodes) as run:
        for target in range(10, 70, 10):
            run.wait_delivered("merge", "log", target)
            run.kill("detect", signal.SIGTERM)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = of(read_passed(tmp_path / "notes"), "merge")
    assert_whole(notes, set(range(120)))
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert edges["pose", "merge"]["dropped"] == {} and edges["pose", "merge"]["delivered"] == 120
    assert {reason for note in notes for reason in note.missing.values()} == {"stopped"}
