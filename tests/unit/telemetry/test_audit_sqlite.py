from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detektr.errors import RefusedError
from detektr.events import FrameRedelivered
from detektr.telemetry.audit import open_audit
from detektr.telemetry.audit_sqlite import WRITERS_MAX, SqliteStore
from detektr.telemetry.record import Record
from detektr.telemetry.trail.bounds import Bounds

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

NOW = "2130-01-01T00:00:00.000000+00:00"  # or at least not too old


def rows(path: Path, columns: str = "data") -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        return database.execute(f"SELECT {columns} FROM records ORDER BY id").fetchall()


def batch(first: int, end: int) -> list[Record]:
    return [Record(NOW, "n", "Counted", str(number)) for number in range(first, end)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path, "shop", Bounds(3600, 1 << 20))
    yield opened
    opened.close()


def test_events_are_rows_with_time_pipeline_node_event_and_data(tmp_path: Path, path: Path) -> None:
    trail = open_audit("sqlite:audit.db", tmp_path / "spool", "shop", tmp_path)
    trail.record(FrameRedelivered("buffer", "motion", "f", 7, 1, "it raised"))
    assert trail.close(10)
    ((time, *rest),) = rows(path, "time, pipeline, node, event, data")
    assert time.endswith("+00:00")
    assert rest == [
        "shop",
        "buffer",
        "FrameRedelivered",
        '{"consumer": "motion", "frame": "f", "sequence": 7, "delivery": 1, "reason": "it raised"}',
    ]


def test_batch_that_comes_again_is_stored_once(store: SqliteStore, path: Path) -> None:
    store.write("a", 0, batch(0, 10))
    store.write("a", 5, batch(5, 15))
    store.write("a", 0, batch(0, 10))
    store.write("b", 0, batch(15, 17))
    assert rows(path) == [(str(number),) for number in range(17)]


def test_oldest_rows_go_beyond_the_limit(store: SqliteStore, path: Path) -> None:
    store.write("a", 0, batch(0, 900))
    store.write("a", 900, batch(900, 1600))
    assert rows(path) == [(str(number),) for number in range(600, 1600)]


def test_rows_that_are_kept_no_longer_go(store: SqliteStore, path: Path) -> None:
    old = [Record("2020-01-01T00:00:00.000000+00:00", "n", "Counted", str(number)) for number in range(10)]
    store.write("a", 0, [*old, *batch(10, 12)])
    assert rows(path) == [("10",), ("11",)]


def test_only_this_user_can_read_the_files(store: SqliteStore, path: Path) -> None:
    path.chmod(0o644)  # as earlier versions made it
    SqliteStore(path, "shop", Bounds(3600, 1 << 20)).close()
    assert {one.name: oct(one.stat().st_mode & 0o777) for one in path.parent.glob("audit*")} == {
        one.name: "0o600" for one in path.parent.glob("audit*")
    }
    assert len(list(path.parent.glob("audit*.db"))) == 2


def test_a_file_of_an_earlier_version_gets_what_it_lacks(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE records (id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, pipeline TEXT NOT NULL,"
            " node TEXT NOT NULL, event TEXT NOT NULL, data TEXT NOT NULL)"
        )
    store = SqliteStore(path, "shop", Bounds(3600, 1 << 20))
    store.write("a", 0, [Record(NOW, "n", "Counted", "{}", "1_cam_cam_2_00000000")])
    store.close()
    assert rows(path, "frame") == [("1_cam_cam_2_00000000",)]


def test_progress_of_old_writers_is_forgotten_and_of_recent_ones_is_not(store: SqliteStore, path: Path) -> None:
    for writer in range(WRITERS_MAX + 20):
        store.write(f"w{writer}", 0, batch(writer, writer + 1))
    with contextlib.closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT writer FROM writers ORDER BY id")]
    assert names == [f"w{writer}" for writer in range(20, WRITERS_MAX + 20)]


def test_file_held_by_another_process_interrupts_the_trail_until_it_is_free(
    tmp_path: Path, path: Path, wait_until: WaitUntil
) -> None:
    trail = open_audit("sqlite:audit.db", tmp_path / "spool", "shop", tmp_path)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for number in range(500):
            trail.record({"event": "Counted", "node": "n", "number": number})
        wait_until(lambda: trail.is_interrupted, what="the trail to notice")
        other.execute("ROLLBACK")
    wait_until(lambda: trail.waiting == 0, what="the trail to catch up")
    assert trail.close(10)
    assert rows(path) == [(f'{{"number": {number}}}',) for number in range(500)]
    assert trail.lost == 0


@pytest.mark.parametrize("place", ["folder", "missing/audit.db", "text.db", "foreign.db"])
def test_path_that_cannot_be_such_a_file_is_refused_with_the_cure(tmp_path: Path, place: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("a shopping list, longer than a header would be: " * 30)
    with contextlib.closing(sqlite3.connect(tmp_path / "foreign.db")) as database:
        database.execute("CREATE TABLE records (artist TEXT)")
    with pytest.raises(RefusedError, match=rf"{place}' cannot be used as an SQLite file \(.*sqlite:audit\.db"):
        open_audit(f"sqlite:{place}", tmp_path / "spool", "shop", tmp_path)
    assert not (tmp_path / "spool").exists()
