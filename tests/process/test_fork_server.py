"""Nodes are forked from a process that has imported what they need, and belong to the supervisor."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from detektr.supervisor import fork_server as forkserver
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr, WaitUntil

QUICK = {"restart": {"backoff": "20ms..300ms", "limit": "99 in 1m"}, "drain": "5s"}
CODE = """
import subprocess, sys, time
import numpy as np

def pictures(count=10_000_000):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)
        time.sleep(0.002)

class Draws:
    def __init__(self): print("argv", sys.argv, "drew", np.random.random(), flush=True)
    def process(self, frame): pass

class LeavesOneBehind(Draws):
    def open(self): subprocess.Popen(["sleep", "600"])

class StartsHelpers(Draws):
    def process(self, frame):
        if frame.sequence % 20 == 0:
            subprocess.run("sleep 0.01 & setsid true & exit", shell=True)

class Exits:
    def __init__(self): sys.exit("there is no GPU here")
    def process(self, frame): pass
"""


def graph(use: str = "mine:Draws", **options: Any) -> dict[str, Any]:
    """A generator, a buffer and two workers."""
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", **QUICK},
        "buf": {"kind": "buffer", "input": "cam", "when_full": "block", **QUICK},
        "work": {"kind": "processor", "input": "buf", "use": use, "replicas": 2, **QUICK, **options},
    }


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


@pytest.fixture
def run(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RunningPipeline]:
    """Return a pipeline through which frames flow."""
    with RunningPipeline(tmp_path, "forks", graph(**getattr(request, "param", {}))) as run:
        run.wait_delivered("buf", "work", 20)
        yield run


def supervisor_of(run: RunningPipeline) -> psutil.Process:
    assert run.process is not None
    return psutil.Process(run.process.pid)


def server_of(run: RunningPipeline) -> psutil.Process:
    """Return the one process that nodes are forked from."""
    children = supervisor_of(run).children()
    alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
    found = [child for child in alive if forkserver.__name__ in child.cmdline()]
    assert len(found) == 1, [(child.pid, child.status(), child.cmdline()) for child in children]
    return found[0]


def nodes_of(run: RunningPipeline) -> list[psutil.Process]:
    return [psutil.Process(pid) for node in ("cam", "buf", "work") for pid in run.pids(node)]


def wait_for_both(run: RunningPipeline, killed: int) -> None:
    """Wait until there are two workers again, the killed one not among them."""

    def are_there() -> bool:
        pids = run.pids("work")  # once: it may change between two looks
        return len(pids) == 2 and killed not in pids

    run.wait(are_there, what="two workers again")


def test_nodes_are_the_supervisor_s_own_each_named_and_in_a_group_of_its_own(run: RunningPipeline) -> None:
    nodes = nodes_of(run)
    assert {node.ppid() for node in nodes} == {supervisor_of(run).pid}
    assert [node.cmdline()[0] for node in nodes] == [
        *("detektr cam.0", "detektr buf.0", "detektr work.0", "detektr work.1")
    ]
    assert [os.getpgid(node.pid) for node in nodes] == [node.pid for node in nodes]


def test_replicas_draw_numbers_of_their_own_and_are_told_their_names(run: RunningPipeline) -> None:
    said = [line.partition("argv ")[2] for line in run.tail(1000).splitlines() if "drew" in line]
    names, drawn = zip(*(line.split(" drew ") for line in said), strict=True)
    assert sorted(names) == ["['work.0']", "['work.1']"]
    assert len(set(drawn)) == 2


def test_a_killed_fork_server_is_replaced_when_a_node_is_to_be_started_again(run: RunningPipeline) -> None:
    server = server_of(run)
    server.kill()
    run.wait_delivered("buf", "work", run.edge("buf", "work")["delivered"] + 20)
    killed = run.kill("work")
    wait_for_both(run, killed)
    assert server_of(run).pid != server.pid
    report = run.end()
    assert report["unaccounted"] == 0
    assert {name: node["restarts"] for name, node in report["nodes"].items()} == {"cam": 0, "buf": 0, "work": 1}


@pytest.mark.parametrize("run", [{"use": "mine:LeavesOneBehind"}], indirect=True)
def test_what_a_dead_node_left_behind_is_ended_and_is_no_zombie(run: RunningPipeline, wait_until: WaitUntil) -> None:
    worker = psutil.Process(run.pids("work")[0])
    (left,) = worker.children()
    worker.kill()
    wait_until(lambda: not left.is_running(), what="what it had started to be ended and reaped")


@pytest.mark.parametrize("run", [{"use": "mine:StartsHelpers"}], indirect=True)
def test_what_living_nodes_start_and_leave_does_not_pile_up_as_zombies(run: RunningPipeline) -> None:
    supervisor = supervisor_of(run)
    seen: set[int] = set()

    def zombies() -> set[int]:
        found = set()
        for child in supervisor.children():
            with contextlib.suppress(psutil.NoSuchProcess):  # reaped since they were listed
                if child.status() == psutil.STATUS_ZOMBIE:
                    found.add(child.pid)
        return found

    def are_many() -> bool:
        seen.update(zombies())
        return len(seen) >= 5

    run.wait(are_many, what="helpers that have ended")
    run.wait(lambda: not seen & zombies(), what="those helpers to be reaped")
    assert run.end()["unaccounted"] == 0


def test_a_fork_server_that_does_not_answer_is_replaced(run: RunningPipeline) -> None:
    server = server_of(run)
    server.suspend()
    killed = run.kill("work")
    wait_for_both(run, killed)
    assert server_of(run).pid != server.pid
    assert run.end()["unaccounted"] == 0


def test_a_node_whose_folder_is_gone_is_tried_again_and_the_others_go_on(run: RunningPipeline, tmp_path: Path) -> None:
    folder = tmp_path.with_name("gone")
    tmp_path.rename(folder)
    try:
        run.kill("work")
        log, told = folder / run.log.name, f"{tmp_path}: No such file or directory"
        run.wait(lambda: told in log.read_text(), what="a start that fails")
        delivered = run.edge("buf", "work")["delivered"]
        run.wait(lambda: run.edge("buf", "work")["delivered"] > delivered + 20, what="frames of the other")
    finally:
        folder.rename(tmp_path)
    run.wait(lambda: len(run.pids("work")) == 2, what="two workers again")
    assert run.end()["unaccounted"] == 0


def test_a_node_that_exits_with_a_text_is_heard(tmp_path: Path, run_detektr: RunDetektr) -> None:
    pipeline = RunningPipeline(tmp_path, "forks", graph("mine:Exits"))
    done = run_detektr("pipeline", "up", str(pipeline.file))
    assert done.returncode == 2
    assert "there is no GPU here" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_fork_server_and_its_nodes_end_with_the_supervisor(run: RunningPipeline, wait_until: WaitUntil) -> None:
    processes = [server_of(run), *nodes_of(run)]
    supervisor_of(run).kill()
    assert run.process is not None
    run.process.wait()
    wait_until(lambda: not any(process.is_running() for process in processes), what="everybody to leave")


def test_a_library_that_cannot_be_imported_is_a_refusal_that_names_it(
    tmp_path: Path, run_detektr: RunDetektr, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "av.py").write_text("raise ImportError('libavcodec.so.62 is missing')")
    monkeypatch.setenv("PYTHONPATH", str(broken))
    lines = "name: forks", "nodes:", "  cam: {kind: capture, source: 'lavfi:testsrc2'}"
    worker = "  work: {kind: processor, input: cam, use: 'mine:Draws'}"
    (tmp_path / "pipeline.yaml").write_text("\n".join((*lines, worker)))
    done = run_detektr("pipeline", "up", str(tmp_path / "pipeline.yaml"))
    assert done.returncode == 2
    assert "av cannot be imported: ImportError: libavcodec.so.62 is missing" in done.stderr
    assert "its process cannot be started" in done.stderr
    assert "Traceback" not in done.stderr
