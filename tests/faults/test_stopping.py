"""A node is told to stop at awkward moments; what it held is counted, and the others neither hang nor end too early."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder
from tests.harness.checked import read_notes
from tests.harness.effort import alike
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

RESTART = {"restart": {"backoff": "50ms..200ms", "limit": "100 in 1m"}}


def blocked(tmp_path: Path, count: int) -> dict[str, Any]:
    """A camera behind a buffer that blocks, and a processor that is too slow for it."""
    return {
        "camera": {
            "kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": count},
            "drain": "300ms", **RESTART,
        },
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 2, "when_full": "block", **RESTART},
        "slow": {
            "kind": "processor", "input": "buffer", "use": "tests.harness.checked:Check",
            "with": {"path": str(tmp_path / "notes"), "busy_s": 0.05}, **RESTART,
        },
    }  # fmt: skip


@pytest.mark.usefixtures("lane")
def test_capture_stopped_before_a_blocked_buffer_counts_what_it_drops_and_the_pipeline_ends(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "blocked", blocked(tmp_path, 40)) as run:
        run.wait_delivered("buffer", "slow", 5)
        run.kill("camera", signal.SIGTERM)
        report = run.end(None, within_s=30)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    first, second = edges["camera", "buffer"], edges["buffer", "slow"]
    assert set(first["dropped"]) <= {"stopped"}, "nothing died"
    assert first["queued"] == first["in_flight"] == second["queued"] == second["in_flight"] == 0
    seen = {note.sequence for note in read_notes(tmp_path / "notes")}
    assert second["delivered"] <= len(seen) <= second["offered"]
    assert max(seen) == first["offered"] - 1, "sequences go on after the restart, none left out"


def test_dead_end_at_run_time_is_told_within_a_second(tmp_path: Path) -> None:
    nodes = blocked(tmp_path, 0)
    nodes["slow"]["restart"] = {"backoff": "20s..20s", "limit": "100 in 1m"}
    nodes["buffer"]["drain"] = nodes["slow"]["drain"] = "300ms"  # nobody will take what is queued
    with RunningPipeline(tmp_path, "stalled", nodes) as run:
        run.wait_delivered("buffer", "slow", 3)
        journal = open_journal(RunFolder("stalled").journal("buffer", 0, "slow"), "buffer", "slow")
        assert journal is not None
        run.kill("slow")
        run.wait(lambda: journal.ledger().is_stalled, within_s=5, what="the edge to be stalled")
        run.wait(lambda: run.status()["nodes"]["buffer"]["state"] == "stalled", what="status to say so")
        journal.close()


@pytest.mark.usefixtures("lane")
def test_processor_that_always_has_work_hears_that_it_is_to_stop(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "busy", blocked(tmp_path, 0)) as run:
        run.wait_delivered("buffer", "slow", 5)
        pid = run.kill("slow", signal.SIGTERM)
        run.wait(lambda: run.pids("slow") not in ([], [pid]), within_s=10, what="a successor of the one that was told")
        report = run.end()
    assert report["unaccounted"] == 0


def has_notes(path: Path, count: int) -> bool:
    return len(read_notes(path)) > count


@pytest.mark.parametrize("number", [signal.SIGTERM, alike(signal.SIGINT)])
def test_lone_capture_at_full_speed_is_stopped_by_a_signal_at_any_moment(
    tmp_path: Path, number: int, wait_until: WaitUntil
) -> None:
    for attempt in range(3):
        notes = tmp_path / f"notes{attempt}"
        command = [sys.executable, "-m", "detektr", "capture", "--name", "cam", "--with", "count=0"]
        command += ["--source", "python:tests.harness.checked:numbered"]
        use = ["processor", "tests.harness.checked:Check", "--input", "cam", "--with", f"path={notes}"]
        with (
            (tmp_path / "log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log) as capture,
            subprocess.Popen([sys.executable, "-m", "detektr", *use], stdout=log, stderr=log) as reader,
        ):
            wait_until(functools.partial(has_notes, notes, 50), what="frames")
            os.kill(capture.pid, number)
            assert capture.wait(20) == (0 if number == signal.SIGTERM else 130)
            reader.send_signal(signal.SIGTERM)
            assert reader.wait(20) == 0
