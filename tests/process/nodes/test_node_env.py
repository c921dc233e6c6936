"""What a node is told of its environment, CPUs, priority and threads, as its code sees it from inside."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detektr.process.cores import THREAD_VARIABLES, core_count
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

SECRET = "correct-horse-battery"
QUICK = {"restart": {"backoff": "20ms..300ms", "limit": "99 in 1m"}, "drain": "5s"}
CODE = """
import os
ENVIRON = dict(os.environ)  # before numpy is imported here
import ctypes, sys, time
import numpy as np
import numpy.linalg._umath_linalg as core

def pictures(count=10_000_000, pause=0.002):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)
        time.sleep(pause)

def blas_threads():
    library = ctypes.CDLL(core.__file__)
    return library.scipy_openblas_get_num_threads64_()

class Sees:
    def process(self, frame):
        if frame.sequence == 0:
            print("my key is", ENVIRON.get("SEEN_KEY"), flush=True)
            raise ValueError(f"no frame for {ENVIRON.get('SEEN_KEY')}")
        threads = [int(name) for name in os.listdir("/proc/self/task")]
        return {
            "pid": os.getpid(),
            "env": {name: value for name, value in ENVIRON.items() if name.startswith("SEEN_") or "NUM" in name},
            "cpus": sorted({cpu for thread in threads for cpu in os.sched_getaffinity(thread)}),
            "nice": sorted({os.getpriority(os.PRIO_PROCESS, thread) for thread in threads}),
            "blas": blas_threads(),
            "is_hash_fixed": not sys.flags.hash_randomization,  # Python asks for this variable as it starts
            "title": open("/proc/self/cmdline").read().strip(chr(0)),
        }
"""
PLACED = {"env": {"SEEN_GPU": "0", "SEEN_KEY": "${file:SECRET_FILE}", "PYTHONHASHSEED": "0"}, "nice": 5}


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "secret").write_text(SECRET + "\n")
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def graph(folder: Path, **work: Any) -> dict[str, Any]:
    placed = json.loads(json.dumps(PLACED).replace("SECRET_FILE", str(folder / "secret")))
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", **QUICK},
        "work": {"kind": "processor", "input": "cam", "use": "mine:Sees", **QUICK, **placed, **work},
        "plain": {"kind": "processor", "input": "cam", "use": "mine:Sees", **QUICK},
        "keep": {"kind": "sink", "input": ["work", "plain"], "use": "jsonl", "with": {"path": "events.jsonl"}, **QUICK},
    }


def seen(folder: Path, node: str) -> dict[int, dict[str, Any]]:
    """Return what each process of a node saw last, by its number."""
    path = folder / "events.jsonl"
    lines = path.read_text().splitlines()[:-1] if path.exists() else []  # the last one may be half a line yet
    events = [event for event in map(json.loads, lines) if event["node"] == node]
    return {event["data"]["pid"]: event["data"] for event in events}


def told(seen_by: dict[str, Any]) -> set[str | None]:
    return {seen_by["env"].get(name) for name in THREAD_VARIABLES}


def test_a_node_sees_env_cpus_nice_and_threads_after_a_kill_too(
    tmp_path: Path, state_dir: Path, run_detektr: RunDetektr
) -> None:
    cpu = max(os.sched_getaffinity(0))
    share = core_count()
    with RunningPipeline(tmp_path, "placed", graph(tmp_path, cpus=[cpu])) as run:
        run.wait(lambda: seen(tmp_path, "work") and seen(tmp_path, "plain"), what="both to have seen a frame")
        file = str(run.file)
        for arguments in (["validate", file], ["graph", file], ["status", "placed", "--json"], ["status", "placed"]):
            shown = run_detektr("pipeline", *arguments)
            assert shown.returncode == 0, shown.stderr
            assert SECRET not in shown.stdout + shown.stderr
        first = run.kill("work")
        run.wait(lambda: len(seen(tmp_path, "work")) > 1, what="a successor that has seen a frame")
        successors = seen(tmp_path, "work")
        assert first in successors
        for one in successors.values():
            assert (one["env"]["SEEN_GPU"], one["env"]["SEEN_KEY"], one["is_hash_fixed"]) == ("0", SECRET, True)
            assert (one["cpus"], one["nice"], one["blas"], told(one)) == ([cpu], [5], 1, {"1"})
            assert one["title"] == "detektr work.0"
        (plain,) = seen(tmp_path, "plain").values()
        assert plain["cpus"] == sorted(os.sched_getaffinity(0))
        assert (plain["nice"], plain["blas"], told(plain)) == ([os.getpriority(0, 0)], share, {str(share)})
        assert not any(name.startswith("SEEN_") for name in plain["env"])
        assert run.end()["unaccounted"] == 0
    log = run.tail(10_000)
    assert "my key is ${file:" in log or "my key is ***" in log
    written = [file for file in state_dir.rglob("*") if file.is_file()] + [run.log, run.report_file]
    assert [file for file in written if SECRET.encode() in file.read_bytes()] == []


def test_what_the_outer_environment_says_of_threads_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3")
    nodes = graph(tmp_path, env={"OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "2"})
    with RunningPipeline(tmp_path, "placed", nodes) as run:
        run.wait(lambda: seen(tmp_path, "work") and seen(tmp_path, "plain"), what="both to have seen a frame")
        (work,), (plain,) = seen(tmp_path, "work").values(), seen(tmp_path, "plain").values()
        assert (work["blas"], told(work)) == (2, {"2", "4"})
        assert (plain["blas"], told(plain)) == (3, {"3", str(core_count())})
        run.end()


def test_cpus_that_are_not_here_start_nothing(tmp_path: Path, run_detektr: RunDetektr) -> None:
    run = RunningPipeline(tmp_path, "placed", graph(tmp_path, cpus=[8191]))
    refused = run_detektr("pipeline", "up", run.file)
    assert refused.returncode == 2
    assert "node 'work': `cpus` has 8191, on which detektr cannot run here, expected CPUs out of 0" in refused.stderr
    assert "nothing was started" in refused.stderr


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="nobody here takes rights away")
def test_a_priority_that_is_not_allowed_is_refused_before_any_frame(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "placed", graph(tmp_path, nice=-5))
    rights = ["setpriv", "--bounding-set=-sys_nice", "--inh-caps=-sys_nice"] if os.getuid() == 0 else []
    command = [*rights, sys.executable, "-m", "detektr", "pipeline", "up", str(run.file)]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert refused.returncode == 2, refused.stderr
    assert "node work: `nice` is -5, but this user cannot go below" in refused.stderr
    assert not (tmp_path / "events.jsonl").exists() or not seen(tmp_path, "work")


def test_a_lone_node_is_placed_too(tmp_path: Path) -> None:
    cpu = max(os.sched_getaffinity(0))
    program = [sys.executable, "-m", "detektr"]
    source = "python:mine:pictures"
    options = ["--env", "SEEN_GPU=0", "--env", "PYTHONHASHSEED=0", "--cpus", str(cpu), "--nice", "5"]
    capture = subprocess.Popen([*program, "capture", "--name", "cam", "--source", source], cwd=tmp_path)
    work = subprocess.Popen([*program, "processor", "mine:Sees", "--input", "cam", *options], cwd=tmp_path)
    sink = [*program, "sink", "jsonl", "--input", "sees", "--with", "path=events.jsonl"]
    keep = subprocess.Popen(sink, cwd=tmp_path)
    processes = [capture, work, keep]
    try:
        run = RunningPipeline(tmp_path, "local", {})
        run.wait(lambda: seen(tmp_path, "sees"), what="an event")
        (one,) = seen(tmp_path, "sees").values()
        assert one["pid"] == work.pid
        assert (one["env"]["SEEN_GPU"], one["is_hash_fixed"]) == ("0", True)
        assert (one["cpus"], one["nice"], one["blas"], told(one)) == ([cpu], [5], 1, {"1"})
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        assert [process.wait(30) for process in processes] == [0, 0, 0]
