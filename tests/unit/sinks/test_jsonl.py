from __future__ import annotations

import datetime
import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detektr.errors import RefusedError
from detektr.sinks.jsonl import JsonLines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_line_is_whole_in_the_file_when_write_returns(path: Path) -> None:
    sink = JsonLines(path)
    sink.open()
    for number in range(3):
        sink.write({"number": number})
        assert lines(path)[-1] == {"number": number}
        assert path.read_bytes().endswith(b"\n")
    sink.close()
    assert len(lines(path)) == 3


def test_later_run_appends(path: Path) -> None:
    for number in range(2):
        sink = JsonLines(str(path))
        sink.open()
        sink.write({"number": number})
        sink.close()
    assert lines(path) == [{"number": 0}, {"number": 1}]


def test_values_that_json_lacks_come_out_plain(path: Path) -> None:
    sink = JsonLines(path)
    moment = datetime.datetime(2025, 7, 27, 9, 31, 41, tzinfo=datetime.UTC)
    event = {
        "numpy": np.float32(0.5),
        "count": np.int64(3),
        "box": np.array([1, 2]),
        "when": moment,
        "bytes": b"\x00\xff",
        "text": "Tür \ud800 \n",
        "set": {1},
    }
    sink.write(event)
    sink.write({"nan": float("nan"), "deep": [{"inf": np.float32("inf"), "ok": (1, True, None)}]})
    sink.close()
    first, second = lines(path)
    assert first == {
        "numpy": 0.5,
        "count": 3,
        "box": [1, 2],
        "when": "2025-07-27T09:31:41+00:00",
        "bytes": "AP8=",
        "text": "Tür \ud800 \n",
        "set": [1],
    }
    assert second == {"nan": None, "deep": [{"inf": None, "ok": [1, True, None]}]}


def test_value_without_json_form_is_refused_and_writes_nothing(path: Path) -> None:
    sink = JsonLines(path)
    with pytest.raises(TypeError, match="a object has no JSON form; put plain values into events"):
        sink.write({"what": object()})
    sink.close()
    assert path.read_bytes() == b""


def test_half_line_of_a_power_cut_spoils_no_other(path: Path) -> None:
    path.write_text('{"number": 0}\n{"num')
    sink = JsonLines(path)
    sink.write({"number": 1})
    sink.close()
    assert path.read_text().splitlines()[1:] == ['{"num', '{"number": 1}']


def test_half_line_of_another_sink_that_was_killed_spoils_no_other(path: Path) -> None:
    with path.open("ab", buffering=0) as killed:
        sink = JsonLines(path)
        sink.write({"a": 1})
        killed.write(b'{"a": 2}\n')
        sink.write({"a": 3})
        killed.write(b'{"a":')
        sink.write({"a": 5})
        sink.close()
    assert path.read_bytes().splitlines() == [b'{"a": 1}', b'{"a": 2}', b'{"a": 3}', b'{"a":', b'{"a": 5}']


def test_full_disk_raises_and_leaves_no_half_line(path: Path) -> None:
    sink = JsonLines(path)
    sink.write({"number": 0})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20, limits[1]))
        with pytest.raises(OSError, match=r"6 of .* bytes written; make room on its disk"):
            sink.write({"number": 1})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    sink.write({"number": 1})
    sink.close()
    assert lines(path) == [{"number": 0}, {"number": 1}]


def test_file_is_rotated_at_its_size_and_the_oldest_go(path: Path) -> None:
    sink = JsonLines(path, rotate_bytes=30, keep=2)
    for number in range(9):
        sink.write({"number": number})
    sink.close()
    names = sorted(file.name for file in path.parent.iterdir())
    assert names == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    kept = [lines(path.parent / name) for name in reversed(names)]
    assert [event["number"] for part in kept for event in part] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize(("name", "says"), [("none/events.jsonl", "does not exist; make it"), (".", "is a folder")])
def test_path_that_cannot_be_written_is_refused_by_the_constructor(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(RefusedError, match=says):
        JsonLines(tmp_path / name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_permission_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RefusedError, match="cannot be written by this user"):
        JsonLines(tmp_path / "events.jsonl")


@pytest.mark.parametrize("wrong", [{"rotate_bytes": 0}, {"keep": -1}])
def test_limit_out_of_range_is_refused(path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(RefusedError, match="is out of range"):
        JsonLines(path, **wrong)


def test_two_sinks_on_one_file_with_rotation_lose_no_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sinks = [JsonLines(path, rotate_bytes=limit, keep=900) for limit in (100, 100, None)]
    for number in range(600):
        sinks[number % 7 % 3].write({"number": number})
    for sink in sinks:
        sink.close()
    lines = [json.loads(line) for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(600))
    assert len(list(tmp_path.iterdir())) > 50


def test_a_file_that_another_program_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    sink = JsonLines(path)
    sink.write({"number": 0})
    path.rename(tmp_path / "old")
    sink.write({"number": 1})
    sink.close()
    assert (tmp_path / "old").read_text() + path.read_text() == '{"number": 0}\n{"number": 1}\n'
