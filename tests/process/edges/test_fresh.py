"""A reader that wants the newest frame only: of a camera, of a file at full speed, behind a buffer or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detektr.options import Lane
from tests.harness.running import RunningPipeline

CODE = """
import pathlib, time
import numpy as np

def pictures(count):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)

class Waits:
    is_first = True
    def process(self, frame):
        with open("worked", "a") as worked: worked.write(f"{frame.sequence}\\n")
        while self.is_first and not pathlib.Path("go").exists():
            time.sleep(0.005)
        self.is_first = False
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def worked(folder: Path) -> list[int]:
    path = folder / "worked"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("announce", ["zmq", "shm"])
def test_a_slow_reader_of_a_camera_goes_on_with_its_newest_frame(tmp_path: Path, announce: Lane) -> None:
    nodes: dict[str, Any] = {
        "cam": {
            "kind": "capture",
            "source": "python:mine:pictures",
            "with": {"count": 600},
            "realtime": True,
            "fps": 200,
        },
        "buf": {"kind": "buffer", "input": "cam"},
        "look": {"kind": "processor", "input": "buf", "use": "mine:Waits", "fresh": True},
    }
    with RunningPipeline(tmp_path, "demo", nodes, announce=announce) as run:
        run.wait(lambda: run.edge("buf", "look").get("dropped", {}).get("queue_full", 0) >= 50)
        (first,) = worked(tmp_path)
        # Between the drop of an older frame and the offer of a newer one there is none.
        run.wait(lambda: (edge := run.edge("buf", "look")) and (edge["queued"], edge["in_flight"]) == (1, 1))
        (tmp_path / "go").touch()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert worked(tmp_path)[1] >= first + 50, "older frames came first"
    (into,) = [edge for edge in report["edges"] if edge["to"] == "buf"]
    assert into["dropped"] == {}


@pytest.mark.parametrize("announce", ["zmq", "shm"])
def test_a_file_at_full_speed_is_read_no_further_than_its_fresh_reader_is(tmp_path: Path, announce: Lane) -> None:
    nodes: dict[str, Any] = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": 100}},
        "look": {"kind": "processor", "input": {"from": "cam", "fresh": True}, "use": "mine:Waits"},
    }
    with RunningPipeline(tmp_path, "demo", nodes, announce=announce) as run:
        run.wait(lambda: len(worked(tmp_path)) == 1 and run.edge("cam", "look")["queued"] == 1)
        run.wait(lambda: run.status()["nodes"]["cam"]["held_up_by"] == "look")
        assert run.edge("cam", "look")["offered"] == 2
        (tmp_path / "go").touch()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert worked(tmp_path) == list(range(100)), "a file waits, and loses nothing"


def test_a_file_behind_a_buffer_waits_too_and_each_replica_has_one_frame(tmp_path: Path) -> None:
    nodes: dict[str, Any] = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": 100}},
        "buf": {"kind": "buffer", "input": "cam", "guests": 0},
        "look": {"kind": "processor", "input": "buf", "use": "mine:Waits", "fresh": True, "replicas": 2},
    }
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(lambda: len(worked(tmp_path)) == 2 and run.edge("cam", "buf")["queued"] == 1)
        assert run.edge("cam", "buf")["offered"] == 2 + 1 + 1
        (tmp_path / "go").touch()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert sorted(worked(tmp_path)) == list(range(100))
