"""Rows of frames in SQLite files of bounded size, each complete in itself; the oldest file is unlinked as a whole."""

from __future__ import annotations

import contextlib
import re
import sqlite3
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from detektr.telemetry.sqlite_file import SIDES, change, open_sqlite
from detektr.telemetry.trail.bounds import Bounds
from detektr.telemetry.trail.rows import DELIVERED, LifeRow, Row, Stream

SCHEMA_VERSION: Final = 1
TRIM_EVERY_S: Final = 60
LOG_PAGES: Final = 256  # of the write-ahead log, until they are written into their place
WRITERS_MAX: Final = 100  # whose progress goes on into the next segment
DELIVERED_ID: Final = 1  # of the outcome; nearly all rows have it
_PROGRESS: Final = f"SELECT writer, stored FROM writers ORDER BY rowid DESC LIMIT {WRITERS_MAX}"
_SCHEMA: Final = f"""
CREATE TABLE streams (id INTEGER PRIMARY KEY, node TEXT NOT NULL, camera TEXT NOT NULL, run TEXT NOT NULL,
    UNIQUE (node, camera, run));
CREATE TABLE edges (id INTEGER PRIMARY KEY, place TEXT NOT NULL, producer TEXT NOT NULL, consumer TEXT NOT NULL,
    UNIQUE (place, producer, consumer));
CREATE TABLE outcomes (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE life (id INTEGER PRIMARY KEY, t INTEGER NOT NULL, stream INTEGER NOT NULL, seq INTEGER NOT NULL,
    edge INTEGER NOT NULL, outcome INTEGER NOT NULL, queued_us INTEGER, waited_us INTEGER, worked_us INTEGER,
    kept_us INTEGER, replica INTEGER, delivery INTEGER NOT NULL, event INTEGER);
CREATE INDEX life_of_frame ON life (stream, seq);
CREATE INDEX life_by_time ON life (edge, t);
CREATE INDEX lost_by_time ON life (edge, t) WHERE outcome != {DELIVERED_ID};
INSERT INTO outcomes VALUES ({DELIVERED_ID}, '{DELIVERED}');
CREATE TABLE drops (id INTEGER PRIMARY KEY, t INTEGER NOT NULL, stream INTEGER NOT NULL, edge INTEGER NOT NULL,
    outcome INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, frames INTEGER NOT NULL,
    packed BLOB NOT NULL);
CREATE INDEX drops_of_frame ON drops (stream, last);
CREATE INDEX drops_by_time ON drops (edge, t);
CREATE TABLE writers (writer TEXT PRIMARY KEY, stored INTEGER NOT NULL);
PRAGMA user_version={SCHEMA_VERSION};
"""


class FrameSegments:
    """The writer; used by one thread. Others may read meanwhile (write-ahead mode)."""

    def __init__(self, path: Path, pipeline: str, bounds: Bounds) -> None:
        """Go on in the newest segment, or begin the first one, for this user only.

        Args:
            path: the trail's file, whose name the segments' are made of.
            pipeline: likewise.
            bounds: of all segments together.
        Raises:
            OSError, sqlite3.Error: the files cannot be written.
        """
        self._path, self._pipeline, self._bounds = path, pipeline, bounds
        self._ids: dict[tuple[str, ...], int] = {}
        self._next_trim_s = 0.0
        found = segment_paths(path, pipeline)
        self._number = _number(found[-1]) if found else 1
        try:
            self._database = self._open(self._number, {})
        except sqlite3.DatabaseError as fault:
            if isinstance(fault, sqlite3.OperationalError) or not found:
                raise
            self._number += 1  # broken, or of another version: it stays for who wants to look, until its time comes
            self._database = self._open(self._number, {})

    def write(self, writer: str, first: int, rows: Sequence[Row | None]) -> None:
        """Store the rows that are not there yet, all or none; then go on in a new segment if this one is full.

        Args:
            writer: whose rows they are.
            first: index of the first one among all that this writer has told.
            rows: in order; None: something else, which is stored elsewhere.
        Raises:
            OSError, sqlite3.Error: the file cannot be written now.
        """
        if any(row is not None for row in rows):
            self._write(writer, first, rows)
        now_s = time.time()
        if now_s >= self._next_trim_s or self._size() >= self._bounds.segment_bytes:
            self._next_trim_s = now_s + TRIM_EVERY_S
            self._roll_and_trim(now_s)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _write(self, writer: str, first: int, rows: Sequence[Row | None]) -> None:
        run = self._database.execute
        known = dict(self._ids)
        try:
            with change(self._database):
                row = run("SELECT stored FROM writers WHERE writer = ?", (writer,)).fetchone()
                fresh = [row for row in rows[max(0, (row[0] if row else 0) - first) :] if row is not None]
                self._insert(fresh)
                run(
                    "INSERT INTO writers (writer, stored) VALUES (?, ?)"
                    " ON CONFLICT (writer) DO UPDATE SET stored = max(stored, excluded.stored)",
                    (writer, first + len(rows)),
                )
        except BaseException:
            self._ids = known
            raise

    def _insert(self, rows: Iterable[Row]) -> None:
        lives, drops = [], []
        for row in rows:
            stream, edge = self._stream(row.stream), self._id("edges", row.place, row.producer, row.consumer)
            if isinstance(row, LifeRow):
                outcome = self._id("outcomes", row.outcome)
                lives.append((row.t_us, stream, row.sequence, edge, outcome, *row[7:]))
            else:
                outcome = self._id("outcomes", row.reason)
                drops.append((row.t_s * 1_000_000, stream, edge, outcome, *row[6:]))
        self._database.executemany(f"INSERT INTO life VALUES (NULL{', ?' * 12})", lives)
        self._database.executemany(f"INSERT INTO drops VALUES (NULL{', ?' * 8})", drops)

    def _stream(self, stream: Stream) -> int:
        return self._id("streams", stream.node, stream.camera, f"{stream.run:x}")

    def _id(self, table: str, *names: str) -> int:
        """Return the number of names in one of the dictionaries of this segment."""
        known = self._ids.get((table, *names))
        if known is None:
            columns = {"streams": "node, camera, run", "edges": "place, producer, consumer", "outcomes": "name"}[table]
            places = ", ".join("?" * len(names))
            self._database.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", names)
            query = f"SELECT id FROM {table} WHERE ({columns}) = ({places})"
            known = self._ids[table, *names] = int(self._database.execute(query, names).fetchone()[0])
        return known

    def _size(self) -> int:
        """Return the bytes of the segment, with those that are still to be written into its place."""
        path = self._segment(self._number)
        log = path.with_name(path.name + "-wal")
        return path.stat().st_size + (log.stat().st_size if log.exists() else 0)

    def _oldest_us(self) -> int | None:
        row = self._database.execute("SELECT t FROM life ORDER BY id LIMIT 1").fetchone()
        return None if row is None else int(row[0])

    def _segment(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.stem}.{self._pipeline}.{number:06d}{self._path.suffix}")

    def _roll_and_trim(self, now_s: float) -> None:
        begun = self._oldest_us() or now_s * 1e6
        if self._size() >= self._bounds.segment_bytes or now_s - begun / 1e6 > self._bounds.segment_s:
            progress = dict(self._database.execute(_PROGRESS).fetchall())
            fresh = self._open(self._number + 1, progress)
            self._database.close()
            self._database, self._number, self._ids = fresh, self._number + 1, {}
        closed = [path for path in segment_paths(self._path, self._pipeline) if _number(path) < self._number]
        sizes = {path: path.stat().st_size for path in closed}
        for path in closed:
            is_old = path.stat().st_mtime < now_s - self._bounds.keep_s  # it was written last when it was closed
            if not is_old and sum(sizes.values()) + self._bounds.segment_bytes <= self._bounds.bytes_max:
                break
            sizes.pop(path)
            for side in ("", *SIDES):
                path.with_name(path.name + side).unlink(missing_ok=True)

    def _open(self, number: int, progress: dict[str, int]) -> sqlite3.Connection:
        path = self._segment(number)
        database = open_sqlite(path)
        try:
            database.execute(f"PRAGMA wal_autocheckpoint={LOG_PAGES}")
            database.execute(f"PRAGMA journal_size_limit={LOG_PAGES << 12}")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                if not progress and number > 1:
                    progress = self._progress(number - 1)
                writers = [
                    f"INSERT INTO writers VALUES ('{writer}', {stored});"
                    for writer, stored in reversed(progress.items())
                ]
                database.executescript("\n".join(["BEGIN IMMEDIATE;", _SCHEMA, *writers, "COMMIT;"]))
            elif version != SCHEMA_VERSION:
                raise sqlite3.DatabaseError(f"{path} is of version {version}, and this detektr writes {SCHEMA_VERSION}")
        except BaseException:
            database.close()
            raise
        return database

    def _progress(self, number: int) -> dict[str, int]:
        """Return how much of each writer was stored by the end of an older segment: nobody else knows."""
        with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(self._segment(number))) as before:
            return dict(before.execute(_PROGRESS).fetchall())
        return {}


def segment_paths(path: Path, pipeline: str) -> list[Path]:
    """Return the segments of a pipeline that are there, oldest first.

    Args:
        path: the trail's file.
        pipeline: whose.
    """
    pattern = re.compile(rf"{re.escape(path.stem)}\.{re.escape(pipeline)}\.\d{{6,}}{re.escape(path.suffix)}\Z")
    try:
        found = [one for one in path.parent.iterdir() if pattern.match(one.name)]
    except FileNotFoundError:
        return []
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    return int(path.name.removesuffix(path.suffix).rpartition(".")[2] if path.suffix else path.name.rpartition(".")[2])
