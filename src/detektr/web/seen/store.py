"""Sightings and their pictures in an SQLite file, the newest ones, by time and by bytes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from detektr.memory.run_folder import state_root
from detektr.telemetry.sqlite_file import WAIT_S_MAX, change, open_or_begin_anew, used_bytes
from detektr.web.live.stills import Still
from detektr.web.seen.sightings import Sighting

FILE: Final = "seen.db"
SCHEMA_VERSION: Final = 1
LOG_BYTES_MAX: Final = 4 << 20  # of the write-ahead log, once it is empty
TRIM_ROWS: Final = 64  # that are let go of at once, so that no transaction is long
NEVER_MS: Final = 1 << 62
CAMERAS_MAX: Final = 1000
_SCHEMA: Final = f"""
CREATE TABLE sightings (id INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, until_ms INTEGER NOT NULL, camera TEXT NOT NULL,
    node TEXT NOT NULL, words TEXT NOT NULL, frame TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX sightings_by_time ON sightings (at_ms);
CREATE INDEX sightings_of_camera ON sightings (camera, at_ms);
CREATE INDEX sightings_of_frame ON sightings (frame);
CREATE TABLE stills (frame TEXT PRIMARY KEY, width INTEGER NOT NULL, height INTEGER NOT NULL, payload BLOB NOT NULL);
PRAGMA user_version={SCHEMA_VERSION};
"""


def seen_path(pipeline: str) -> Path:
    """Return the file of a pipeline, which outlives its runs."""
    return state_root() / pipeline / FILE


class SeenStore:
    """The writer; used by one thread at a time. Others may read the file meanwhile (write-ahead mode)."""

    def __init__(self, path: Path, keep_s: int, bytes_max: int) -> None:
        """Open the file, and make it, for this user only, if it is missing.

        A file that is broken, or of another version, is put aside under another name, and a new one begun.

        Args:
            path: the file; its folder exists.
            keep_s: how long a sighting is kept.
            bytes_max: most bytes of the file, without its write-ahead log.
        Raises:
            OSError, sqlite3.Error: the file cannot be written.
        """
        self._keep_ms, self._bytes_max = keep_s * 1000, bytes_max
        self._database = open_or_begin_anew(path, _prepare)

    def write(self, sightings: Sequence[Sighting], stills: Mapping[str, Still], now_ms: int) -> list[int]:
        """Let go of the oldest sightings, then store these, or how long they have lasted by now, all or none.

        Args:
            sightings: those that have begun or gone on.
            stills: pictures, by the id of their frame; one whose sighting is not stored any more is left out.
            now_ms: the time now, UTC.
        Returns:
            The number of each sighting.
        Raises:
            sqlite3.Error: the file cannot be written now.
        """
        while self._let_go(now_ms - self._keep_ms) == TRIM_ROWS:
            continue
        while used_bytes(self._database) > self._bytes_max and self._let_go(NEVER_MS):
            continue
        with change(self._database):
            numbers = [self._put(one) for one in sightings]
            self._database.executemany(
                "INSERT OR IGNORE INTO stills SELECT ?1, ?2, ?3, ?4"
                " WHERE EXISTS (SELECT 1 FROM sightings WHERE frame = ?1)",
                [(frame, one.width, one.height, one.payload) for frame, one in stills.items()],
            )
        return numbers

    def _put(self, one: Sighting) -> int:
        """Store one sighting; returns its number."""
        changing = {"at_ms": one.at_ms, "until_ms": one.until_ms, "frame": one.frame, "data": one.data}
        if one.number is not None:
            columns = ", ".join(f"{column} = ?" for column in changing)
            self._database.execute(f"UPDATE sightings SET {columns} WHERE id = ?", (*changing.values(), one.number))
            return one.number
        row = changing | {"camera": one.camera, "node": one.node, "words": one.words}
        places = ", ".join("?" * len(row))
        made = self._database.execute(f"INSERT INTO sightings ({', '.join(row)}) VALUES ({places})", (*row.values(),))
        assert made.lastrowid is not None
        return made.lastrowid

    def _let_go(self, before_ms: int) -> int:
        """Remove some of the oldest sightings that began before a time, and their pictures; returns how many."""
        run = self._database.execute
        oldest = "SELECT id, frame FROM sightings WHERE at_ms < ? ORDER BY at_ms LIMIT ?"
        with change(self._database):
            found = run(oldest, (before_ms, TRIM_ROWS)).fetchall()
            for number, frame in found:
                run("DELETE FROM sightings WHERE id = ?", (number,))
                run(
                    "DELETE FROM stills WHERE frame = ?1 AND NOT EXISTS (SELECT 1 FROM sightings WHERE frame = ?1)",
                    (frame,),
                )
        return len(found)

    def close(self) -> None:
        """Close the file."""
        self._database.close()


class SeenReader:
    """Reads the file of a store, also while it is written."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            sqlite3.Error: there is none, or it is broken.
        """
        self._database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=WAIT_S_MAX)

    def __enter__(self) -> SeenReader:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._database.close()

    def since_ms(self) -> int | None:
        """Return the time of the oldest sighting; None: there is none."""
        found: int | None = self._database.execute("SELECT min(at_ms) FROM sightings").fetchone()[0]
        return found

    def cameras(self) -> list[str]:
        """Return the cameras in which something was seen, by name."""
        query = (
            "WITH RECURSIVE names(name) AS (SELECT min(camera) FROM sightings UNION ALL"
            " SELECT (SELECT min(camera) FROM sightings WHERE camera > name) FROM names WHERE name IS NOT NULL)"
            " SELECT name FROM names WHERE name IS NOT NULL LIMIT ?"
        )  # one look at the index for each camera
        return [row[0] for row in self._database.execute(query, (CAMERAS_MAX,))]

    def before(self, at_ms: int, most: int, **chosen: str) -> list[dict[str, Any]]:
        """Return what began at a time or before, the latest first.

        Args:
            at_ms: the time, UTC.
            most: so many sightings.
            chosen: only of this `camera`, by this `node`, with the picture of this `frame`.
        Raises:
            sqlite3.Error: the file is broken.
        """
        where = "".join(f" AND {column} = ?" for column in chosen)
        query = (
            "SELECT at_ms, until_ms, camera, node, words, frame, data,"
            " EXISTS (SELECT 1 FROM stills WHERE stills.frame = sightings.frame)"
            f" FROM sightings WHERE at_ms <= ?{where} ORDER BY at_ms DESC, id DESC LIMIT ?"
        )
        rows = self._database.execute(query, (at_ms, *chosen.values(), most))
        names = ("at_ms", "until_ms", "camera", "node", "words", "frame", "data", "still")
        found = [dict(zip(names, row, strict=True)) for row in rows]
        return [
            one | {"data": json.loads(one["data"])["data"] if one["data"] else None, "still": bool(one["still"])}
            for one in found
        ]

    def still(self, frame: str) -> Still | None:
        """Return the picture of a frame; None: it is not kept."""
        query = "SELECT payload, width, height FROM stills WHERE frame = ?"
        row = self._database.execute(query, (frame,)).fetchone()
        return None if row is None else Still(*row)


def _prepare(database: sqlite3.Connection) -> None:
    database.execute(f"PRAGMA journal_size_limit={LOG_BYTES_MAX}")
    version = database.execute("PRAGMA user_version").fetchone()[0]
    is_new = not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if not is_new and version != SCHEMA_VERSION:
        raise sqlite3.DatabaseError(f"its version is {version}, not {SCHEMA_VERSION}")
    if is_new:
        database.executescript(_SCHEMA)
