"""User code that forks: a child is the user's for as long as the user's code runs in it, and never a node."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.harness.effort import alike
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr, WaitUntil

FRAMES = 40
CODE = """
import multiprocessing, os, signal, sys, threading, time
import numpy as np

def exits(): sys.exit(0)
def returns(): return None
def raises(): raise ValueError("in the child")
def execs(): os.execvp("no-such-program", ["no-such-program"])
WAYS = dict(exits=exits, returns=returns, raises=raises, execs=execs)

def fork(way):
    if os.fork() == 0:
        WAYS[way]()
        return True
    return False

def pictures(count, fork_at=-1, pause=0.0, way="returns"):
    for number in range(count):
        if number == fork_at:
            fork(way)
        yield np.full((48, 64), number % 250, np.uint8)
        time.sleep(pause)

class Process:
    def __init__(self, way="", where="process"):
        self.way, self.where, self.children = way, where, []
        self.at("init")
    def at(self, where):
        if where == self.where and self.way: fork(self.way)
    def open(self): self.at("open")
    def process(self, frame):
        if frame.sequence % 10 == 3: self.at("process")
        if self.where == "result": return self.results(frame)
        return {"number": frame.sequence}
    def close(self): self.at("close")

class InAThread(Process):
    def process(self, frame):
        if frame.sequence % 10 == 3:
            thread = threading.Thread(target=fork, args=(self.way,))
            thread.start(); thread.join()
        return {"number": frame.sequence}

class Sink:
    def __init__(self, way=""): self.way, self.file = way, os.open("events.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    def write(self, event):
        os.write(self.file, b"%d %d\\n" % (os.getpid(), event["data"]["number"]))
        if event["sequence"] % 10 == 3 and self.way: fork(self.way)

def work(numbers): numbers.put((os.getpid(), 7))
def last(): time.sleep(1000)

class Helpers:
    def process(self, frame):
        fork = multiprocessing.get_context("fork")
        if frame.sequence == 3:
            numbers = fork.Queue()
            child = fork.Process(target=work, args=(numbers,))
            child.start()
            pid, number = numbers.get()
            child.join()
            assert pid != os.getpid() and child.exitcode == 0
            return {"number": 1000 + number}
        if frame.sequence == 5:
            child = fork.Process(target=last)
            child.start()
            child.terminate()  # SIGTERM: for the child, not for the node
            child.join()
            return {"number": 2000 - child.exitcode}
        return {"number": frame.sequence}

class Slow(Process):
    def process(self, frame):
        if frame.sequence == 3: fork(self.way)
        time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def graph(use: str = "mine:Process", source: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": FRAMES, **(source or {})}},
        "work": {"kind": "processor", "input": "cam", "use": use, "with": options},
        "keep": {"kind": "sink", "input": "work", "use": "mine:Sink"},
    }


def check_one_node_each(run: RunningPipeline, count: int = FRAMES) -> list[int]:
    """Let a run end by itself; its ledger and its events must be those of one process a node. Returns the numbers."""
    report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    for edge in report["edges"]:
        assert (edge["offered"], edge["delivered"]) == (count, count), run.tail()
    lines = [line.split() for line in (run.folder / "events.txt").read_text().splitlines()]
    assert len(lines) == count
    assert len({pid for pid, _ in lines}) == 1
    return [int(number) for _, number in lines]


@pytest.mark.parametrize("way", ["exits", alike("returns"), alike("raises"), "execs"])
@pytest.mark.parametrize("where", ["init", alike("open"), "process", "close"])
def test_a_child_that_a_processor_forks_does_not_become_a_second_node(way: str, where: str, tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "forks", graph(way=way, where=where)) as run:
        assert check_one_node_each(run) == list(range(FRAMES))


@pytest.mark.parametrize("way", ["returns", "execs"])
def test_a_child_that_a_sink_or_a_thread_or_a_source_forks_does_not_become_a_second_node(
    way: str, tmp_path: Path
) -> None:
    nodes = graph("mine:InAThread", {"fork_at": 7, "way": way}, way=way)
    nodes["keep"]["with"] = {"way": way}
    with RunningPipeline(tmp_path, "forks", nodes) as run:
        assert check_one_node_each(run) == list(range(FRAMES))


def test_multiprocessing_by_fork_works_in_user_code_and_ending_its_child_does_not_stop_the_node(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "helpers", graph("mine:Helpers")) as run:
        numbers = check_one_node_each(run)
    assert {1007, 2000 + signal.SIGTERM} <= set(numbers)


def test_forked_children_do_not_live_on_after_their_supervisor_was_killed(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    nodes = graph("mine:Slow", {"count": 10**6, "pause": 0.001}, way="returns")
    with RunningPipeline(tmp_path, "killed", nodes) as run:
        run.wait_delivered("cam", "work", 10)
        [work] = run.pids("work")
        assert run.process is not None
        run.process.kill()
        run.process.wait()
        wait_until(lambda: not psutil.pid_exists(work), what="the node's end")
        # What still lives of it is found by the guard.


def test_a_lone_processor_that_forks_ends_with_a_whole_ledger(run_detektr: RunDetektr, tmp_path: Path) -> None:
    capture = subprocess.Popen(
        [sys.executable, "-m", "detektr", "capture", "--source", "python:mine:pictures", "--with", f"count={FRAMES}"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    work = run_detektr("processor", "mine:Process", "--input", "cam", "--with", "way=returns")
    out, _ = capture.communicate(timeout=20)
    assert (capture.returncode, work.returncode) == (0, 0)
    assert re.search(rf"cam -> process +{FRAMES} +{FRAMES} +0", out), out
    assert "unaccounted: 0" in work.stdout


SCRIPT = """
import os, sys, detektr
way = sys.argv[1]
with detektr.attach("attached/cam", wait_s=20) as frames:
    for number, frame in enumerate(frames):
        if number == 3:
            pid = os.fork()
            if not pid and way == "exits": sys.exit(0)
            if not pid and way == "breaks": break
            if not pid: continue
            print("child", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        if number == 20: break
print(number, frames.delivered)
"""


@pytest.mark.parametrize(("way", "code"), [("exits", 0), ("breaks", 0), ("goes on", 1)])
def test_a_child_forked_while_attached_ends_and_its_parent_reads_on(way: str, code: int, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    nodes = graph(source={"count": 10**6, "pause": 0.002})
    with RunningPipeline(tmp_path, "attached", nodes) as run:
        run.wait_delivered("cam", "work", 10)
        script = subprocess.run(
            [sys.executable, "script.py", way], cwd=tmp_path, capture_output=True, text=True, timeout=30
        )
        assert f"child {code}" in script.stdout, script.stderr
        assert script.stdout.splitlines()[-1] == "20 21"
        assert script.returncode == 0
        assert ("was forked from process" in script.stderr) == (way == "goes on")
        assert run.end()["unaccounted"] == 0
    assert os.listdir(os.environ["DETEKTR_SHM_DIR"]) in ([], [f"detektr-{os.getuid()}"])
