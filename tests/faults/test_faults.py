"""One test a fault: real processes, real signals; afterwards the ledger, the pixels and the machine are looked at."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detektr.testing.checked import Note, read_notes, wrong_pixels
from detektr.testing.running import RunningPipeline

RESTART = {"backoff": "50ms..200ms", "limit": "1000 in 1m"}
QUICK = {"restart": RESTART, "drain": "20s"}


def graph(tmp_path: Path, *, count: int = 0, when_full: str = "block", **check: Any) -> dict[str, Any]:
    """A numbered source, a buffer and a processor in two replicas that checks every frame."""
    source = {"count": count} if count else {}
    worker = {key: check.pop(key) for key in ("replicas", "timeout", "max_deliveries", "window") if key in check}
    return {
        "camera": {"kind": "capture", "source": "python:detektr.testing.checked:numbered", "with": source, **QUICK},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 32, "when_full": when_full, **QUICK},
        "check": {
            "kind": "processor", "input": "buffer", "use": "detektr.testing.checked:Check", "replicas": 2,
            "with": {"path": str(tmp_path / "notes"), **check}, **worker, **QUICK,
        },
    }  # fmt: skip


def assert_sound(report: dict[str, Any], notes: list[Note], *, lost: int = 0) -> None:
    """Every frame offered was worked on, its pixels were its own, and whoever saw it twice was told so."""
    assert report["unaccounted"] == 0
    offered = max(edge["offered"] for edge in report["edges"] if edge["from"] == "camera")
    seen = Counter(note.sequence for note in notes)
    assert wrong_pixels(notes) == []
    assert offered - len(seen) == lost, f"{offered} offered, {len(seen)} worked on"
    doubled = {sequence for sequence, count in seen.items() if count > 1}
    marked = {note.sequence for note in notes if note.delivery > 1}
    assert doubled <= marked, f"worked on twice and not marked: {sorted(doubled - marked)[:9]}"


def test_killed_consumer_its_leases_go_to_others_and_nothing_is_lost(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "consumer", graph(tmp_path, count=3000, busy_s=0.001)) as run:
        for target in (200, 600, 1000, 1400):
            run.wait_delivered("buffer", "check", target)
            run.kill("check", place=target // 200 % 2)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"))
    assert report["nodes"]["check"]["restarts"] >= 4


def test_killed_buffer_loses_nothing_and_doubles_nothing_unmarked(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "buffer", graph(tmp_path, count=3000)) as run:
        for target in (100, 500, 900, 1300, 1700):
            run.wait_delivered("buffer", "check", target)
            run.kill("buffer")
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"))


def test_killed_capture_goes_on_with_its_sequence_in_a_new_epoch(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "capture", graph(tmp_path, count=1500)) as run:
        run.wait_delivered("camera", "buffer", 300)
        run.kill("camera")
        report = run.end(None)
    notes = read_notes(tmp_path / "notes")
    dropped = next(edge["dropped"] for edge in report["edges"] if edge["from"] == "camera")
    assert set(dropped) <= {"capture_died"}
    assert_sound(report, notes, lost=dropped.get("capture_died", 0))
    numbers = [note.number for note in notes]
    assert numbers.count(0) >= 2, "the source began anew"
    assert max(note.sequence for note in notes) > 1500, "and the sequence did not"


def test_poison_frame_that_kills_every_replica_is_quarantined_and_the_rest_flows(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=400, poison=[100])
    with RunningPipeline(tmp_path, "poison", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert (edge["delivered"], edge["dead_lettered"]) == (399, 1), run.tail()
    assert_sound(report, read_notes(tmp_path / "notes"), lost=1)
    letters = list((Path(os.environ["DETEKTR_STATE_DIR"]) / "poison" / "dead-letters").glob("*_camera_100_*.json"))
    assert len(letters) == 1 and "died" in letters[0].read_text()


def test_raising_frame_is_tried_again_then_dead_lettered_with_its_traceback(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=200, faulty=[50], max_deliveries=4)
    with RunningPipeline(tmp_path, "raising", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert (edge["delivered"], edge["dead_lettered"], edge["redelivered"]) == (199, 1, 3), run.tail()
    letters = Path(os.environ["DETEKTR_STATE_DIR"]) / "raising" / "dead-letters"
    letter = json.loads(next(letters.glob("*_camera_50_*.json")).read_text())
    assert "ValueError: picture 50 is faulty" in json.dumps(letter)
    assert next(letters.glob("*_camera_50_*.pgm")).stat().st_size > 320 * 240


@pytest.mark.parametrize(("is_optional", "exit_code"), [(False, 1), (True, 0)])
def test_results_that_are_no_events_are_dead_lettered_at_once_and_the_run_ends_with_1_unless_optional(
    tmp_path: Path, is_optional: bool, exit_code: int
) -> None:
    (tmp_path / "strange.py").write_text("def answer(frame): return 42\n")
    nodes = graph(tmp_path, count=60)
    strange = {"use": "strange:answer", "max_deliveries": 5, "optional": is_optional}
    nodes["strange"] = {"kind": "processor", "input": "buffer", **strange, **QUICK}
    with RunningPipeline(tmp_path, "strange", nodes) as run:
        report = run.end(None)
    edges = {edge["to"]: edge for edge in report["edges"]}
    assert (edges["strange"]["dead_lettered"], edges["strange"]["redelivered"]) == (60, 0), run.tail()
    assert edges["check"]["delivered"] == 60
    assert report["unaccounted"] == 0
    assert run.exit_code == exit_code
    assert "NOTHING WAS DELIVERED from buffer to strange: of 60 offered, 60 were dead-lettered" in run.tail()
    letters = list((Path(os.environ["DETEKTR_STATE_DIR"]) / "strange" / "dead-letters").glob("*.json"))
    why = json.loads(letters[0].read_text())["why"]
    assert why.startswith("no attempt can succeed: ")
    assert "process() returned int; return None, a dict, or a list of dicts (events)" in why


def test_stopped_replica_loses_its_lease_and_its_late_result_is_refused(tmp_path: Path) -> None:
    nodes = graph(tmp_path, count=0, busy_s=0.005, timeout="500ms", stopping=[20])
    with RunningPipeline(tmp_path, "stopped", nodes) as run:
        run.wait(lambda: run.edge("buffer", "check").get("redelivered", 0) > 0, what="a redelivery")
        delivered = run.edge("buffer", "check")["delivered"]
        run.wait_delivered("buffer", "check", delivered + 50)
        assert run.edge("buffer", "check")["refused"] == 0
        pids = run.pids("check")
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        run.wait(lambda: run.edge("buffer", "check").get("refused", 0) >= 1, what="a refused result")
        noted = {pid: sum(note.pid == pid for note in read_notes(tmp_path / "notes")) for pid in pids}
        run.wait(
            lambda: all(
                sum(note.pid == pid for note in read_notes(tmp_path / "notes")) > noted[pid] + 10 for pid in pids
            ),
            what="both replicas at work again",
        )
        report = run.end()
    assert run.exit_code == 128 + signal.SIGTERM
    assert report["unaccounted"] == 0
    assert wrong_pixels(read_notes(tmp_path / "notes")) == [], "wrong pixels in a result that was not refused"


@pytest.mark.parametrize("policy", ["drop-oldest", "drop-newest"])
def test_slow_processor_behind_a_dropping_edge_every_drop_is_counted(tmp_path: Path, policy: str) -> None:
    nodes = graph(tmp_path, count=600, when_full=policy, busy_s=0.01, replicas=1)
    nodes["camera"]["with"]["rate"] = 300
    with RunningPipeline(tmp_path, "slow", nodes) as run:
        report = run.end(None)
    edge = next(edge for edge in report["edges"] if edge["to"] == "check")
    assert edge["offered"] == 600
    assert edge["dropped"] == {"queue_full": 600 - edge["delivered"]}
    assert edge["delivered"] == len(read_notes(tmp_path / "notes"))
    assert report["unaccounted"] == 0
