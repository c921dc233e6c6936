"""The file of user metrics: what the user's code in one process counts, for who serves the pipeline's metrics.

Records are appended, and never moved or removed: a metric, then a record for each of its series, with its numbers. The
process adds to the numbers in place. Each is one word, so a SIGKILL loses none that was counted, and a successor
goes on counting: counters and histograms of a node grow over its restarts, as detektr's own do. Gauges begin anew.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass
from pathlib import Path

import msgpack

from detektr.errors import NoRoomError
from detektr.memory import layout
from detektr.memory.segment import Segment, create_segment, open_segment
from detektr.metrics.declaration import (
    BUCKETS_MAX,
    HELP_CHARS_MAX,
    LABELS_MAX,
    METRICS_MAX,
    NAME_CHARS_MAX,
    OVERFLOW,
    Cells,
    Declaration,
    Kind,
    Labels,
    blank_cells,
)

_CHAR_BYTES_MAX = 4
_DECLARED_BYTES_MAX = (
    _CHAR_BYTES_MAX * HELP_CHARS_MAX + (1 + LABELS_MAX) * (NAME_CHARS_MAX + len(OVERFLOW)) + 3 * 9 * BUCKETS_MAX + 256
)
"""Of a metric and its overflow series, at most."""
_SERIES_END_MAX = layout.METRICS_BYTES_MAX - 2 * METRICS_MAX * _DECLARED_BYTES_MAX
"""Where other series must end, so that each metric always has room."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class UserSeries:
    """One series of a metric at one moment."""

    labels: Labels
    """Values, in the order of the metric's labels."""
    numbers: tuple[float, ...]
    """See `metrics.declaration.Cells`."""


@dataclass(frozen=True)
class UserMetrics:
    """What one process of a node has counted for the user."""

    node: str
    replica: int
    overflowed: int = 0
    """Values that went to an overflow series, or were left out."""
    series: tuple[tuple[Declaration, tuple[UserSeries, ...]], ...] = ()
    """By metric; without gauges that are not set."""


class UserMetricsFile:
    """The store of this process's metrics, its only writer. No file is made before there is a metric."""

    def __init__(self, path: Path) -> None:
        """Name the file; the caller knows that no other process writes it."""
        self._path = path
        self._segment: Segment | None = None
        self._has_tried = False
        self._declared: dict[str, tuple[Declaration, int]] = {}
        self._adopted: dict[int, dict[Labels, Cells]] = {}

    def declare(self, declaration: Declaration) -> dict[Labels, Cells]:
        """Take a metric, and return the series of it that a predecessor has left."""
        segment = self._open()
        if segment is None:
            return {}
        known = self._declared.get(declaration.name)
        if known is not None and known[0] == declaration:
            return self._adopted.pop(known[1], {})
        if known is not None:
            segment.words[known[1] + layout.METRIC_TYPE] = layout.METRIC_STRUCK
        text = [int(declaration.kind), declaration.name, declaration.help, declaration.labels, declaration.buckets]
        at = self._append(layout.METRIC_DECLARED, 0, msgpack.packb(text), 0, layout.METRICS_BYTES_MAX)
        if at is None:
            _log.error(
                "the metric %s is not shown, as shared memory is full; free some, then restart", declaration.name
            )
        else:
            self._declared[declaration.name] = declaration, at
        return {}

    def add(self, declaration: Declaration, labels: Labels) -> Cells | None:
        """Make a series of a metric that was taken; None: there is no room for it."""
        known = self._declared.get(declaration.name)
        is_overflow = labels == (OVERFLOW,) * len(declaration.labels)
        if known is None:  # memory was short when it was taken, which was told
            return blank_cells(declaration)
        end = layout.METRICS_BYTES_MAX if is_overflow else _SERIES_END_MAX
        text: bytes = msgpack.packb(labels)
        at = self._append(layout.METRIC_SERIES, known[1], text, declaration.cells, end)
        if at is None:
            return blank_cells(declaration) if is_overflow else None
        assert self._segment is not None
        cells = _cells(self._segment, at, declaration.cells)
        cells[:] = blank_cells(declaration)
        return cells

    def count_overflow(self) -> None:
        """Count a value that went to an overflow series, or was left out."""
        if self._segment is not None:
            self._segment.words[layout.METRICS_WORD_OVERFLOWED] += 1

    def _open(self) -> Segment | None:
        """Return the file, which is made or adopted at the first call; None: there is no room for it."""
        if not self._has_tried:
            self._has_tried = True
            try:
                segment = open_segment(self._path, is_writable=True)
                if segment is None or not _is_ours(segment):
                    segment = create_segment(self._path, layout.METRICS_BYTES_MIN, _fill)
                self._take(segment)
                self._adopt(segment)
            except (NoRoomError, OSError) as fault:
                _log.error("user metrics are counted, but not shown: their file cannot be made: %s", fault)
        return self._segment

    def _take(self, segment: Segment) -> None:
        segment.close_descriptor()  # the mapping stays
        self._segment = segment

    def _adopt(self, segment: Segment) -> None:
        """Find what a predecessor has counted; its gauges show nothing until they are set again."""
        for at, declaration, series in _Records().read(segment, segment.words[layout.METRICS_WORD_END]):
            self._declared[declaration.name] = declaration, at
            found = self._adopted[at] = {}
            for labels, begin in series.items():
                found[labels] = _cells(segment, begin, declaration.cells)
                if declaration.kind is Kind.GAUGE:
                    found[labels][0] = math.nan

    def _append(self, record_type: int, of: int, text: bytes, cells: int, bytes_max: int) -> int | None:
        """Append a record; returns the word at which it begins, None: there is no room."""
        segment = self._segment
        assert segment is not None
        text_words = -(-len(text) // layout.WORD_BYTES)
        at = segment.words[layout.METRICS_WORD_END]
        end = at + layout.METRIC_TEXT + text_words + cells
        if end * layout.WORD_BYTES > bytes_max:
            return None
        if end > len(segment.words):
            grown = self._grow(end * layout.WORD_BYTES)
            if grown is None:
                return None
            segment = grown
        words = segment.words
        words[at + layout.METRIC_WORDS] = end - at
        words[at + layout.METRIC_TYPE] = record_type
        words[at + layout.METRIC_OF] = of
        words[at + layout.METRIC_TEXT_BYTES] = len(text)
        begin = (at + layout.METRIC_TEXT) * layout.WORD_BYTES
        segment.bytes[begin : begin + len(text)] = text
        words[layout.METRICS_WORD_END] = end
        return at

    def _grow(self, nbytes: int) -> Segment | None:
        """Map a larger part of the file; numbers in the part before stay where they are, mapped twice."""
        assert self._segment is not None
        size = self._segment.bytes.nbytes
        while size < nbytes:
            size *= 2
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.posix_fallocate(fd, 0, size)
            finally:
                os.close(fd)
            segment = open_segment(self._path, is_writable=True)
        except OSError:  # shared memory is full, or our name was swept: then nobody reads it either
            return None
        if segment is not None:
            self._segment.close()
            self._take(segment)
        return segment


class _Records:
    """What is known of a file's records; those that are read are not read again, as they stay."""

    def __init__(self) -> None:
        self._end = layout.METRICS_WORD_RECORDS
        self._metrics: dict[int, tuple[Declaration, dict[Labels, int]]] = {}

    def read(self, segment: Segment, end: int) -> list[tuple[int, Declaration, dict[Labels, int]]]:
        """Return each metric that stands: where its record begins, what it is, and where each of its series begins."""
        words = segment.words
        while self._end < end:
            at = self._end
            begin = (at + layout.METRIC_TEXT) * layout.WORD_BYTES
            text = msgpack.unpackb(segment.bytes[begin : begin + words[at + layout.METRIC_TEXT_BYTES]], use_list=False)
            if words[at + layout.METRIC_TYPE] == layout.METRIC_SERIES:
                self._metrics[words[at + layout.METRIC_OF]][1][text] = at
            else:
                kind, name, help, labels, buckets = text
                self._metrics[at] = Declaration(Kind(kind), name, labels, buckets, help), {}
            self._end += words[at + layout.METRIC_WORDS]
        return [
            (at, declaration, series)
            for at, (declaration, series) in self._metrics.items()
            if words[at + layout.METRIC_TYPE] == layout.METRIC_DECLARED
        ]


class UserMetricsReader:
    """A read-only view of one process's file."""

    def __init__(self, path: Path, segment: Segment, node: str, replica: int) -> None:
        """Read the mapped file of one process of `node`."""
        self._path, self._segment, self._records = path, segment, _Records()
        self.node, self.replica = node, replica

    @property
    def is_unlinked(self) -> bool:
        """Whether the file's name is gone, or another file's."""
        return self._segment.is_unlinked

    def read(self) -> UserMetrics:
        """Return the present numbers."""
        end = self._segment.words[layout.METRICS_WORD_END]
        if end > len(self._segment.words):
            grown = open_segment(self._path)
            if grown is not None:
                self._segment.close()
                self._segment = grown
        segment, found = self._segment, []
        for _, declaration, places in self._records.read(segment, end):
            numbers = {labels: tuple(_cells(segment, at, declaration.cells)) for labels, at in places.items()}
            series = [UserSeries(*each) for each in numbers.items() if _is_shown(declaration, *each)]
            found.append((declaration, tuple(series)))
        return UserMetrics(self.node, self.replica, segment.words[layout.METRICS_WORD_OVERFLOWED], tuple(found))

    def close(self) -> None:
        """Unmap the file."""
        self._segment.close()


def open_user_metrics(path: Path, node: str, replica: int) -> UserMetricsReader | None:
    """Map a file of user metrics for reading; None: there is none, or it is another version's."""
    segment = open_segment(path)
    if segment is not None and not _is_ours(segment):
        segment.close()
        segment = None
    return None if segment is None else UserMetricsReader(path, segment, node, replica)


def _is_shown(declaration: Declaration, labels: Labels, numbers: tuple[float, ...]) -> bool:
    """Whether a series has something to show: a gauge is set, and something went to an overflow series."""
    if declaration.kind is Kind.GAUGE:
        return not math.isnan(numbers[0])
    return any(numbers) or not labels or labels != (OVERFLOW,) * len(labels)


def _cells(segment: Segment, at: int, cells: int) -> Cells:
    """Return the numbers of the series whose record begins at a word."""
    end = (at + segment.words[at + layout.METRIC_WORDS]) * layout.WORD_BYTES
    return segment.bytes[end - cells * layout.WORD_BYTES : end].cast("d")


def _is_ours(segment: Segment) -> bool:
    words = segment.words
    return (
        words[layout.METRICS_WORD_MAGIC] == layout.METRICS_MAGIC
        and words[layout.METRICS_WORD_VERSION] == layout.VERSION
    )


def _fill(segment: Segment) -> None:
    segment.words[layout.METRICS_WORD_END] = layout.METRICS_WORD_RECORDS
    segment.words[layout.METRICS_WORD_VERSION] = layout.VERSION
    segment.words[layout.METRICS_WORD_MAGIC] = layout.METRICS_MAGIC
