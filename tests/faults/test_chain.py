"""Processors that read processors: what each reader sees while anybody is killed, on both lanes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.harness.chain import Passed, read_passed
from tests.harness.running import RunningPipeline

QUICK = {"restart": {"backoff": "50ms..200ms", "limit": "1000 in 1m"}, "drain": "20s"}


def chain(tmp_path: Path, count: int, *, replicas: int = 1, detect: dict[str, Any] | None = None) -> dict[str, Any]:
    """A numbered source, a buffer, a detector in replicas, a reader of it, a reader of that, and a sink."""
    notes = str(tmp_path / "notes")
    return {
        "camera": {
            "kind": "capture", "source": "python:tests.harness.checked:numbered", "with": {"count": count}, **QUICK,
        },
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block", **QUICK},
        "detect": {
            "kind": "processor", "input": "buffer", "use": "tests.harness.chain:Detect", "replicas": replicas,
            "with": detect or {}, **QUICK,
        },
        "track": {
            "kind": "processor", "input": "detect", "use": "tests.harness.chain:Note",
            "with": {"path": notes, "name": "track"}, **QUICK,
        },
        "last": {
            "kind": "processor", "input": "track", "use": "tests.harness.chain:Note",
            "with": {"path": notes, "name": "last", "returns": False}, **QUICK,
        },
        "log": {
            "kind": "sink", "input": ["detect", "track"], "use": "jsonl",
            "with": {"path": str(tmp_path / "log")}, **QUICK,
        },
    }  # fmt: skip


def of(notes: list[Passed], node: str) -> list[Passed]:
    return [note for note in notes if note.node == node]


def assert_complete(notes: list[Passed], expected: set[int], *, node: str) -> None:
    """Each frame once, or marked, with the results of one attempt at it."""
    seen = of(notes, node)
    assert {note.sequence for note in seen} == expected, (
        f"{node}: {sorted(expected ^ {note.sequence for note in seen})[:9]}"
    )
    for note in seen:
        given = note.results["detect"]
        assert not given or given[0]["number"] == note.number
    unmarked = Counter(note.sequence for note in seen if note.delivery == 1)
    assert [sequence for sequence, count in unmarked.items() if count > 1] == [], f"{node}: unmarked repeats"


@pytest.mark.usefixtures("lane")
def test_a_chain_gives_every_frame_to_each_reader_with_all_results(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "chain", chain(tmp_path, 600, replicas=2, detect={"silent": 3})) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = read_passed(tmp_path / "notes")
    assert_complete(notes, set(range(600)), node="track")
    assert_complete(notes, set(range(600)), node="last")
    assert all(note.delivery == 1 for note in notes)
    for note in of(notes, "track"):
        assert list(note.results) == ["detect"]
        assert len(note.results["detect"]) == (0 if note.number % 3 == 0 else 2)
    for note in of(notes, "last"):
        assert list(note.results) == ["detect", "track"] and note.results["track"] == [{"seen": note.number}]
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert edges["buffer", "detect"]["delivered"] == edges["detect", "track"]["delivered"] == 600
    assert edges["track", "last"]["delivered"] == 600


@pytest.mark.usefixtures("lane")
@pytest.mark.parametrize("victim", ["detect", "track", "last", "buffer", "camera", "log"])
def test_killing_one_of_a_chain_loses_no_frame_and_marks_what_comes_twice(tmp_path: Path, victim: str) -> None:
    nodes = chain(tmp_path, 1200, replicas=2, detect={"silent": 3, "busy_s": 0.001})
    with RunningPipeline(tmp_path, "chain", nodes) as run:
        for target in (100, 300, 500, 700):
            run.wait_delivered("detect", "track", target)
            run.kill(victim, place=0)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    notes = read_passed(tmp_path / "notes")
    lost = sum(edge["dropped"].get("capture_died", 0) for edge in report["edges"] if edge["from"] == "camera")
    seen = {note.sequence for note in of(notes, "track")}
    assert len(seen) >= 1200 - lost
    assert_complete(notes, seen, node="track")
    assert_complete(notes, seen, node="last")
