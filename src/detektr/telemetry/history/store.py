"""The history of a pipeline in an SQLite file: a row a second for each edge and node, and coarser ones for longer."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from detektr.telemetry.history.rows import EdgeRow, NodeRow, Sample
from detektr.telemetry.sqlite_file import change, open_or_begin_anew, used_bytes

SCHEMA_VERSION: Final = 1
BYTES_MAX: Final = 1 << 30  # of the file; the oldest rows go before that, whatever their age
TRIM_EVERY_S: Final = 60
ROWS_LEAST: Final = 600  # of each edge and node, at each step, that stay however large the file is
JUMP_S: Final = 3600  # from one look to the next: the wall clock was set


@dataclass(frozen=True)
class Resolution:
    """One row for each so many seconds, kept for so long."""

    step_s: int
    keep_s: int


RESOLUTIONS: Final = (
    Resolution(1, 24 * 3600),
    Resolution(10, 7 * 24 * 3600),
    Resolution(60, 30 * 24 * 3600),
)
Row = EdgeRow | NodeRow
TABLES: Final[dict[str, type[Row]]] = {"edge": EdgeRow, "node": NodeRow}
_Rows = dict[int, tuple[int, Row]]  # by series: the time, and the row


class HistoryStore:
    """Writes samples; used by one thread. Others may read the file meanwhile (write-ahead mode)."""

    def __init__(self, path: Path, run: str, bytes_max: int = BYTES_MAX) -> None:
        """Open the file, and make it, for this user only, if it is missing.

        A file that is broken, or of another version, is put aside under another name, and a new one begun.

        Args:
            path: the file; its folder exists.
            run: the id of the run whose samples come.
            bytes_max: most bytes of the file.
        Raises:
            OSError, sqlite3.Error: the file cannot be written.
        """
        self._run, self._bytes_max = run, bytes_max
        self._series: dict[tuple[str, str], int] = {}
        self._states: dict[str, tuple[str, str]] = {}
        self._pending: list[_Rows] = [{} for _ in RESOLUTIONS[1:]]
        self._periods = [0 for _ in RESOLUTIONS[1:]]
        self._next_trim_s = self._last_s = 0
        self._database = open_or_begin_anew(path, _prepare)

    def write(self, samples: Iterable[Sample]) -> None:
        """Store samples, in order, in one transaction.

        Raises:
            sqlite3.Error: the file cannot be written now; none of them is stored.
        """
        kept = dict(self._series), dict(self._states), [dict(one) for one in self._pending], [*self._periods]
        try:
            with change(self._database):
                for sample in samples:
                    self._write(sample)
        except BaseException:
            self._series, self._states, self._pending, self._periods = kept
            raise

    def close(self) -> None:
        """Store the coarse rows that are not complete, and close the file."""
        try:
            with contextlib.suppress(sqlite3.Error):  # a full disk: the finest rows have all of it
                self._database.execute("BEGIN IMMEDIATE")
                for place in range(len(self._pending)):
                    self._flush(place)
                self._database.execute("COMMIT")
        finally:
            self._database.close()

    def _write(self, sample: Sample) -> None:
        self._look_at_clock(sample.utc_s)
        rows: _Rows = {}
        for (producer, consumer), edge in sample.edges.items():
            rows[self._series_of(producer, consumer)] = sample.utc_s, edge
        for name, node in sample.nodes.items():
            rows[self._series_of(name, "")] = sample.utc_s, node
        self._insert(1, rows)
        for place, resolution in enumerate(RESOLUTIONS[1:]):
            period = sample.utc_s // resolution.step_s
            if period != self._periods[place]:
                self._flush(place)
                self._periods[place] = period
            pending = self._pending[place]
            for series, (utc_s, row) in rows.items():
                before = pending.get(series)
                pending[series] = utc_s, row if before is None else _joined(before[1], row)
        self._note_states(sample)
        if sample.utc_s >= self._next_trim_s:
            self._next_trim_s = sample.utc_s + TRIM_EVERY_S
            self._trim(sample.utc_s)

    def _look_at_clock(self, utc_s: int) -> None:
        """Where the wall clock was set back, forget what this run had for the time that comes once more."""
        last_s, self._last_s = self._last_s, utc_s
        if last_s and abs(utc_s - last_s) > JUMP_S:
            self._next_trim_s = utc_s + TRIM_EVERY_S  # if the clock is wrong, it may be set right by then
        if utc_s < last_s:
            of_run = "series IN (SELECT id FROM series WHERE run = ?)"
            for resolution in RESOLUTIONS:
                for table in TABLES:
                    query = f"DELETE FROM {table}_{resolution.step_s} WHERE utc_s >= ? AND {of_run}"
                    self._database.execute(query, (utc_s, self._run))
            self._pending, self._periods = [{} for _ in RESOLUTIONS[1:]], [0 for _ in RESOLUTIONS[1:]]

    def _flush(self, place: int) -> None:
        self._insert(RESOLUTIONS[place + 1].step_s, self._pending[place])
        self._pending[place] = {}

    def _insert(self, step_s: int, rows: _Rows) -> None:
        for table, kind in TABLES.items():
            values = [
                (utc_s, series, *_encoded(table, row)) for series, (utc_s, row) in rows.items() if type(row) is kind
            ]
            places = ", ".join("?" * (2 + len(kind._fields)))
            # Where the wall clock was set back, the later look at a second stands.
            self._database.executemany(f"INSERT OR REPLACE INTO {table}_{step_s} VALUES ({places})", values)

    def _series_of(self, name: str, consumer: str) -> int:
        known = self._series.get((name, consumer))
        if known is None:
            run = self._database.execute
            key = self._run, name, consumer
            run("INSERT OR IGNORE INTO series (run, name, consumer) VALUES (?, ?, ?)", key)
            known = run("SELECT id FROM series WHERE run = ? AND name = ? AND consumer = ?", key).fetchone()[0]
            self._series[name, consumer] = known
        return known

    def _note_states(self, sample: Sample) -> None:
        """Store the states, and why, of nodes of which that has changed."""
        for name, row in sample.nodes.items():
            now = row.state, sample.why.get(name, "")
            if self._states.get(name) != now:
                self._states[name] = now
                values = sample.utc_s, self._series_of(name, ""), *now
                self._database.execute("INSERT INTO states (utc_s, node, state, why) VALUES (?, ?, ?, ?)", values)

    def _trim(self, utc_s: int) -> None:
        """Let go of rows that are older than they are kept, and of more of them while the file is too large."""
        run = self._database.execute
        for resolution in RESOLUTIONS:
            for table in TABLES:
                run(f"DELETE FROM {table}_{resolution.step_s} WHERE utc_s < ?", (utc_s - resolution.keep_s,))
        run("DELETE FROM states WHERE utc_s < ?", (utc_s - RESOLUTIONS[-1].keep_s,))
        for resolution in RESOLUTIONS:  # the finest rows first
            while used_bytes(self._database) > self._bytes_max and self._drop_oldest(resolution.step_s):
                continue

    def _drop_oldest(self, step_s: int) -> bool:
        """Let go of the oldest tenth of the rows of a step; False: there are few."""
        run = self._database.execute
        oldest, newest = run(f"SELECT min(utc_s), max(utc_s) FROM node_{step_s}").fetchone()
        if oldest is None or newest - oldest < ROWS_LEAST * step_s:
            return False
        for table in TABLES:
            run(f"DELETE FROM {table}_{step_s} WHERE utc_s < ?", (oldest + max(1, (newest - oldest) // 10),))
        return True


def decode_row(table: str, values: Sequence[Any]) -> Row:
    """Return a row of one of `TABLES` from the values of its columns."""
    cells = list(values)
    for place in _MAPS[table]:
        text = cells[place]
        cells[place] = json.loads(text) if text else _NOTHING
    return TABLES[table]._make(cells)


_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
_MAPS: Final = {
    "edge": [EdgeRow._fields.index(name) for name in ("dropped", "lost_by_camera")],
    "node": [NodeRow._fields.index("left_out")],
}
"""Places of columns that are counts by name, as JSON; NULL where there are none."""


def _encoded(table: str, row: Row) -> list[Any]:
    cells = list(row)
    for place in _MAPS[table]:
        cells[place] = json.dumps(cells[place]) if cells[place] else None
    return cells


def _joined(row: Row, later: Row) -> Row:
    if isinstance(row, EdgeRow) and isinstance(later, EdgeRow):
        return row.joined(later)
    assert isinstance(row, NodeRow) and isinstance(later, NodeRow)
    return row.joined(later)


def _prepare(database: sqlite3.Connection) -> None:
    version = database.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, SCHEMA_VERSION):
        raise sqlite3.DatabaseError(f"it is of version {version}")
    database.executescript(_schema())


def _schema() -> str:
    """Return the statements that make the tables. Rows lie in the order of their time, so old ones go together."""
    tables = [
        "CREATE TABLE IF NOT EXISTS series (id INTEGER PRIMARY KEY, run TEXT NOT NULL, name TEXT NOT NULL,"
        " consumer TEXT NOT NULL, UNIQUE (run, name, consumer))",
        "CREATE TABLE IF NOT EXISTS states (id INTEGER PRIMARY KEY, utc_s INTEGER NOT NULL, node INTEGER NOT NULL,"
        " state TEXT NOT NULL, why TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS states_by_node ON states (node)",
    ]
    for resolution in RESOLUTIONS:
        for table, kind in TABLES.items():
            tables.append(
                f"CREATE TABLE IF NOT EXISTS {table}_{resolution.step_s} (utc_s INTEGER NOT NULL,"
                f" series INTEGER NOT NULL, {', '.join(kind._fields)}, PRIMARY KEY (utc_s, series)) WITHOUT ROWID"
            )
    return "; ".join([*tables, f"PRAGMA user_version={SCHEMA_VERSION}"])
