"""Where the audit trail of a pipeline is, and all that can be asked of it: in SQLite or in Redis."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from detektr.errors import DetektrError
from detektr.memory.run_folder import NAME, state_root
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.record import Record
from detektr.telemetry.trail.rows import Row
from detektr.telemetry.trail.wanted import WantedFrame, WantedRows, time_us

RUNS_LOOKED_AT = 20  # of a pipeline: where their trails are


class OpenTrail(Protocol):
    """A trail that can be read."""

    def of_frame(self, frame: WantedFrame) -> list[Row]:
        """Return all rows about a frame."""

    def operations_of(self, frame: str) -> list[Record]:
        """Return what was recorded about a frame by its id: attempts that failed, and why."""

    def of_time(self, wanted: WantedRows) -> list[Row]:
        """Return the newest rows that are wanted, in order of their time."""

    def operations(self, wanted: WantedRows) -> list[Record]:
        """Return what nodes and operators did in that time, the newest; only of the wanted node."""

    def reaches_back_s(self) -> float | None:
        """Return the time (UTC, in seconds) of the oldest row of a frame; None: there is none."""

    def close(self) -> None:
        """Close it."""


class SqliteTrail:
    """A trail in SQLite files."""

    def __init__(self, path: Path, pipeline: str) -> None:
        """Open the file of operations.

        Raises:
            DetektrError: it is not there, or cannot be read.
        """
        from detektr.telemetry.trail.reader import SegmentsReader

        self._path, self._pipeline = path, pipeline
        self._segments = SegmentsReader(path, pipeline)
        self.of_frame, self.of_time = self._segments.of_frame, self._segments.of_time
        self.reaches_back_s = self._segments.reaches_back_s
        try:
            self._database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
            self._database.execute("SELECT time, frame FROM records LIMIT 0")
        except sqlite3.Error as fault:
            text = f"{path} is no audit trail that can be read ({fault}); move it back, or name another in `audit`"
            raise DetektrError(text) from None

    def operations_of(self, frame: str) -> list[Record]:
        """See `OpenTrail`."""
        return self._records("frame = ? AND frame != '' ORDER BY id", (frame,))

    def operations(self, wanted: WantedRows) -> list[Record]:
        """See `OpenTrail`."""
        where, values = "pipeline = ? AND time BETWEEN ? AND ?", [self._pipeline, *_span(wanted)]
        if wanted.node:
            where += " AND (node = ? OR node LIKE ? ESCAPE '!')"
            values += [wanted.node, wanted.node.replace("_", "!_") + ".%"]
        return self._records(f"{where} ORDER BY id DESC LIMIT {wanted.rows_max}", tuple(values))[::-1]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _records(self, where: str, values: tuple[str, ...]) -> list[Record]:
        query = f"SELECT time, node, event, data, frame FROM records WHERE {where}"
        try:
            return [Record(*row) for row in self._database.execute(query, values)]
        except sqlite3.Error as fault:
            raise DetektrError(f"{self._path} cannot be read now ({fault}); try again, or move it away") from None


class RedisTrail:
    """A trail in streams of Redis. A frame is looked for from its capture on, among a bounded number of entries."""

    LATE_MS = 600_000  # a row is told, and stored, within this time after the frame was captured
    LOOKED_AT_MAX = 300_000  # entries of a stream, for one frame

    def __init__(self, url: str, pipeline: str, prefix: str) -> None:
        """Read the address."""
        from detektr.telemetry.audit_redis import RedisReader

        self._reader, self._pipeline = RedisReader(url, prefix), pipeline
        self.reaches_back_s = self._reader.reaches_back_s

    def of_frame(self, frame: WantedFrame) -> list[Row]:
        """See `OpenTrail`."""
        if frame.captured_ms is None:
            raise DetektrError(f"a trail in Redis has no index by number: write the frame's id instead of {frame.text}")
        rows = self._reader.rows(
            self._pipeline, frame.captured_ms - 1000, frame.captured_ms + self.LATE_MS, self.LOOKED_AT_MAX
        )
        return [row for row in rows if frame.has(row)]

    def operations_of(self, frame: str) -> list[Record]:
        """See `OpenTrail`."""
        begin_ms = int(frame.partition("_")[0]) - 1000
        found = self._reader.operations(self._pipeline, begin_ms, begin_ms + self.LATE_MS)
        return [record for record in found if record.frame == frame]

    def of_time(self, wanted: WantedRows) -> list[Row]:
        """See `OpenTrail`."""
        begin_ms, end_ms = wanted.since_us // 1000, wanted.until_us // 1000 + self.LATE_MS
        rows = self._reader.latest_rows(self._pipeline, begin_ms, end_ms, self.LOOKED_AT_MAX)
        found = [row for row in rows if wanted.has(row) and wanted.since_us <= time_us(row) <= wanted.until_us]
        return sorted(found, key=time_us)[-wanted.rows_max :]

    def operations(self, wanted: WantedRows) -> list[Record]:
        """See `OpenTrail`."""
        begin, end = _span(wanted)
        found = self._reader.operations(self._pipeline, wanted.since_us // 1000, None)
        inside = [one for one in found if begin <= one.time <= end]
        mine = [one for one in inside if not wanted.node or f"{one.node}.".startswith(f"{wanted.node}.")]
        return mine[-wanted.rows_max :]

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()


def _span(wanted: WantedRows) -> tuple[str, str]:
    import datetime

    def utc(at_us: int) -> str:
        return datetime.datetime.fromtimestamp(at_us / 1e6, datetime.UTC).isoformat(timespec="microseconds")

    return utc(wanted.since_us), utc(wanted.until_us)


def open_trails(name: str | None = None) -> Iterator[tuple[str, OpenTrail]]:
    """Yield each trail of the last runs of a pipeline, or of all, the newest first, with the pipeline's name.

    Each is closed when the next one is asked for.

    Raises:
        DetektrError: a trail cannot be read; when all the others have been asked.
    """
    names, faults = [name] if name is not None else known_pipelines(), list[DetektrError]()
    for one in names:
        seen = set()
        for record in reversed(RunRecords(state_root() / one).all()[-RUNS_LOOKED_AT:]):
            place = str(record.get("audit", "none")), str(record.get("audit_prefix", ""))
            if place in seen or place[0] == "none":
                continue
            seen.add(place)
            try:
                trail = open_trail_of(record)
            except DetektrError as fault:  # another one may have what is wanted
                faults.append(fault)
                continue
            with contextlib.closing(trail):
                yield one, trail
    if faults:
        raise faults[0]


def known_pipelines() -> list[str]:
    """Return the pipelines that have a record of a run, the one that ran last first."""
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in state_root().iterdir():
            if NAME.match(path.name) and (ids := RunRecords(path).ids()):
                found.append((ids[-1], path.name))
    return [name for _, name in sorted(found, reverse=True)]


def open_trail_of(record: dict[str, Any]) -> OpenTrail:
    """Open the trail of a run, by its record.

    Raises:
        DetektrError: it has none, or that cannot be read.
    """
    place, prefix, pipeline = str(record.get("audit", "none")), str(record.get("audit_prefix", "")), record["pipeline"]
    kind, _, path = place.partition(":")
    if kind == "sqlite":
        return SqliteTrail(Path(path), pipeline)
    if kind in ("redis", "rediss"):
        return RedisTrail(_with_password(place, Path(record["file"])), pipeline, prefix)
    raise DetektrError(
        f"pipeline {pipeline!r} kept no audit trail in run {record['run']}; write e.g. `audit: sqlite:audit.db` in"
        f" {record['file']}"
    )


def share_of(record: dict[str, Any]) -> int:
    """Return how many of 2^32 frames the trail of a run has whatever becomes of them; 0: it has none."""
    from detektr.config.pipeline_options import AuditOptions

    to, frames = str(record.get("audit", "none")), str(record.get("audit_frames", "dropped"))
    return AuditOptions(to=to, frames=frames).share or 0


def _with_password(place: str, file: Path) -> str:
    """Return an address as the pipeline file has it, where the record of the run has its password masked."""
    if "***" not in place:
        return place
    from detektr.config.load import load_pipeline
    from detektr.redaction import redact

    address = load_pipeline(file).options.audit.to
    if redact(address) != place:
        raise DetektrError(
            f"{file} names another trail than that of the run ({place}); write the run's trail there, then ask again"
        )
    return address
