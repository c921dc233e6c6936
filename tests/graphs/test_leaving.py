"""Relays that leave while frames are held back or worked on below them: by a restart that does not wait for them."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.graphs.test_chain import QUICK, of
from tests.graphs.test_join import joined
from tests.harness.chain import read_passed
from tests.harness.running import RunningPipeline

HASTY = {"restart": {"backoff": "1s..1s", "limit": "1000 in 1m"}, "drain": "700ms"}
SLOW_S = 1.1  # a relay leaves while one frame is worked on, and its reader looks at it after each


def slow_reader(tmp_path: Path, name: str) -> dict[str, Any]:
    return {"path": str(tmp_path / "notes"), "name": name, "fixed_s": SLOW_S}


@pytest.mark.usefixtures("lane")
def test_an_ordered_reader_goes_on_when_a_relay_leaves_whose_frame_was_next(tmp_path: Path) -> None:
    nodes = {
        "camera": {
            "kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": 12, "rate": 3.0},
            **QUICK,
        },
        "detect": {
            "kind": "processor", "input": "camera", "use": "tests.harness.chain:Detect",
            "with": {"busy_s": 0.0}, **HASTY,
        },
        "track": {
            "kind": "processor", "input": "detect", "order": "camera", "use": "tests.harness.chain:Note",
            "with": slow_reader(tmp_path, "track"), **QUICK,
        },
        "log": {"kind": "sink", "input": "track", "use": "jsonl", "with": {"path": str(tmp_path / "log")}, **QUICK},
    }  # fmt: skip
    with RunningPipeline(tmp_path, "left", nodes) as run:
        run.wait_delivered("detect", "track", 2)
        run.kill("detect", signal.SIGTERM)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    sequences = [note.sequence for note in of(read_passed(tmp_path / "notes"), "track")]
    assert sequences == sorted(sequences)
    assert sequences[-1] == 11, "what the relay offered after its restart was never begun"


@pytest.mark.usefixtures("lane")
def test_a_joined_frame_counts_when_one_of_its_branches_leaves_while_it_is_worked_on(tmp_path: Path) -> None:
    nodes = joined(tmp_path, 9)
    nodes["detect"] |= {"replicas": 1, "with": {"busy_s": 0.0}} | HASTY
    nodes["merge"]["with"] = slow_reader(tmp_path, "merge")
    with RunningPipeline(tmp_path, "branch", nodes) as run:
        run.wait_delivered("detect", "merge", 2)
        run.kill("detect", signal.SIGTERM)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert not any(edges["pose", "merge"]["dropped"].values()), "its lease stood, and its frame was whole"
    sequences = [note.sequence for note in of(read_passed(tmp_path / "notes"), "merge")]
    assert sorted(sequences) == list(range(9)), "each frame once"
