"""Audit records in an SQLite file."""

from __future__ import annotations

import datetime
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from detektr.errors import RefusedError
from detektr.telemetry.record import Record
from detektr.telemetry.sqlite_file import change, open_sqlite
from detektr.telemetry.trail.bounds import Bounds
from detektr.telemetry.trail.rows import DropRow, LifeRow, Row
from detektr.telemetry.trail.segments import FrameSegments

WRITERS_MAX = 100  # writers whose progress is remembered; one a process
TRIM_EVERY_S = 60

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, pipeline TEXT NOT NULL,
    node TEXT NOT NULL, event TEXT NOT NULL, data TEXT NOT NULL, frame TEXT NOT NULL DEFAULT ''
);
CREATE TABLE IF NOT EXISTS writers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, writer TEXT UNIQUE NOT NULL, stored INTEGER NOT NULL
);
"""

_INDEX = "CREATE INDEX IF NOT EXISTS records_of_frame ON records (frame) WHERE frame != ''"


class SqliteStore:
    """The table `records` of a file, and segments of what became of frames beside it; others may read meanwhile."""

    def __init__(self, path: Path, pipeline: str, bounds: Bounds) -> None:
        """Open the files, and make them and their tables if they are missing.

        Raises:
            RefusedError: a file cannot be written, or is something else.
        """
        self._pipeline, self._bounds = pipeline, bounds
        self._next_trim_s = 0.0
        try:
            self._database = open_sqlite(path)
        except (OSError, sqlite3.Error) as fault:
            raise _refusal(path, fault) from None
        try:
            self._database.executescript(_TABLES)
            self._database.execute("SELECT time, pipeline, node, event, data FROM records LIMIT 0")
            if "frame" not in {row[1] for row in self._database.execute("PRAGMA table_info(records)")}:
                self._database.execute("ALTER TABLE records ADD COLUMN frame TEXT NOT NULL DEFAULT ''")
            self._database.execute(_INDEX)
            self._database.execute("BEGIN IMMEDIATE")  # a file that may only be read passes everything up to here
            self._database.execute("ROLLBACK")
            self._frames = FrameSegments(path, pipeline, bounds)
        except (OSError, sqlite3.Error) as fault:
            self._database.close()
            raise _refusal(path, fault) from None

    def write(self, writer: str, first: int, records: Sequence[Record | Row | None]) -> None:
        """Store the records that are not there yet, and let go of the oldest ones beyond the bounds.

        Operations and frames lie in different files, and each file knows how much of a writer it has: so what was
        stored in one of them before a fault is not stored again.

        Raises:
            OSError, sqlite3.Error: a file cannot be written now.
        """
        self._frames.write(writer, first, [row if isinstance(row, LifeRow | DropRow) else None for row in records])
        if any(isinstance(record, Record) for record in records):
            self._write_operations(writer, first, records)

    def _write_operations(self, writer: str, first: int, records: Sequence[Record | Row | None]) -> None:
        run = self._database.execute
        with change(self._database):
            row = run("SELECT stored FROM writers WHERE writer = ?", (writer,)).fetchone()
            stored = row[0] if row else 0
            fresh = [each for each in records[max(0, stored - first) :] if isinstance(each, Record)]
            self._database.executemany(
                "INSERT INTO records (time, pipeline, node, event, data, frame) VALUES (?, ?, ?, ?, ?, ?)",
                [(each.time, self._pipeline, each.node, each.event, each.data, each.frame) for each in fresh],
            )
            run(
                "INSERT INTO writers (writer, stored) VALUES (?, ?) "
                "ON CONFLICT (writer) DO UPDATE SET stored = max(stored, excluded.stored)",
                (writer, first + len(records)),
            )
            run("DELETE FROM records WHERE id <= (SELECT max(id) FROM records) - ?", (self._bounds.operations_max,))
            if (now_s := time.time()) >= self._next_trim_s:
                self._next_trim_s = now_s + TRIM_EVERY_S
                oldest = datetime.datetime.fromtimestamp(now_s - self._bounds.keep_s, datetime.UTC).isoformat()
                run("DELETE FROM records WHERE id < (SELECT min(id) FROM records WHERE time >= ?)", (oldest,))
            run("DELETE FROM writers WHERE id <= (SELECT max(id) FROM writers) - ?", (WRITERS_MAX,))

    def close(self) -> None:
        """Close the files."""
        self._frames.close()
        self._database.close()


def _refusal(path: Path, fault: OSError | sqlite3.Error) -> RefusedError:
    return RefusedError(
        f"audit: {str(path)!r} cannot be used as an SQLite file ({fault}); "
        "write a path in a folder that exists and that this user may write, e.g. sqlite:audit.db"
    )
