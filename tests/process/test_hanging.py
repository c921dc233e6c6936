"""Who hangs, who holds up whom, and where the code is: said in the log, in the status and on demand."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.effort import alike
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr, WaitUntil

CODE = """
import re, time
import numpy as np

def pictures(count=1000, hangs_at=-1):
    for number in range(count):
        if number == hangs_at:
            time.sleep(1000)
        yield np.full((48, 64), number % 250, np.uint8)

def in_c(): re.match("(a+)+b", "a" * 60)  # with the lock of the interpreter
def in_python(): time.sleep(1000)

class Hangs:
    def __init__(self, how="in_python", at=10): self.how, self.at = globals()[how], at
    def process(self, frame):
        if frame.sequence == self.at and frame.delivery == 1:
            self.how()
        return {"n": frame.sequence}

class Writes:
    def __init__(self, s=0.0): self.s = s
    def write(self, event): time.sleep(self.s)

class Dies:
    def process(self, frame):
        if frame.sequence == 30:
            import os; os._exit(3)
        return {"n": frame.sequence}
"""


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(CODE.splitlines(), 1) if text in line)


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def graph(work: dict[str, Any], source: dict[str, Any] | None = None, **sinks: dict[str, Any]) -> dict[str, Any]:
    quick = {"restart": {"backoff": "50ms..100ms", "limit": "5 in 10m"}}
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "stall_timeout": "1s", "with": source or {}},
        "buf": {"kind": "buffer", "input": "cam", "when_full": "block", "high_water_mark": 8},
        "work": {"kind": "processor", "input": "buf", "high_water_mark": 8, **quick, **work},
        **{name: {"kind": "sink", "input": "work", "use": "mine:Writes", **one} for name, one in sinks.items()},
    }


@pytest.mark.parametrize("how", ["in_python", alike("in_c")])
def test_a_processor_that_hangs_is_told_with_its_line_in_log_and_status_and_on_demand(
    tmp_path: Path, run_detektr: RunDetektr, how: str
) -> None:
    place = f"mine.py:{line_of(f'def {how}')} in {how}"
    with RunningPipeline(tmp_path, "demo", graph({"use": "mine:Hangs", "with": {"how": how}, "timeout": "4s"})) as run:
        status = run.wait(
            lambda: (found := run.status())["nodes"].get("work", {}).get("state") == "hanging" and found,
            what="the state hanging",
        )
        assert place in status["nodes"]["work"]["why"] and "on one frame (timeout 4s)" in status["nodes"]["work"]["why"]
        run.wait(
            lambda: "STALLED: work hangs since " in run_detektr("pipeline", "status", "demo").stdout,
            what="the stall of the edge to one that hangs",
        )
        asked = run_detektr("pipeline", "stacks", "demo", "--node", "work")
        assert asked.returncode == 0 and f"work.0 (process {run.pids('work')[0]}): {place}" in asked.stdout, (
            asked.stderr
        )
        assert "in process" in asked.stdout
        everybody = run_detektr("pipeline", "stacks", "demo").stdout
        assert all(f"{name}.0 (process " in everybody for name in ("cam", "buf", "work"))
        assert "has no process of node 'nobody'" in run_detektr("pipeline", "stacks", "demo", "--node", "nobody").stderr
        run.wait(lambda: "edge to work is stalled" in run.tail(), what="the buffer's word")
        report = run.end(None)  # it is killed after a while, and its successor does the frame
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    said = run.tail(300)
    assert (
        "WARNING demo: work.0 hangs since " in said
        and f"killed: one frame took longer than 3 x 4s; it was at {place}" in said
    )
    assert "frames wait for consumers that hang: work.0 (no progress for " in said and "nobody to take them" not in said
    assert 'mine.py", line' in said


def test_a_node_without_a_supervisor_says_itself_where_it_hangs(
    tmp_path: Path, wait_until: WaitUntil, run_detektr: RunDetektr
) -> None:
    log = tmp_path / "log"
    capture = ["capture", "--source", "python:mine:pictures", "--name", "cam", "--in", "lone"]
    work = ["processor", "mine:Hangs", "--input", "cam", "--name", "work", "--in", "lone", "--timeout", "1s"]
    with log.open("wb") as output:
        command = [sys.executable, "-m", "detektr"]
        nodes = [subprocess.Popen([*command, *one], cwd=tmp_path, stderr=output) for one in (capture, work)]
    try:
        words = f"on one frame (timeout 1s), at mine.py:{line_of('def in_python')} in in_python"
        wait_until(lambda: words in log.read_text() and "in process" in log.read_text(), 20, "its own word")
    finally:
        for node in nodes:
            node.send_signal(signal.SIGTERM)
        nodes[1].kill()  # its code hangs
        for node in nodes:
            node.wait()
    assert run_detektr("shm", "clean").returncode == 0


def test_a_source_that_hangs_is_told_with_its_line(tmp_path: Path) -> None:
    nodes = graph({"use": "mine:Hangs", "with": {"at": -1}}, {"hangs_at": 20})
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(lambda: run.status()["nodes"].get("cam", {}).get("state") == "hanging", what="the state hanging")
        place = f"mine.py:{line_of('if number == hangs_at') + 1} in pictures"
        assert f"on its next picture (stall_timeout 1s), at {place}" in run.status()["nodes"]["cam"]["why"]
        run.end(signal.SIGTERM)


def test_a_stop_that_somebody_holds_up_says_who_and_where(tmp_path: Path) -> None:
    nodes = graph({"use": "mine:Hangs", "drain": "6s"})
    nodes |= {name: {**node, "drain": "6s"} for name, node in nodes.items()}
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait_delivered("buf", "work", 10)
        report = run.end(signal.SIGTERM)
    place = f"mine.py:{line_of('def in_python')} in in_python"
    assert f"on one frame (timeout 30s), at {place}; the stop waits for it" in run.tail(300)
    assert f"killed: it did not end when told to; it was at {place}" in run.tail(300)
    assert run.exit_code == 143 and report["unaccounted"] == 0


def test_a_node_that_is_not_ready_in_time_says_where_it_was(tmp_path: Path, run_detektr: RunDetektr) -> None:
    (tmp_path / "slow.py").write_text("import threading\nthreading.Event().wait()\n")
    file = tmp_path / "slow.yaml"
    file.write_text(json.dumps({"name": "slow", "nodes": graph({"use": "slow:Any", "start_timeout": "500ms"})}))
    ended = run_detektr("pipeline", "up", file)
    assert ended.returncode == 2
    assert "killed: not ready within 500ms; it was at slow.py:2 in <module> (in threading.py:" in ended.stderr


def test_a_slow_sink_is_named_by_those_that_wait_for_it_and_in_the_last_lines(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    nodes = graph({"use": "mine:Hangs", "with": {"at": -1}, "drain": "1s"}, log={}, hook={"with": {"s": 0.5}})
    nodes |= {name: {**node, "drain": "1s"} for name, node in nodes.items()}
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(lambda: run.status()["nodes"].get("cam", {}).get("held_up_by") == "hook", what="the culprit's name")
        found = run.status()["nodes"]
        assert {found[name]["held_up_by"] for name in ("cam", "buf", "work")} == {"hook"}
        assert found["log"]["held_up_by"] == found["hook"]["held_up_by"] == ""
        assert found["hook"]["why"].startswith("holds up ") and found["work"]["why"] == "held up by hook"
        assert "held up by hook" in run_detektr("pipeline", "status", "demo").stdout
        run.wait_delivered("work", "hook", 10)  # so long that the supervisor has seen it too
        run.end(signal.SIGTERM)
    assert any(line.startswith("1. losing, since ") and " hook takes 5" in line for line in run.tail(6).splitlines()), (
        run.tail()
    )


def test_an_optional_sink_that_hangs_starves_nobody_and_the_end_waits_for_it_no_longer_than_its_drain(
    tmp_path: Path,
) -> None:
    nodes = graph(
        {"use": "mine:Hangs", "with": {"at": -1}},
        {"count": 300},
        log={},
        hook={"with": {"s": 1000}, "optional": True, "drain": "1s", "timeout": "600s"},
    )
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    edges = {edge["to"]: edge for edge in report["edges"]}
    assert edges["work"]["delivered"] == edges["log"]["delivered"] == 300
    assert edges["hook"]["dropped"] == {"consumer_slow": 300} and report["unaccounted"] == 0


def test_an_edge_of_a_processor_that_is_never_started_again_keeps_nothing_in_flight(tmp_path: Path) -> None:
    nodes = graph({"use": "mine:Dies", "restart": {"backoff": "50s..60s"}}, log={"with": {"s": 0.3}})
    nodes |= {name: {**node, "drain": "1s"} for name, node in nodes.items()}
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.wait(lambda: run.status()["nodes"].get("work", {}).get("state") == "restarting", what="its death")
        report = run.end(signal.SIGTERM)
    assert report["unaccounted"] == 0
    assert [(edge["queued"], edge["in_flight"]) for edge in report["edges"]] == [(0, 0)] * 3, run.tail()
