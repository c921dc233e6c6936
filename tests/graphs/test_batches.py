"""Batches whose frames raise, kill, hang, are killed from outside, or wait for room: only the guilty are given up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.faults.test_faults import QUICK, assert_sound, dead_letters_of
from tests.harness.checked import read_notes
from tests.harness.running import RunningPipeline

CAMERAS = 8
pytestmark = pytest.mark.usefixtures("lane")


def graph(tmp_path: Path, *, cameras: int = 1, count: int = 400, rate: float = 0.0, **check: Any) -> dict[str, Any]:
    """Cameras, a buffer over them, and a processor that checks every frame, in batches."""
    worker = {key: check.pop(key) for key in ("replicas", "timeout", "max_deliveries", "batch") if key in check}
    names = [f"camera{number}" for number in range(cameras)] if cameras > 1 else ["camera"]
    told = {"count": count, "rate": rate}
    nodes: dict[str, Any] = {
        name: {"kind": "capture", "source": "python:tests.harness.checked:numbered", "with": told, **QUICK}
        for name in names
    }
    nodes["buffer"] = {"kind": "buffer", "input": names, "high_water_mark": 32, "when_full": "block", **QUICK}
    nodes["check"] = {
        "kind": "processor", "input": "buffer", "use": "tests.harness.checked:Check", "batch": {"size": 8},
        "with": {"path": str(tmp_path / "notes"), **check}, **worker, **QUICK,
    }  # fmt: skip
    return nodes


def dead_letters(pipeline: str) -> set[tuple[str, int]]:
    """Return camera and sequence of the frames that were given up."""
    frames = [letter["frame"].split("_") for letter in dead_letters_of(pipeline)]
    return {(parts[2], int(parts[3])) for parts in frames}


def test_of_eight_cameras_exactly_the_frames_that_raise_are_dead_lettered_at_their_first_attempt(
    tmp_path: Path,
) -> None:
    poison = [40, 140, 240]
    nodes = graph(tmp_path, cameras=CAMERAS, count=300, faulty=poison, max_deliveries=1)
    with RunningPipeline(tmp_path, "eight", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    guilty = {(f"camera{camera}", number) for camera in range(CAMERAS) for number in poison}
    assert dead_letters("eight") == guilty, run.tail()
    assert (edge["delivered"], edge["dead_lettered"]) == (300 * CAMERAS - len(guilty), len(guilty)), run.tail()
    assert (edge["redelivered"], report["unaccounted"], report["nodes"]["check"]["restarts"]) == (0, 0, 0)
    notes = read_notes(tmp_path / "notes")
    every = {(f"camera{camera}", number) for camera in range(CAMERAS) for number in range(300)}
    assert Counter((note.camera, note.sequence) for note in notes) == Counter(every - guilty)
    assert all(note.is_right for note in notes)
    for camera in range(CAMERAS):
        seen = [note.sequence for note in notes if note.camera == f"camera{camera}"]
        assert seen == sorted(seen), f"camera{camera} is out of order"


def test_a_frame_that_kills_its_process_is_found_and_no_other_of_its_batch_is_given_up(tmp_path: Path) -> None:
    nodes = graph(tmp_path, poison=[100, 101, 250], max_deliveries=1)
    with RunningPipeline(tmp_path, "segfault", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert dead_letters("segfault") == {("camera", 100), ("camera", 101), ("camera", 250)}, run.tail()
    assert (edge["delivered"], edge["dead_lettered"]) == (397, 3), run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"), lost=3)


def test_a_segfault_in_the_code_for_a_batch_gives_up_its_own_frame_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import ctypes\n"
        "class Segfault:\n"
        "    def process_batch(self, frames):\n"
        "        if any(frame.sequence == 33 for frame in frames):\n"
        "            ctypes.string_at(0)\n"
        "        return [{'sequence': frame.sequence} for frame in frames]\n"
    )
    nodes = graph(tmp_path, cameras=2, count=60)
    nodes["check"] |= {"use": "mine:Segfault", "with": {}, "input": ["camera0", "camera1"], "max_deliveries": 1}
    del nodes["buffer"]
    nodes["events"] = {"kind": "sink", "input": "check", "use": "jsonl", "with": {"path": "events.jsonl"}}
    with RunningPipeline(tmp_path, "real", nodes) as run:
        report = run.end(None)
    assert dead_letters("real") == {("camera0", 33), ("camera1", 33)}, run.tail()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    every = {(camera, number) for camera in ("camera0", "camera1") for number in range(60) if number != 33}
    assert {(event["camera"], event["sequence"]) for event in events} == every
    assert report["unaccounted"] == 0


def test_replicas_killed_in_their_batches_lose_nothing(tmp_path: Path) -> None:
    nodes = graph(tmp_path, cameras=3, count=600, busy_s=0.001, replicas=2)
    with RunningPipeline(tmp_path, "killed", nodes) as run:
        for target in (200, 500, 800, 1100):
            run.wait_delivered("buffer", "check", target)
            run.kill("check", place=target // 100 % 2)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    notes = read_notes(tmp_path / "notes")
    assert {(note.camera, note.sequence) for note in notes} == {
        (f"camera{camera}", number) for camera in range(3) for number in range(600)
    }
    seen = Counter((note.camera, note.sequence) for note in notes)
    marked = {(note.camera, note.sequence) for note in notes if note.delivery > 1}
    assert {frame for frame, count in seen.items() if count > 1} <= marked, "worked on twice and not marked"
    assert all(edge["dead_lettered"] == 0 for edge in report["edges"]) and report["unaccounted"] == 0


def test_a_killed_buffer_and_a_killed_capture_lose_nothing_of_a_batch(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=2000, busy_s=0.0005, max_deliveries=1)
    with RunningPipeline(tmp_path, "above", nodes) as run:
        for target in (100, 400, 700):
            run.wait_delivered("buffer", "check", target)
            run.kill("buffer")
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"))


def test_a_batch_that_hangs_is_no_attempt_at_its_frames_and_the_one_that_hangs_alone_is(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\n"
        "class Hang:\n"
        "    def process_batch(self, frames):\n"
        "        while any(frame.sequence == 20 for frame in frames):\n"
        "            time.sleep(0.01)\n"
        "        return [{'sequence': frame.sequence} for frame in frames]\n"
    )
    nodes = graph(tmp_path, count=60)
    nodes["check"] |= {"use": "mine:Hang", "with": {}, "timeout": "1s", "max_deliveries": 1}
    nodes["events"] = {"kind": "sink", "input": "check", "use": "jsonl", "with": {"path": "events.jsonl"}}
    with RunningPipeline(tmp_path, "hangs", nodes) as run:
        report = run.end(None)
    assert dead_letters("hangs") == {("camera", 20)}, run.tail()
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert (edge["delivered"], edge["dead_lettered"], report["unaccounted"]) == (59, 1, 0), run.tail()
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert {event["data"]["sequence"] for event in events} == set(range(60)) - {20}
    assert "one batch took longer than 3 x 1s" in run.tail(200)


def test_events_of_a_batch_wait_in_order_for_a_slow_sink(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\n"
        "class Two:\n"
        "    def process_batch(self, frames):\n"
        "        return [[{'of': frame.sequence, 'part': part} for part in range(3)] for frame in frames]\n"
        "class Slow:\n"
        "    def __init__(self): self.file = open('events', 'w')\n"
        "    def write(self, event):\n"
        "        time.sleep(0.001)\n"
        "        self.file.write(f\"{event['data']['of']} {event['data']['part']}\\n\")\n"
        "    def close(self): self.file.close()\n"
    )
    nodes = graph(tmp_path, count=120)
    nodes["check"] |= {"use": "mine:Two", "with": {}, "high_water_mark": 2}
    nodes["events"] = {"kind": "sink", "input": "check", "use": "mine:Slow", "window": 1}
    with RunningPipeline(tmp_path, "slow", nodes) as run:
        report = run.end(None)
    assert report["unaccounted"] == 0, run.tail()
    lines = (tmp_path / "events").read_text().splitlines()
    assert lines == [f"{of} {part}" for of in range(120) for part in range(3)]


def test_results_that_are_wrong_are_the_failure_of_their_own_frame(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "class Wrong:\n"
        "    def process_batch(self, frames):\n"
        "        results = [{'it': object()} if frame.sequence == 9 else {'it': 1} for frame in frames]\n"
        "        return results[1:] if any(frame.sequence == 30 for frame in frames) else results\n"
    )
    nodes = graph(tmp_path, count=60)
    nodes["check"] |= {"use": "mine:Wrong", "with": {}}
    with RunningPipeline(tmp_path, "wrong", nodes) as run:
        report = run.end(None)
    assert dead_letters("wrong") == {("camera", 9), ("camera", 30)}, run.tail()
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert (edge["delivered"], edge["dead_lettered"], edge["redelivered"]) == (58, 2, 0), run.tail()
    assert "process_batch() returned 0 results for 1 frames; return a list with one result" in run.tail()


def test_nobody_waits_for_frames_that_cannot_come(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=21, batch={"size": 8, "wait": "29s"})
    with RunningPipeline(tmp_path, "waits", nodes) as run:
        report = run.end(None, within_s=25)
    assert report["unaccounted"] == 0 and len(read_notes(tmp_path / "notes")) == 21, run.tail()


def test_a_run_that_is_stopped_while_a_batch_waits_works_on_what_is_there(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=0, rate=2, batch={"size": 64, "wait": "29s"})
    nodes["camera"]["when_full"] = nodes["buffer"]["when_full"] = "drop-oldest"
    with RunningPipeline(tmp_path, "stopped", nodes) as run:
        run.wait(lambda: run.edge("buffer", "check").get("in_flight", 0) >= 3, what="three frames that wait")
        report = run.end(within_s=25)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert edge["delivered"] == edge["offered"] >= 3 and report["unaccounted"] == 0, run.tail()


def test_a_batch_of_ordered_frames_that_is_full_begins_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import time\n"
        "from pathlib import Path\n"
        "from tests.harness.checked import numbered\n"
        "def pausing():\n"
        "    for number, picture in enumerate(numbered(12)):\n"
        "        while number == 8 and not Path('go').exists(): time.sleep(0.01)\n"  # the source's pace
        "        yield picture\n"
    )
    nodes = graph(tmp_path, batch={"size": 4, "wait": "29s"})
    nodes["camera"] |= {"source": "python:mine:pausing", "with": {}}
    nodes["detect"] = {
        "kind": "processor", "input": "buffer", "use": "tests.harness.chain:Detect", "replicas": 2, **QUICK,
    }  # fmt: skip
    nodes["check"] |= {"input": "detect", "order": "camera"}
    with RunningPipeline(tmp_path, "full", nodes) as run:
        run.wait_delivered("detect", "check", 8)
        (tmp_path / "go").touch()
        report = run.end(None)
    assert report["unaccounted"] == 0, run.tail()
    assert [note.sequence for note in read_notes(tmp_path / "notes")] == list(range(12))
