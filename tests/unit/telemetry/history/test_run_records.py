from __future__ import annotations

import json
from pathlib import Path

import pytest

from detektr.errors import DetektrError
from detektr.telemetry.history.run_records import RUNS_MAX, RunRecords, new_run_id

BEGUN_NS = 1_800_000_000 * 10**9


def records_of(folder: Path, *minutes: int) -> tuple[RunRecords, list[str]]:
    """Return records of runs that began at these minutes."""
    records = RunRecords(folder / "demo")
    records.folder.mkdir(parents=True)
    ids = []
    for minute in minutes:
        begun_ns = BEGUN_NS + minute * 60 * 10**9
        ids.append(new_run_id(begun_ns))
        records.path(ids[-1]).write_text(json.dumps({"run": ids[-1], "started_utc_ns": begun_ns, "ended_utc_ns": None}))
    return records, ids


def test_ids_sort_by_the_begin_of_their_runs(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 1, 600)
    assert ids[0].startswith("20270115-080000-")
    assert records.ids() == ids == sorted(ids)


def test_a_run_is_found_by_its_id_by_the_begin_of_it_and_as_the_last(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 1)
    assert records.read(ids[0])["run"] == records.read(ids[0][:15])["run"] == ids[0]
    assert records.read("last")["run"] == ids[1]
    with pytest.raises(DetektrError, match="has 2 runs '20270115'; name one of them, as"):
        records.read("20270115")
    with pytest.raises(DetektrError, match=f"'demo' has no run 'x'; name one of them, as .*{ids[1]}"):
        records.read("x")


def test_a_run_is_found_by_a_time_at_which_it_was_on(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 10)

    def at(minute: int) -> str | None:
        found = records.at(BEGUN_NS / 1e9 + 60 * minute)
        return None if found is None else found["run"]

    assert (at(-1), at(5), at(11)) == (None, ids[0], ids[1])


def test_a_record_that_is_broken_is_said_and_others_are_still_read(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, 0, 1)
    records.path(ids[1]).write_text("{")
    assert [record["run"] for record in records.all()] == ids[:1]
    with pytest.raises(DetektrError, match=f"the record of run {ids[1]} cannot be read"):
        records.read("last")


def test_the_oldest_records_go_beyond_a_number(tmp_path: Path) -> None:
    records, ids = records_of(tmp_path, *range(RUNS_MAX + 3))
    records.forget_old()
    assert records.ids() == ids[3:]
    assert RunRecords(tmp_path / "nobody").ids() == []
