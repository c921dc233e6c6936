"""The table of a node that clients pull from: which frames are out at them, under which lease, and for how long.

Its process writes it before it tells a client anything, so that a successor knows what a killed one had given out. Each
row has two images: the one that does not count is written, then the word that says which of them counts. So a row is
what it was before a change or what it is after it, wherever the writer was killed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from detektr.memory import layout
from detektr.memory.segment import Segment, create_segment, open_segment

FREE: Final = 0
OUT: Final = 1  # at a client, until its lease expires
BACK: Final = 2  # it was out, and is to be given out again
DONE: Final = 3  # acked; the producer may not have heard of it
DEAD: Final = 4  # given up; the producer may not have heard of it
ENDS: Final = ("", "already", "expired")  # what a lease that has ended is answered with, by its lowest bits
_U64: Final = (1 << 64) - 1


class Row(NamedTuple):
    """One frame."""

    state: int
    """`OUT`, `BACK`, `DONE` or `DEAD`."""
    entry: int
    """Number of the input that it came from."""
    key: int
    """Its stream's."""
    sequence: int
    number: int
    """Of its lease, or the last one that it had."""
    deliveries: int
    """How often it was given out, by all processes of the node."""
    expires_ns: int
    """Monotonic time at which its lease expires."""
    request: int
    """Number of the question that it was given out for."""


_NOBODY = Row(FREE, 0, 0, 0, 0, 0, 0, 0)


class PullTable:
    """The table of this process, its only writer."""

    def __init__(self, path: Path, rows: int) -> None:
        """Go on with what a predecessor left, or make a table; one with fewer rows than needed is made anew.

        Args:
            path: the file.
            rows: how many frames may be out, or waited for to be settled, at once.
        Raises:
            NoRoomError: shared memory has not that much left.
        """
        segment = _open(path, is_writable=True)
        self.is_adopted = segment is not None
        """Whether a predecessor has left it."""
        if segment is None or segment.words[layout.PULL_WORD_ROWS] < rows:
            segment = _make(path, rows, segment)
        self._segment, self._words = segment, segment.words

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._segment.path

    @property
    def prefix(self) -> int:
        """What the names of all its leases have in common, a number below 2^32."""
        return self._words[layout.PULL_WORD_PREFIX]

    @property
    def named(self) -> int:
        """How many leases were named so far."""
        return self._words[layout.PULL_WORD_NAMED]

    @property
    def rows_max(self) -> int:
        """How many rows it has."""
        return self._words[layout.PULL_WORD_ROWS]

    def rows(self) -> Iterator[tuple[int, Row]]:
        """Yield the rows that are taken, each with its place."""
        return _rows(self._words)

    def note_named(self, count: int) -> None:
        """Say how many leases were named; before the first client hears of the last of them."""
        self._words[layout.PULL_WORD_NAMED] = count

    def write(self, place: int, row: Row) -> None:
        """Replace a row at once."""
        _write(self._words, place, row)

    def free(self, place: int) -> None:
        """Take a row away."""
        _write(self._words, place, _NOBODY)

    def note_end(self, number: int, how: str) -> None:
        """Remember how a lease has ended: `already` (it was acked) or `expired`."""
        count = self._words[layout.PULL_WORD_ENDED_COUNT]
        at = layout.PULL_WORD_ENDED + count % layout.PULL_ENDED_MAX
        self._words[at] = number << layout.PULL_ENDED_SHIFT | ENDS.index(how)
        self._words[layout.PULL_WORD_ENDED_COUNT] = count + 1

    def ends(self) -> Iterator[tuple[int, str]]:
        """Yield the leases that are known to have ended, the oldest first: number, and how."""
        count, words = self._words[layout.PULL_WORD_ENDED_COUNT], self._words
        for place in range(max(0, count - layout.PULL_ENDED_MAX), count):
            word = words[layout.PULL_WORD_ENDED + place % layout.PULL_ENDED_MAX]
            how = word & (1 << layout.PULL_ENDED_SHIFT) - 1
            if 0 < how < len(ENDS):
                yield word >> layout.PULL_ENDED_SHIFT, ENDS[how]

    def close(self, *, unlink: bool) -> None:
        """Unmap it; with `unlink`, remove the file too."""
        if unlink:
            self._segment.path.unlink(missing_ok=True)
        self._words = self._words[:0]
        self._segment.close()


def read_pull_table(path: Path) -> list[Row]:
    """Return the rows of a node's table, as any process sees them; none where there is no table."""
    segment = _open(path)
    if segment is None:
        return []
    rows = [row for _, row in _rows(segment.words)]
    segment.close()
    return rows


def _open(path: Path, *, is_writable: bool = False) -> Segment | None:
    """Map a table; None: there is none, or it is no whole one of this version."""
    try:
        if path.stat().st_size % layout.PAGE_BYTES:
            return None
    except FileNotFoundError:
        return None
    segment = open_segment(path, is_writable=is_writable)
    if segment is not None and not _is_right(segment):
        segment.close()
        return None
    return segment


def _make(path: Path, rows: int, before: Segment | None) -> Segment:
    """Make a table, with what stood in one that is too small."""

    def fill(segment: Segment) -> None:
        words = segment.words
        words[layout.PULL_WORD_ROWS] = rows
        words[layout.PULL_WORD_PREFIX] = int.from_bytes(os.urandom(4), "big")
        if before is not None:
            begin, end = layout.PULL_WORD_PREFIX, layout.PULL_WORD_FIRST_ROW
            words[begin:end] = before.words[begin:end]
            for place, row in _rows(before.words):
                _write(words, place, row)
        words[layout.PULL_WORD_VERSION] = layout.VERSION
        words[layout.PULL_WORD_MAGIC] = layout.PULL_MAGIC

    segment = create_segment(path, layout.pull_bytes(rows), fill)
    if before is not None:
        before.close()
    return segment


def _rows(words: memoryview) -> Iterator[tuple[int, Row]]:
    for place in range(words[layout.PULL_WORD_ROWS]):
        begin = layout.PULL_WORD_FIRST_ROW + place * layout.PULL_ROW_WORDS
        image = words[begin + layout.PULL_ROW_IMAGE] & 1
        at = begin + layout.PULL_ROW_IMAGES + image * layout.PULL_IMAGE_WORDS
        *fields, check = words[at : at + layout.PULL_IMAGE_WORDS].tolist()
        if FREE < fields[layout.PULL_IMAGE_STATE] <= DEAD and check == _check(fields):
            yield place, Row(*fields)


def _write(words: memoryview, place: int, row: Row) -> None:
    begin = layout.PULL_WORD_FIRST_ROW + place * layout.PULL_ROW_WORDS
    image = 1 - (words[begin + layout.PULL_ROW_IMAGE] & 1)
    at = begin + layout.PULL_ROW_IMAGES + image * layout.PULL_IMAGE_WORDS
    for word, value in enumerate((*row, _check(row))):
        words[at + word] = value
    words[begin + layout.PULL_ROW_IMAGE] = image


def _check(fields: tuple[int, ...] | list[int]) -> int:
    """Return a sum that a row has only if it was written as a whole."""
    total = layout.PULL_MAGIC
    for value in fields:
        total = (total * 31 + value) & _U64
    return total


def _is_right(segment: Segment) -> bool:
    words = segment.words
    return (
        len(words) >= layout.PULL_WORD_FIRST_ROW
        and words[layout.PULL_WORD_MAGIC] == layout.PULL_MAGIC
        and words[layout.PULL_WORD_VERSION] == layout.VERSION
        and layout.PULL_WORD_FIRST_ROW + words[layout.PULL_WORD_ROWS] * layout.PULL_ROW_WORDS <= len(words)
    )
