"""Reads the history of a pipeline: what its edges and nodes did within a time, of one run."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from detektr.errors import DetektrError
from detektr.telemetry.history.rows import EdgeRow, NodeRow
from detektr.telemetry.history.store import RESOLUTIONS, SCHEMA_VERSION, Row, decode_row
from detektr.telemetry.history.window import NodeState, Window

GAP_ROWS_MAX = 3600  # so many rows may be missing before a window: the disk was full, or the supervisor suspended
_SERIES_OF_RUN = "SELECT id FROM series WHERE run = ?"
ROWS_MAX = 900  # of one edge or node in a window: of 40 edges they are read and judged in a quarter of a second


class HistoryReader:
    """Reads a history file, also while it is written."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            DetektrError: it is not there, cannot be read, or is of another version.
        """
        try:
            self._database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
        except sqlite3.Error as fault:
            raise DetektrError(f"there is no history in {path}: {fault}") from None
        try:
            version = self._database.execute("PRAGMA user_version").fetchone()[0]
        except sqlite3.Error as fault:
            self._database.close()
            raise DetektrError(f"there is no history in {path}: {fault}; remove it if it stays so") from None
        if version != SCHEMA_VERSION:
            self._database.close()
            if version == 0:
                raise DetektrError(f"there is no history in {path} yet; try again in a second")
            raise DetektrError(f"{path} is of version {version}, and this detektr reads {SCHEMA_VERSION}; remove it")
        self._path = path

    def window(self, run: str, begin_s: int, end_s: int) -> Window:
        """Return what is known of a run between two times (UTC, in seconds), in the finest rows that reach back so far.

        Raises:
            DetektrError: the file is broken.
        """
        try:
            with self._database:
                return self._window(run, begin_s, end_s)
        except sqlite3.Error as fault:
            raise DetektrError(f"{self._path} cannot be read: {fault}") from None

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _window(self, run: str, begin_s: int, end_s: int) -> Window:
        step_s = self._step_s(begin_s, end_s)
        window = Window(begin_s, end_s, step_s)
        run_query = self._database.execute
        series = {
            number: (name, consumer)
            for number, name, consumer in run_query("SELECT id, name, consumer FROM series WHERE run = ?", (run,))
        }
        for number, (name, consumer) in series.items():
            if not consumer:
                window.states[name] = self._states(number, begin_s, end_s)
        for number, utc_s, row in self._rows(run, "edge", step_s, begin_s, end_s):
            if number in series and isinstance(row, EdgeRow):
                window.edges.setdefault(series[number], []).append((utc_s, row))
        for number, utc_s, row in self._rows(run, "node", step_s, begin_s, end_s):
            if number in series and isinstance(row, NodeRow):
                window.nodes.setdefault(series[number][0], []).append((utc_s, row))
        return window

    def _rows(
        self, run: str, table: str, step_s: int, begin_s: int, end_s: int
    ) -> Iterator[tuple[int, int, EdgeRow | NodeRow]]:
        """Yield the rows of a time, with the last ones before it."""
        last = (
            f"SELECT utc_s FROM {table}_{step_s} WHERE utc_s <= ? AND utc_s > ? AND series IN ({_SERIES_OF_RUN})"
            " ORDER BY utc_s DESC LIMIT 1"
        )
        query = f"SELECT series, utc_s, * FROM {table}_{step_s} WHERE utc_s >= ? AND utc_s <= ? ORDER BY utc_s"
        before: dict[int, tuple[int, Row]] = {}
        known = self._database.execute(last, (begin_s, begin_s - GAP_ROWS_MAX * step_s, run)).fetchone()
        found = self._database.execute(query, (begin_s if known is None else known[0], end_s)).fetchall()
        if step_s > 1:  # the last coarse row may be still to come
            last_s = max((row[1] for row in found), default=begin_s)
            latest = f"SELECT series, max(utc_s), * FROM {table}_1 WHERE utc_s > ? AND utc_s <= ? GROUP BY series"
            found += self._database.execute(latest, (max(last_s, end_s - step_s), end_s)).fetchall()
        for number, utc_s, _, _, *values in found:
            row = decode_row(table, values)
            if utc_s <= begin_s:
                before[number] = utc_s, row
                continue
            if number in before:
                yield number, *before.pop(number)
            yield number, utc_s, row

    def _states(self, node: int, begin_s: int, end_s: int) -> list[NodeState]:
        """Return the states within a time, and the one before; that from when on it was so, for whatever reason."""
        run = self._database.execute
        last = run("SELECT max(id) FROM states WHERE node = ? AND utc_s <= ?", (node, begin_s)).fetchone()[0]
        rows = run(
            "SELECT utc_s, state, why FROM states WHERE node = ? AND utc_s <= ? AND (utc_s > ? OR id = ?) ORDER BY id",
            (node, end_s, begin_s, last),
        )
        found = [NodeState(*values) for values in rows]
        if found and last is not None:
            other = "SELECT id FROM states WHERE node = ? AND id < ? AND state != ? ORDER BY id DESC LIMIT 1"
            before = run(other, (node, last, found[0].state)).fetchone() or (0,)
            first = run("SELECT min(id) FROM states WHERE node = ? AND id > ?", (node, *before)).fetchone()[0]
            begun_s = run("SELECT utc_s FROM states WHERE id = ?", (first,)).fetchone()[0]
            found[0] = replace(found[0], utc_s=begun_s)
        return found

    def _step_s(self, begin_s: int, end_s: int) -> int:
        """Return the finest step whose rows are not too many, and reach back to a time, or as far as any do."""
        oldest = [self._oldest(resolution.step_s) for resolution in RESOLUTIONS]
        least = min((one for one in oldest if one is not None), default=0)
        for resolution, one in zip(RESOLUTIONS, oldest, strict=True):
            is_long = end_s - begin_s > ROWS_MAX * resolution.step_s
            if one is not None and one <= max(begin_s, least + RESOLUTIONS[-1].step_s) and not is_long:
                return resolution.step_s
        return RESOLUTIONS[-1].step_s

    def _oldest(self, step_s: int) -> int | None:
        oldest: int | None = self._database.execute(f"SELECT min(utc_s) FROM node_{step_s}").fetchone()[0]
        return oldest
