"""Audit records in an SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from detektr.errors import RefusedError
from detektr.telemetry.record import Record

ROWS_MAX = 1_000_000  # about 300 MB; the oldest go
WRITERS_MAX = 100  # writers whose progress is remembered; one a process
WAIT_S_MAX = 1.0  # for another process that holds the file

_TABLES = """
CREATE TABLE IF NOT EXISTS records (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, pipeline TEXT NOT NULL,
    node TEXT NOT NULL, event TEXT NOT NULL, data TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS writers (
    id INTEGER PRIMARY KEY AUTOINCREMENT, writer TEXT UNIQUE NOT NULL, stored INTEGER NOT NULL
);
"""


class SqliteStore:
    """The table `records` of a file in write-ahead mode: others may read while it is written."""

    def __init__(self, path: Path, pipeline: str, rows_max: int = ROWS_MAX) -> None:
        """Open the file, and make it and its tables if they are missing.

        Raises:
            RefusedError: the file cannot be written, or is something else.
        """
        self._pipeline = pipeline
        self._rows_max = rows_max
        try:
            # One thread opens it and another writes, one after the other.
            self._database = sqlite3.connect(path, timeout=WAIT_S_MAX, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as fault:
            raise _refusal(path, fault) from None
        try:
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=NORMAL")
            self._database.executescript(_TABLES)
            self._database.execute("SELECT time, pipeline, node, event, data FROM records LIMIT 0")
            self._database.execute("BEGIN IMMEDIATE")  # a file that may only be read passes everything up to here
            self._database.execute("ROLLBACK")
        except sqlite3.Error as fault:
            self._database.close()
            raise _refusal(path, fault) from None

    def write(self, writer: str, first: int, records: list[Record]) -> None:
        """Store the records that are not there yet, all or none, and drop the oldest rows beyond the limit.

        Raises:
            sqlite3.Error: the file cannot be written now.
        """
        run = self._database.execute
        run("BEGIN IMMEDIATE")
        try:
            row = run("SELECT stored FROM writers WHERE writer = ?", (writer,)).fetchone()
            stored = row[0] if row else 0
            fresh = records[max(0, stored - first) :]
            self._database.executemany(
                "INSERT INTO records (time, pipeline, node, event, data) VALUES (?, ?, ?, ?, ?)",
                [(each.time, self._pipeline, each.node, each.event, each.data) for each in fresh],
            )
            run(
                "INSERT INTO writers (writer, stored) VALUES (?, ?) "
                "ON CONFLICT (writer) DO UPDATE SET stored = max(stored, excluded.stored)",
                (writer, first + len(records)),
            )
            run("DELETE FROM records WHERE id <= (SELECT max(id) FROM records) - ?", (self._rows_max,))
            run("DELETE FROM writers WHERE id <= (SELECT max(id) FROM writers) - ?", (WRITERS_MAX,))
            run("COMMIT")
        except BaseException:
            if self._database.in_transaction:  # a full disk ends the transaction by itself
                run("ROLLBACK")
            raise

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def _refusal(path: Path, fault: sqlite3.Error) -> RefusedError:
    return RefusedError(
        f"audit: {str(path)!r} cannot be used as an SQLite file ({fault}); "
        "write a path in a folder that exists and that this user may write, e.g. sqlite:audit.db"
    )
