from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detektr.errors import DetektrError
from detektr.telemetry.history.record_reader import RUNS_MAX, RunRecords, new_run_id

BEGUN_NS = 1_800_000_000 * 10**9


def record(run: str, begun_ns: int, seconds: int = 300) -> dict[str, Any]:
    ended_ns = begun_ns + seconds * 10**9
    times = {"started_utc_ns": begun_ns, "ended_utc_ns": ended_ns}
    return {"run": run, "pipeline": "demo", "pid": 7, "nodes": {}, "edges": [], **times}


def records_of(folder: Path, *minutes: int) -> tuple[RunRecords, list[str]]:
    """Return records of runs that began at these minutes."""
    records = RunRecords(folder / "demo")
    records.folder.mkdir(parents=True)
    ids = []
    for minute in minutes:
        begun_ns = BEGUN_NS + minute * 60 * 10**9
        ids.append(new_run_id(begun_ns))
        records.path(ids[-1]).write_text(json.dumps(record(ids[-1], begun_ns)))
    return records, ids


def test_ids_sort_by_the_begin_of_their_runs(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 1, 600)
    assert ids[0] == "20270115-080000-000"
    assert new_run_id(BEGUN_NS + 1_002_000_000) == "20270115-080001-002" > ids[0]
    assert records.ids() == ids == sorted(ids)


def test_a_run_is_found_by_its_id_by_the_begin_of_it_and_as_the_last(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 1)
    assert records.read(ids[0])["run"] == records.read(ids[0][:15])["run"] == ids[0]
    assert records.read("last")["run"] == ids[1]
    with pytest.raises(DetektrError, match="has 2 runs '20270115'; name one of them, as"):
        records.read("20270115")
    with pytest.raises(DetektrError, match=f"'demo' has no run 'x'; name one of them, as .*{ids[1]}"):
        records.read("x")


def test_a_run_is_found_by_a_time_of_which_it_has_the_most(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 10)

    def at(begin_s: int, end_s: int) -> str | None:
        found = records.at(BEGUN_NS / 1e9 + begin_s, BEGUN_NS / 1e9 + end_s)
        return None if found is None else found["run"]

    assert (at(-60, 0), at(60, 120), at(400, 460), at(700, 760)) == (None, ids[0], None, ids[1])
    assert at(290, 620) == ids[1] and at(200, 620) == ids[0], "the end of one and the begin of the next"


def test_a_record_that_is_broken_is_said_and_others_are_still_read(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 1)
    for text in ("{", json.dumps({"run": ids[1], "started_utc_ns": 5}), json.dumps(record(ids[1], True))):
        records.path(ids[1]).write_text(text)
        assert [one["run"] for one in records.all()] == ids[:1]
    with pytest.raises(DetektrError, match=f"the record of run {ids[1]} cannot be read"):
        records.read("last")


def test_the_oldest_records_go_beyond_a_number(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, *range(RUNS_MAX + 3))
    records.forget_old()
    assert records.ids() == ids[3:]
    assert RunRecords(tmp_path / "nobody").ids() == []
