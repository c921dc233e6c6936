"""A machine that stands still for a while (paused, frozen, SIGSTOP of everything) makes nobody late."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil
import pytest

from tests.harness.running import RunningPipeline

SUSPENDED_S = 4.0  # longer than three timeouts
CODE = """
import time
import numpy as np

def pictures():
    number = 0
    while True:
        number += 1
        yield np.full((48, 64), number % 250, np.uint8)

class Works:
    def process(self, frame):
        time.sleep(0.2)
        return {"n": frame.sequence}

class Writes:
    def write(self, event):
        time.sleep(0.1)
"""


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("who_wakes_first", ["the supervisor", "the nodes"])
def test_a_suspended_machine_is_not_a_hung_processor(tmp_path: Path, who_wakes_first: str) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    nodes = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "high_water_mark": 2},
        "buf": {"kind": "buffer", "input": "cam", "when_full": "block", "high_water_mark": 4},
        "work": {"kind": "processor", "input": "buf", "use": "mine:Works", "timeout": "1s", "replicas": 2},
        "out": {"kind": "sink", "input": "work", "use": "mine:Writes", "timeout": "1s"},
    }
    with RunningPipeline(tmp_path, "asleep", nodes) as run:
        run.wait_delivered("work", "out", 4)
        assert run.process is not None
        everybody = [run.process.pid, *(child.pid for child in psutil.Process(run.process.pid).children(True))]
        if who_wakes_first == "the nodes":
            everybody.reverse()
        for pid in everybody:
            os.kill(pid, signal.SIGSTOP)
        threading.Event().wait(SUSPENDED_S)
        for pid in everybody:
            os.kill(pid, signal.SIGCONT)
        run.wait_delivered("work", "out", run.edge("work", "out")["delivered"] + 8)
        report = run.end()
    assert run.exit_code == 0, run.tail()
    assert {name: node["restarts"] for name, node in report["nodes"].items()} == dict.fromkeys(nodes, 0), run.tail()
    assert [edge["redelivered"] for edge in report["edges"]] == [0, 0, 0], run.tail()
    assert [edge["refused"] for edge in report["edges"]] == [0, 0, 0], run.tail()
