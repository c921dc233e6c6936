from __future__ import annotations

import json
from pathlib import Path

import pytest

from detektr.memory.announcement import Lease
from detektr.nodes.working.outages import Outages
from detektr.options import RetryOptions

OPTIONS = RetryOptions(backoff="1s..60s", for_="1h")


def lease(sequence: int) -> Lease:
    return Lease(1, sequence, 1, b"", 0, sequence + 1, 1)


def test_a_successor_knows_how_often_an_event_was_tried(tmp_path: Path) -> None:
    path = tmp_path / "hook.0.retry"
    first = Outages(OPTIONS, path, ["see.0", "see.1"])
    for _ in range(3):
        assert first.note_failure("see.0", lease(4), "OSError: refused", "Traceback") is None
    successor = Outages(OPTIONS, path, ["see.0", "see.1"])
    assert successor.is_any
    assert [successor.tries("see.0", lease(sequence)) for sequence in (4, 5)] == [3, 0]
    assert successor.tries("see.1", lease(4)) == 0
    assert "3 failures: OSError: refused" in successor.words()
    successor.note_success("see.0")
    assert not path.exists()
    assert not Outages(OPTIONS, path, ["see.0"]).is_any


def test_a_broken_file_and_an_input_that_is_gone_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "hook.0.retry"
    for text in ("", "[]", "{", '{"see.0": {"since_ns": 1}}', '{"see.0": 3}'):
        path.write_text(text)
        assert not Outages(OPTIONS, path, ["see.0"]).is_any
    Outages(OPTIONS, path, ["see.0"]).note_failure("see.0", lease(1), "x", "")
    assert not Outages(OPTIONS, path, ["other.0"]).is_any


def test_a_file_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    outages = Outages(OPTIONS, tmp_path / "gone" / "hook.0.retry", ["see.0"])
    assert outages.note_failure("see.0", lease(1), "x", "") is None
    assert outages.tries("see.0", lease(1)) == 1
    assert "cannot be written" in caplog.text


def test_the_file_is_whole_at_every_moment(tmp_path: Path) -> None:
    path = tmp_path / "hook.0.retry"
    outages = Outages(OPTIONS, path, ["see.0"])
    outages.note_failure("see.0", lease(1), "x" * 10_000, "")
    assert len(json.loads(path.read_text())["see.0"]["first"]) < 1000
    assert [one.name for one in tmp_path.iterdir()] == [path.name], "nothing half made is left"


def test_an_end_of_all_pauses_is_at_once(tmp_path: Path) -> None:
    outages = Outages(OPTIONS, tmp_path / "hook.0.retry", ["see.0"])
    outages.note_failure("see.0", lease(1), "x", "")
    assert outages.due_ns("see.0") > 0
    outages.hasten()
    assert outages.due_ns("see.0") == 0
