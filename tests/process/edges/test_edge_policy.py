"""Edges of one pipeline that differ: one waits, one drops, one sees fewer frames, one only fresh ones."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detektr.options import Lane
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import MakeClip

CODE = """
import pathlib, time
import numpy as np

def pictures(count):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)

def wait_for(path):
    while not pathlib.Path(path).exists():
        time.sleep(0.005)

class Sees:
    def process(self, frame):
        return {"n": frame.sequence}

class Log:
    def write(self, event):
        with open("log", "a") as log: log.write(f"{event['data']['n']}\\n")

class Hook:  # whoever it calls answers late
    def write(self, event): wait_for("answer")

class Detects:
    is_first = True
    def process(self, frame):
        with open("worked", "a") as worked: worked.write(f"{frame.sequence}\\n")
        if self.is_first:
            self.is_first = False
            wait_for("go")
            begun = time.monotonic()
            while time.monotonic() - begun < 2.1: time.sleep(0.005)  # until all that was captured before is too old
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def numbers(path: Path) -> list[int]:
    return [int(line) for line in path.read_text().split()]


def edge(report: dict[str, Any], producer: str, consumer: str) -> dict[str, Any]:
    (found,) = [one for one in report["edges"] if (one["from"], one["to"]) == (producer, consumer)]
    return dict(found)


@pytest.mark.parametrize("announce", ["zmq", "shm"])
def test_a_log_waits_and_has_every_event_while_a_slow_hook_drops_its_own(tmp_path: Path, announce: Lane) -> None:
    nodes: dict[str, Any] = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": 200}},
        "see": {"kind": "processor", "input": "cam", "use": "mine:Sees"},
        "log": {"kind": "sink", "input": {"from": "see", "high_water_mark": 8}, "use": "mine:Log"},
        "hook": {
            "kind": "sink",
            "input": [{"from": "see", "when_full": "drop-newest", "high_water_mark": 2}],
            "use": "mine:Hook",
            "window": 1,
        },
    }
    with RunningPipeline(tmp_path, "demo", nodes, announce=announce) as run:
        run.wait_delivered("see", "log", 200)
        assert run.edge("see", "hook")["delivered"] == 0
        (tmp_path / "answer").touch()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert numbers(tmp_path / "log") == list(range(200))
    log, hook = edge(report, "see", "log"), edge(report, "see", "hook")
    assert (log["delivered"], log["dropped"], log["high_water_mark"]) == (200, {}, 8)
    assert (hook["delivered"], hook["dropped"], hook["high_water_mark"]) == (3, {"queue_full": 197}, 2)


def test_a_file_is_recorded_at_24_and_detected_at_3(tmp_path: Path, make_clip: MakeClip) -> None:
    make_clip(tmp_path / "clip.mp4", frames=96, rate=24)
    nodes: dict[str, Any] = {
        "cam": {"kind": "capture", "source": "clip.mp4"},
        "buf": {"kind": "buffer", "input": "cam", "when_full": "block"},
        "record": {"kind": "processor", "input": "buf", "use": "mine:Sees"},
        "detect": {"kind": "processor", "input": {"from": "buf", "fps": 3, "cameras": "cam"}, "use": "mine:Sees"},
        "log": {"kind": "sink", "input": "detect", "use": "mine:Log"},
    }
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    record, detect = edge(report, "buf", "record"), edge(report, "buf", "detect")
    assert (record["delivered"], record["dropped"]) == (96, {})
    assert (detect["offered"], detect["delivered"], detect["dropped"]) == (96, 12, {"thinned": 84})
    assert numbers(tmp_path / "log") == list(range(0, 96, 8))


@pytest.mark.parametrize("announce", ["zmq", "shm"])
def test_work_does_not_begin_on_a_frame_that_grew_too_old_in_the_window(tmp_path: Path, announce: Lane) -> None:
    nodes: dict[str, Any] = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": 30}},
        "detect": {"kind": "processor", "input": {"from": "cam", "max_age": "2s"}, "use": "mine:Detects", "window": 4},
    }
    with RunningPipeline(tmp_path, "demo", nodes, announce=announce) as run:
        run.wait(lambda: (tmp_path / "worked").exists() and run.edge("cam", "detect")["in_flight"] == 4)
        (first,) = numbers(tmp_path / "worked")
        (tmp_path / "go").touch()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    worked, ledger = numbers(tmp_path / "worked"), edge(report, "cam", "detect")
    assert not {first + 1, first + 2, first + 3} & set(worked), "they were leased in time, and begun too late"
    assert ledger["delivered"] == len(worked) == len(set(worked))
    assert ledger["dropped"] == {"too_old": 30 - len(worked)} and ledger["redelivered"] == 0


@pytest.mark.parametrize("announce", ["zmq", "shm"])
def test_a_buffer_gives_back_what_grew_too_old_while_it_had_no_room(tmp_path: Path, announce: Lane) -> None:
    nodes: dict[str, Any] = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": 40}},
        "buf": {
            "kind": "buffer",
            "input": {"from": "cam", "max_age": "2s"},
            "when_full": "block",
            "high_water_mark": 2,
            "guests": 0,
        },
        "detect": {"kind": "processor", "input": "buf", "use": "mine:Detects", "window": 1},
    }
    with RunningPipeline(tmp_path, "demo", nodes, announce=announce) as run:
        run.wait(lambda: (tmp_path / "worked").exists() and run.edge("cam", "buf")["in_flight"] == 2 + 1 + 2)
        run.wait(lambda: run.edge("buf", "detect")["queued"] == 2)
        (first,) = numbers(tmp_path / "worked")
        (tmp_path / "go").touch()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    worked, into, out = numbers(tmp_path / "worked"), edge(report, "cam", "buf"), edge(report, "buf", "detect")
    assert worked[:3] == [first, first + 1, first + 2], "what the buffer has taken in has no age on its own edge"
    assert not set(range(first + 3, first + 5)) & set(worked), "these waited for room, and grew too old"
    assert (into["delivered"], into["dropped"]) == (len(worked), {"too_old": 40 - len(worked)})
    assert (out["delivered"], out["dropped"]) == (len(worked), {})
