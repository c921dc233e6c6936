"""What a node started ends with it, but for what has to clean up after it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from detektr.supervisor.child_process import ProcessGroups
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

SHM = Path("/dev/shm")
CODE = """
import os, subprocess, time
from multiprocessing import shared_memory
import numpy as np

def pictures(count=20):
    for number in range(count):
        yield np.full((48, 64), number, np.uint8)

class Shares:
    def __init__(self, name):
        self.memory = shared_memory.SharedMemory(create=True, size=4096, name=name)
        self.child = subprocess.Popen(["sleep", "1000"])
        print("started", self.child.pid)
    def process(self, frame):
        self.memory.buf[0] = frame.sequence
        if frame.sequence == 15 and frame.delivery == 1 and os.environ.get("HANGS"):
            time.sleep(1000)
"""


@pytest.mark.parametrize("hangs", ["", "1"])
def test_shared_memory_of_the_users_own_is_gone_after_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs: str
) -> None:
    monkeypatch.setenv("HANGS", hangs)
    (tmp_path / "mine.py").write_text(CODE)
    name = f"dt-user-{os.getpid()}-{len(hangs)}"
    nodes = {
        "cam": {"kind": "capture", "source": "python:mine:pictures"},
        "work": {
            **{"kind": "processor", "input": "cam", "use": "mine:Shares", "with": {"name": name}, "timeout": "300ms"},
            "restart": {"backoff": "1ms..2ms"},
        },
    }
    with RunningPipeline(tmp_path, "shares", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["work"]["restarts"] == len(hangs)
    assert not (SHM / name).exists()
    started = [int(pid) for pid in re.findall(r" started (\d+)$", run.tail(200), re.MULTILINE)]
    assert started and not any(psutil.pid_exists(pid) for pid in started)


def test_a_tracker_that_does_not_end_is_killed_with_the_last(wait_until: WaitUntil) -> None:
    code = "import sys, subprocess; subprocess.Popen([sys.executable, '-c', sys.argv[1]])"
    tracker = (
        "def main(): import time; print('up', flush=True); time.sleep(1000)\nmain()  # resource_tracker import main"
    )
    leader = subprocess.Popen([sys.executable, "-c", code, tracker], process_group=0, stdout=subprocess.PIPE)
    assert leader.stdout is not None and leader.stdout.readline() == b"up\n"
    os.waitid(os.P_PID, leader.pid, os.WEXITED | os.WNOWAIT)
    left = [one for one in psutil.process_iter() if one.pid != leader.pid and _group(one.pid) == leader.pid]
    assert len(left) == 1
    groups = ProcessGroups()
    groups.end(leader.pid)
    leader.wait()
    groups.look()
    assert left[0].is_running()
    groups.close()
    wait_until(lambda: not left[0].is_running() or left[0].status() == psutil.STATUS_ZOMBIE, what="the tracker's end")
    leader.stdout.close()


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def endless(tmp_path: Path) -> dict[str, Any]:
    """Write the code of a run that goes on, and return its nodes."""
    code = CODE.replace("range(count)", "range(10**6)").replace("number, np", "number % 250, np")
    (tmp_path / "mine.py").write_text(code + "\ndef look(frame): pass\n")
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures"},
        "work": {"kind": "processor", "input": "cam", "use": "mine:look"},
    }


def test_a_capture_that_a_signal_has_ended_before_its_supervisor_heard_it_has_ended_in_order(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    with RunningPipeline(tmp_path, "all", endless(tmp_path)) as run:
        run.wait_delivered("cam", "work", 20)
        assert run.process is not None
        supervisor = psutil.Process(run.process.pid)
        capture = psutil.Process(run.pids("cam")[0])
        supervisor.suspend()
        capture.terminate()
        wait_until(lambda: is_over(capture), what="the end of the capture")
        supervisor.terminate()
        supervisor.resume()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert {node["state"] for node in report["nodes"].values()} == {"ended"}, run.tail()


def is_over(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    return True


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_to_every_process_of_a_run_shows_no_traceback_and_drains(
    tmp_path: Path, number: int, code: int
) -> None:
    with RunningPipeline(tmp_path, "all", endless(tmp_path)) as run:
        run.wait_delivered("cam", "work", 20)
        assert run.process is not None
        everybody = [run.process, *psutil.Process(run.process.pid).children(recursive=True)]
        assert len(everybody) == 4  # itself, what nodes are forked from, and two nodes
        for process in everybody:
            process.send_signal(number)
        report = run.end(None)
    assert "Traceback" not in run.tail(200) and "KeyboardInterrupt" not in run.tail(200)
    assert run.exit_code == code and report["unaccounted"] == 0, run.tail()
