"""Reads the segments of a trail, also while they are written."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from detektr.telemetry.trail.rows import SPAN_MAX, DropRow, LifeRow, Row, Stream
from detektr.telemetry.trail.segments import DELIVERED_ID, SCHEMA_VERSION, segment_paths
from detektr.telemetry.trail.wanted import WantedFrame, WantedRows, time_us

_LIFE = "t, stream, seq, edge, outcome, queued_us, waited_us, worked_us, kept_us, replica, delivery, event"
_DROPS = "t, stream, edge, outcome, first, last, frames, packed"


class _Segment:
    """One file, with its dictionaries."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self.database = database
        run = database.execute
        self.streams = {
            number: Stream(node, camera, int(text, 16))
            for number, node, camera, text in run("SELECT id, node, camera, run FROM streams")
        }
        edges = run("SELECT id, place, producer, consumer FROM edges")
        self.edges: dict[int, tuple[str, str, str]] = {number: (place, *names) for number, place, *names in edges}
        self.outcomes: dict[int, str] = dict(run("SELECT id, name FROM outcomes").fetchall())

    def of_frame(self, frame: WantedFrame) -> list[Row]:
        found: list[Row] = []
        for number, stream in self.streams.items():
            if not frame.is_of(stream):
                continue
            key = number, frame.sequence
            found += self._lives("stream = ? AND seq = ?", key)
            reach = number, frame.sequence, frame.sequence + SPAN_MAX
            found += [row for row in self._drops("stream = ? AND last BETWEEN ? AND ?", reach) if frame.has(row)]
        return found

    def of_time(self, wanted: WantedRows, rows_max: int) -> list[Row]:
        edges = [number for number, (_, *names) in self.edges.items() if wanted.is_edge(*names)]
        latest_first: list[Iterable[Row]] = []
        for is_drop, read in ((False, self._lives), (True, self._drops)):
            outcomes = [number for number, name in self.outcomes.items() if wanted.is_outcome(name, is_drop=is_drop)]
            where = f"edge = ? AND t BETWEEN ? AND ? AND outcome IN ({', '.join(map(str, outcomes))})"
            if not is_drop and DELIVERED_ID not in outcomes:
                where += f" AND outcome != {DELIVERED_ID}"  # so few rows have an index of their own
            where += f" ORDER BY t DESC LIMIT {rows_max}"
            if outcomes:
                latest_first += [read(where, (edge, wanted.since_us, wanted.until_us)) for edge in edges]
        merged = heapq.merge(*latest_first, key=time_us, reverse=True)
        return list(itertools.islice(merged, rows_max))[::-1]

    def oldest_us(self) -> int | None:
        run = self.database.execute
        found = [run(f"SELECT t FROM {table} ORDER BY id LIMIT 1").fetchone() for table in ("life", "drops")]
        return min((row[0] for row in found if row is not None), default=None)

    def _lives(self, where: str, values: tuple[int, ...]) -> Iterator[Row]:
        rows = self.database.execute(f"SELECT {_LIFE} FROM life WHERE {where}", values)
        for t_us, stream, sequence, edge, outcome, *rest in rows:
            place, producer, consumer = self.edges[edge]
            about = self.streams[stream], sequence, producer, consumer, self.outcomes[outcome]
            yield LifeRow._make((t_us, place, *about, *rest))

    def _drops(self, where: str, values: tuple[int, ...]) -> Iterator[Row]:
        rows = self.database.execute(f"SELECT {_DROPS} FROM drops WHERE {where}", values)
        for t_us, stream, edge, outcome, *rest in rows:
            place, producer, consumer = self.edges[edge]
            about = self.streams[stream], producer, consumer, self.outcomes[outcome]
            yield DropRow._make((t_us // 1_000_000, place, *about, *rest))


class SegmentsReader:
    """The segments of one pipeline; those that go while we read are passed over."""

    def __init__(self, path: Path, pipeline: str) -> None:
        """Name the trail's file; nothing is opened yet."""
        self._path, self._pipeline = path, pipeline

    def of_frame(self, frame: WantedFrame) -> list[Row]:
        """Return all rows about a frame, in order of their time."""
        found = [row for segment in self._segments() for row in segment.of_frame(frame)]
        return sorted(found, key=time_us)

    def of_time(self, wanted: WantedRows) -> list[Row]:
        """Return the newest rows that are wanted, in order of their time."""
        found: list[Row] = []
        for segment in self._segments():  # the newest first
            found = segment.of_time(wanted, wanted.rows_max - len(found)) + found
            if len(found) >= wanted.rows_max:
                break
        return found

    def reaches_back_s(self) -> float | None:
        """Return the time (UTC, in seconds) of the oldest row; None: there is none."""
        times = [oldest for segment in self._segments() if (oldest := segment.oldest_us()) is not None]
        return min(times) / 1e6 if times else None

    def _segments(self) -> Iterator[_Segment]:
        for path in reversed(segment_paths(self._path, self._pipeline)):
            with contextlib.suppress(sqlite3.Error):  # removed just now, or broken: the others have what they have
                database = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)
                with contextlib.closing(database):
                    if database.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
                        database.execute("BEGIN")  # one state of the file, however many questions
                        yield _Segment(database)
