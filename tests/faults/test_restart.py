"""The restart policy end to end: limits, nodes given up, nodes that hang before they are ready, and what is said."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.checked import read_notes
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

QUICK = {"restart": {"backoff": "20ms..100ms", "limit": "99 in 1m"}, "drain": "10s"}
NEVER = {"when": "never"}
CODE = '''
import os, pathlib, signal, sys, time

class Dies:
    """Ends its process at the frames of a number and above."""
    def __init__(self, at=0, how="kill"):
        self.at, self.how = at, how
    def process(self, frame):
        if frame.sequence >= self.at:
            print("about to die at frame", frame.sequence, file=sys.stderr, flush=True)
            if self.how == "exit":
                os._exit(7)
            os.kill(os.getpid(), getattr(signal, self.how.upper() if self.how.startswith("sig") else "SIGKILL"))
        return {"sequence": frame.sequence}

class Slow:
    """Takes its time, so that the next frame always waits for it already."""
    def process(self, frame):
        time.sleep(0.02)
        return {"sequence": frame.sequence}

class Sleeps:
    """Its constructor hangs in all lives but the first so many."""
    def __init__(self, lives, good):
        path = pathlib.Path(lives)
        with path.open("a") as file:
            file.write("x")
        while path.stat().st_size > good:
            time.sleep(60)
    def process(self, frame):
        pass
'''


def graph(tmp_path: Path, under_test: dict[str, Any], *, count: int = 0) -> dict[str, Any]:
    """A camera, a buffer that blocks, a processor that checks every frame, and the one under test beside it."""
    (tmp_path / "failing.py").write_text(CODE)
    source = {"count": count} if count else {"rate": 300}
    check = {"use": "tests.harness.checked:Check", "with": {"path": str(tmp_path / "notes")}}
    return {
        "camera": {"kind": "capture", "source": "python:tests.harness.checked:numbered", "with": source, **QUICK},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block", **QUICK},
        "check": {"kind": "processor", "input": "buffer", **check, **QUICK},
        "failing": {"kind": "processor", "input": "buffer", **QUICK, "use": "failing:Dies", **under_test},
    }


def exits(trail: Path, process: str) -> list[str]:
    """Return what the audit trail says of the ends of a process."""
    with contextlib.closing(sqlite3.connect(trail)) as rows:
        tables = [name for (name,) in rows.execute("select name from sqlite_master where type = 'table'")]
        told = [json.dumps(row, default=str) for table in tables for row in rows.execute(f"select * from {table}")]
    return [text for text in told if f'"{process}", "NodeExited"' in text]


def edge_to(report: dict[str, Any], consumer: str) -> dict[str, Any]:
    """Return the edge of a report that leads to a consumer."""
    return dict(next(edge for edge in report["edges"] if edge["to"] == consumer))


def test_limit_reached_the_node_is_failed_and_its_end_and_last_words_are_shown(tmp_path: Path) -> None:
    policy = {"backoff": "10ms..20ms", "limit": "2 in 1m"}
    nodes = graph(tmp_path, {"restart": policy, "max_deliveries": 50, "with": {"at": 30}})
    with RunningPipeline(tmp_path, "limit", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 1, run.tail()
    node = report["nodes"]["failing"]
    assert (node["state"], node["restarts"]) == ("failed", 2)
    assert "killed by signal 9 (out of memory?)" in node["why"] and "given up after 3 failures" in node["why"]
    log = run.log.read_text()
    assert log.count("about to die at frame 30") >= 3 and "failing.0: killed by signal 9 (out of memory?)" in log
    assert report["unaccounted"] == 0
    lost = edge_to(report, "failing")
    assert lost["delivered"] == 30 and lost["dropped"] == {"gone": lost["offered"] - 30}
    whole = edge_to(report, "check")
    assert whole["delivered"] == whole["offered"] == len(read_notes(tmp_path / "notes")), "the others drained"


def test_node_that_is_never_restarted_fails_at_its_first_end(tmp_path: Path) -> None:
    nodes = graph(tmp_path, {"restart": NEVER, "with": {"at": 10, "how": "exit"}})
    with RunningPipeline(tmp_path, "never", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 1, run.tail()
    node = report["nodes"]["failing"]
    assert (node["state"], node["restarts"]) == ("failed", 0) and node["why"].startswith("exited with 7")
    assert "never" in node["why"] and report["unaccounted"] == 0


@pytest.mark.usefixtures("lane")
def test_optional_consumer_given_up_its_frames_are_gone_and_the_others_are_not_held_up(tmp_path: Path) -> None:
    how = {"restart": {"backoff": "10ms..20ms", "limit": "1 in 1m"}, "optional": True}
    nodes = graph(tmp_path, {**how, "max_deliveries": 9, "with": {"at": 20, "how": "sigsegv"}}, count=2000)
    trail = tmp_path / "audit.db"
    with RunningPipeline(tmp_path, "optional", nodes, audit=f"sqlite:{trail}") as run:
        run.wait(lambda: run.edge("buffer", "failing").get("dropped", {}).get("gone"), what="frames that are gone")
        run.kill("buffer")  # its successor does not wait for the given-up one either
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["failing"]["state"] == "failed" and report["nodes"]["buffer"]["restarts"] == 1
    assert "killed by signal 11 (segmentation fault)" in report["nodes"]["failing"]["why"]
    assert [note.sequence for note in read_notes(tmp_path / "notes")] == list(range(2000))
    lost = edge_to(report, "failing")
    assert_lost(lost, 2000)
    assert report["unaccounted"] == 0
    ends = exits(trail, "failing.0")
    assert len(ends) == 2 and all("signal 11" in end and "about to die at frame " in end for end in ends), ends


def assert_lost(edge: dict[str, Any], offered: int) -> None:
    """Nobody waits for an optional consumer: before it was given up, it may have been too slow for some frames."""
    assert edge["offered"] == offered and edge["delivered"] <= 20
    assert edge["dropped"]["gone"] > 0 and set(edge["dropped"]) <= {"gone", "consumer_slow"}
    assert edge["delivered"] + sum(edge["dropped"].values()) == offered


def test_buffer_whose_only_consumer_is_given_up_goes_on_and_counts(tmp_path: Path) -> None:
    nodes = graph(tmp_path, {"restart": NEVER, "optional": True, "with": {"at": 20}}, count=800)
    del nodes["check"]
    with RunningPipeline(tmp_path, "only", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    lost = edge_to(report, "failing")
    assert_lost(lost, 800)
    assert edge_to(report, "buffer")["delivered"] == 800 and report["unaccounted"] == 0


def test_optional_camera_given_up_the_other_one_goes_on_and_the_pipeline_ends_by_itself(tmp_path: Path) -> None:
    nodes = graph(tmp_path, {"with": {"at": 1 << 40}}, count=600)
    (tmp_path / "failing_camera.py").write_text(
        "from tests.harness.checked import numbered\n"
        "def pictures():\n    yield from numbered(50)\n    raise ValueError('no more light')\n"
    )
    other = {"kind": "capture", "source": "python:failing_camera:pictures", **QUICK}
    nodes = {"other": {**other, "restart": NEVER, "optional": True}, **nodes}
    nodes["buffer"]["input"] = ["camera", "other"]
    with RunningPipeline(tmp_path, "cameras", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["nodes"]["other"]["state"] == "failed" and "no more light" in report["nodes"]["other"]["why"]
    seen = [(note.camera, note.sequence) for note in read_notes(tmp_path / "notes")]
    assert sorted(seen) == sorted([("camera", n) for n in range(600)] + [("other", n) for n in range(50)])
    assert report["unaccounted"] == 0


def test_constructor_that_hangs_is_refused_after_its_start_timeout(tmp_path: Path, run_detektr: RunDetektr) -> None:
    arguments = {"lives": str(tmp_path / "lives"), "good": 0}
    nodes = graph(tmp_path, {"use": "failing:Sleeps", "start_timeout": "1500ms", "with": arguments})
    run = RunningPipeline(tmp_path, "hangs", nodes)
    ended = run_detektr("pipeline", "up", run.file)
    assert ended.returncode == 2, ended.stderr
    assert "node failing: killed: not ready within 1500ms" in ended.stderr


def test_successor_that_hangs_before_it_is_ready_is_killed_and_counted(tmp_path: Path) -> None:
    policy = {"backoff": "10ms..20ms", "limit": "1 in 1m"}
    arguments = {"lives": str(tmp_path / "lives"), "good": 1}
    under_test = {"use": "failing:Sleeps", "start_timeout": "6s", "restart": policy, "with": arguments}
    nodes = graph(tmp_path, under_test)
    with RunningPipeline(tmp_path, "successor", nodes) as run:
        run.wait_delivered("buffer", "failing", 50)
        run.kill("failing")
        report = run.end(None)
    assert run.exit_code == 1, run.tail()
    node = report["nodes"]["failing"]
    assert (node["state"], node["restarts"]) == ("failed", 1), "the kill, and the life that hung"
    assert "killed: not ready within 6s; it was at failing.py:" in node["why"]
    assert "in __init__; given up after 2 failures" in node["why"]
    assert (tmp_path / "lives").stat().st_size == 2 and report["unaccounted"] == 0


@pytest.mark.usefixtures("lane")
def test_restarted_sink_is_let_in_by_a_processor_that_always_has_work(tmp_path: Path) -> None:
    nodes = graph(tmp_path, {"use": "failing:Slow"})
    del nodes["check"]
    sink = {"use": "detektr.sinks.jsonl:JsonLines", "with": {"path": str(tmp_path / "events.jsonl")}}
    nodes["events"] = {"kind": "sink", "input": "failing", **sink, **QUICK}
    with RunningPipeline(tmp_path, "busy", nodes) as run:
        run.wait_delivered("failing", "events", 20)
        run.kill("events")
        run.wait_delivered("failing", "events", run.edge("failing", "events")["delivered"] + 10)
        edge = run.edge("failing", "events")
        report = run.end()
    assert edge["queued"] < edge["high_water_mark"] // 2, "it was let in only when the queue was full"
    assert report["unaccounted"] == 0
