"""SQLite files as our stores open them: for this user only, and readable by others of his while they are written."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

WAIT_S_MAX: Final = 1.0  # for a reader, or another process, that holds the file
SIDES: Final = ("-wal", "-shm")  # of a file in write-ahead mode
_SIZES: Final = "page_count", "freelist_count", "page_size"
_log = logging.getLogger(__name__)


def make_private(path: Path) -> None:
    """Make a file, if it is missing, and close it to others: SQLite would make it readable for all.

    Raises:
        OSError: it cannot be made or opened.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        with contextlib.suppress(PermissionError):  # somebody else's, who let us write
            os.fchmod(fd, 0o600)
    finally:
        os.close(fd)


def open_sqlite(path: Path) -> sqlite3.Connection:
    """Open a file in write-ahead mode, and make it if it is missing.

    One thread may open it and another write, one after the other. Who writes does so in a `change`.

    Raises:
        OSError, sqlite3.Error: it cannot be written, or is something else.
    """
    make_private(path)
    database = sqlite3.connect(path, timeout=WAIT_S_MAX, isolation_level=None, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def change(database: sqlite3.Connection) -> Iterator[None]:
    """Make all changes of a block, or none of them if it raises.

    Raises:
        sqlite3.Error: the file cannot be written now.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:  # a full disk ends the transaction by itself
            database.execute("ROLLBACK")
        raise


def used_bytes(database: sqlite3.Connection) -> int:
    """Return the bytes of a file that hold something: pages that are free are used again."""
    run = database.execute
    pages, free, nbytes = [int(run(f"PRAGMA {name}").fetchone()[0]) for name in _SIZES]
    return (pages - free) * nbytes


def open_or_begin_anew(path: Path, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    """Open a file as `open_sqlite` does; one that is broken is put aside under another name, and a new one begun.

    Args:
        path: the file.
        prepare: makes the tables that are missing; raises `sqlite3.DatabaseError` if the file is of another version.
    Raises:
        OSError, sqlite3.Error: the file cannot be written.
    """
    try:
        return _prepared(path, prepare)
    except sqlite3.DatabaseError as fault:
        if isinstance(fault, sqlite3.OperationalError):
            raise
        aside = path.with_suffix(f".broken-{int(time.time())}")
        _log.warning("%s is put aside as %s, and begun anew: %s", path, aside.name, fault)
    path.replace(aside)
    for side in SIDES:
        path.with_name(path.name + side).unlink(missing_ok=True)
    return _prepared(path, prepare)


def _prepared(path: Path, prepare: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    database = open_sqlite(path)
    try:
        prepare(database)
    except BaseException:
        database.close()
        raise
    return database
