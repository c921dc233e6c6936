from __future__ import annotations

import sqlite3
import stat
from pathlib import Path
from typing import Any

import pytest

from detektr.errors import DetektrError
from detektr.telemetry.history.reader import HistoryReader
from detektr.telemetry.history.rows import EdgeRow, NodeRow, Sample
from detektr.telemetry.history.store import RESOLUTIONS, HistoryStore
from detektr.telemetry.history.window import NodeState

EDGE = "buf", "detect"
BEGUN_S = 1_800_000_000


def sample(second: int, *, state: str = "running", why: str = "", **counts: Any) -> Sample:
    """The edge has been offered ten frames a second, and has dropped three of them."""
    edge = EdgeRow(10 * second, 7 * second, dropped={"queue_full": 3 * second} if second else {}, **counts)
    node = NodeRow(7 * second, worked=7 * second, busy_ms=700 * second, state=state)
    return Sample(BEGUN_S + second, {EDGE: edge}, {"detect": node}, {"detect": why} if why else {})


def filled(path: Path, seconds: int, run: str = "a") -> HistoryStore:
    store = HistoryStore(path, run)
    store.write(sample(second) for second in range(seconds))
    return store


def test_what_was_written_is_read_back_with_the_row_before_it(tmp_path: Path) -> None:
    filled(tmp_path / "h.db", 100).close()
    reader = HistoryReader(tmp_path / "h.db")
    window = reader.window("a", BEGUN_S + 20, BEGUN_S + 25)
    reader.close()
    assert window.edges[EDGE] == [(BEGUN_S + second, sample(second).edges[EDGE]) for second in range(20, 26)]
    assert window.nodes["detect"][0] == (BEGUN_S + 20, sample(20).nodes["detect"])
    assert window.step_s == 1


def test_the_file_is_for_its_user_alone(tmp_path: Path) -> None:
    filled(tmp_path / "h.db", 1).close()
    assert stat.S_IMODE((tmp_path / "h.db").stat().st_mode) == 0o600


def test_another_run_of_the_pipeline_is_kept_apart(tmp_path: Path) -> None:
    filled(tmp_path / "h.db", 10, "a").close()
    filled(tmp_path / "h.db", 20, "b").close()
    reader = HistoryReader(tmp_path / "h.db")
    assert len(reader.window("a", BEGUN_S - 1, BEGUN_S + 99).edges[EDGE]) == 10
    assert len(reader.window("b", BEGUN_S - 1, BEGUN_S + 99).edges[EDGE]) == 20
    reader.close()


def test_what_is_older_than_a_day_is_read_in_rows_of_ten_seconds_with_the_worst_of_each(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path / "h.db", "a")
    day_s = RESOLUTIONS[0].keep_s
    store.write(sample(second, queued=second % 10, full_s=int(second % 2)) for second in range(100))
    store.write(sample(day_s + second) for second in (120, 185))  # one look might be a wrong clock
    store.close()
    reader = HistoryReader(tmp_path / "h.db")
    window = reader.window("a", BEGUN_S + 19, BEGUN_S + 59)
    reader.close()
    assert window.step_s == 10
    assert [utc_s - BEGUN_S for utc_s, _ in window.edges[EDGE]] == [19, 29, 39, 49, 59]
    row = window.edges[EDGE][1][1]
    assert (row.offered, row.dropped, row.queued, row.full_s) == (290, {"queue_full": 87}, 9, 5)


def test_nothing_is_kept_longer_than_it_is_to_be(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", 100)
    store.write(sample(RESOLUTIONS[-1].keep_s + second) for second in (200, 265))
    store.close()
    database = sqlite3.connect(tmp_path / "h.db")
    for resolution in RESOLUTIONS:
        assert database.execute(f"SELECT count(*) FROM edge_{resolution.step_s}").fetchone() == (2,)
    database.close()


def test_a_file_that_grows_too_large_lets_go_of_its_oldest_rows(tmp_path: Path) -> None:
    store = HistoryStore(tmp_path / "h.db", "a", bytes_max=400_000)
    for begin in range(0, 40_000, 100):
        store.write(sample(second) for second in range(begin, begin + 100))
    store.close()
    reader = HistoryReader(tmp_path / "h.db")
    newest = reader.window("a", BEGUN_S + 39_500, BEGUN_S + 40_000)
    all_of_it = reader.window("a", BEGUN_S, BEGUN_S + 40_000)
    reader.close()
    assert len(newest.edges[EDGE]) == 500 and newest.step_s == 1, "the newest are all there"
    assert all_of_it.step_s == 60 and all_of_it.edges[EDGE][0][0] <= BEGUN_S + 60, (
        "and coarse rows reach back to the begin"
    )
    assert (tmp_path / "h.db").stat().st_size < 1_000_000


def test_a_clock_that_jumps_ahead_and_back_costs_no_more_than_what_comes_again(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", 100)
    store.write([sample(40 * 24 * 3600)])
    store.write(sample(second) for second in range(100, 120))
    store.write(sample(second) for second in range(90, 130))
    store.close()
    reader = HistoryReader(tmp_path / "h.db")
    rows = reader.window("a", BEGUN_S - 1, BEGUN_S + 200).edges[EDGE]
    reader.close()
    assert [utc_s - BEGUN_S for utc_s, _ in rows] == list(range(130)), "each second once, in order, none trimmed"


def test_the_row_before_a_window_is_found_across_a_gap(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", 10)
    store.write(sample(second) for second in range(500, 520))
    store.close()
    reader = HistoryReader(tmp_path / "h.db")
    rows = reader.window("a", BEGUN_S + 499, BEGUN_S + 510).edges[EDGE]
    reader.close()
    assert rows[0] == (BEGUN_S + 9, sample(9).edges[EDGE]) and rows[1][0] == BEGUN_S + 500


def test_states_are_told_with_when_they_began(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", 10)
    store.write(sample(second, state="hanging", why="at mine.py:3") for second in range(10, 20))
    store.close()
    reader = HistoryReader(tmp_path / "h.db")
    states = reader.window("a", BEGUN_S + 5, BEGUN_S + 19).states["detect"]
    reader.close()
    assert states == [NodeState(BEGUN_S, "running", ""), NodeState(BEGUN_S + 10, "hanging", "at mine.py:3")]


def test_a_state_before_a_time_is_told_from_when_on_it_was_so_for_whatever_reason(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", 10)
    for second, why in ((10, "the stream ended"), (15, "refused"), (20, "no route"), (25, "refused")):
        store.write([sample(second, state="connecting", why=why)])
    store.close()
    reader = HistoryReader(tmp_path / "h.db")
    states = {begin: reader.window("a", BEGUN_S + begin, BEGUN_S + 30).states["detect"] for begin in (5, 18, 29)}
    reader.close()
    refused = NodeState(BEGUN_S + 10, "connecting", "refused")
    again = [NodeState(BEGUN_S + 20, "connecting", "no route"), NodeState(BEGUN_S + 25, "connecting", "refused")]
    assert states[18] == [refused, *again] and states[29] == [refused]
    assert states[5][:2] == [
        NodeState(BEGUN_S, "running", ""),
        NodeState(BEGUN_S + 10, "connecting", "the stream ended"),
    ]


def test_what_could_not_be_written_is_written_by_the_next_try(tmp_path: Path) -> None:
    store = filled(tmp_path / "h.db", 15)
    other = sqlite3.connect(tmp_path / "h.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError):
        store.write(sample(second) for second in range(15, 25))
    other.execute("ROLLBACK")
    other.close()
    store.write(sample(second) for second in range(15, 25))
    store.close()
    reader = HistoryReader(tmp_path / "h.db")
    assert len(reader.window("a", BEGUN_S - 1, BEGUN_S + 99).edges[EDGE]) == 25
    reader.close()
    database = sqlite3.connect(tmp_path / "h.db")
    assert database.execute("SELECT utc_s FROM edge_10").fetchall() == [
        (BEGUN_S + 9,),
        (BEGUN_S + 19,),
        (BEGUN_S + 24,),
    ]
    database.close()


def test_a_broken_file_is_put_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    (tmp_path / "h.db").write_bytes(b"no database" * 1000)
    filled(tmp_path / "h.db", 3).close()
    (aside,) = tmp_path.glob("h.broken-*")
    assert aside.read_bytes().startswith(b"no database")
    reader = HistoryReader(tmp_path / "h.db")
    assert len(reader.window("a", BEGUN_S - 1, BEGUN_S + 9).edges[EDGE]) == 3
    reader.close()


def test_no_file_and_one_of_another_version_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(DetektrError, match="there is no history in"):
        HistoryReader(tmp_path / "h.db")
    filled(tmp_path / "h.db", 1).close()
    database = sqlite3.connect(tmp_path / "h.db")
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(DetektrError, match="is of version 99"):
        HistoryReader(tmp_path / "h.db")
