"""A bounded first-in, first-out store of audit records: in memory while all goes well, in files when it does not."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import re
import secrets
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from detektr.errors import RefusedError

SPOOL_BYTES_MAX = 64 << 20  # about 250,000 records
SEGMENT_BYTES_MAX = 1 << 20
MEMORY_RECORDS_MAX = 2048
_SEGMENT_NAME = re.compile(r"^(\d{6,})-([0-9a-f]{16})-(\d{12})\.jsonl$")  # run, writer, index of the first line


class Batch(NamedTuple):
    """The oldest records: `first` is the index of the first line among those of `writer`, 0 being its first ever.

    Writer and index stay with a record for good, so that a store can tell which ones it has already.
    """

    writer: str
    first: int
    lines: tuple[str, ...]
    end: int


@dataclass
class _Segment:
    path: Path
    writer: str
    first: int
    start: int  # place of the first line in the whole queue, as are `end` and `at`
    lines: int
    nbytes: int
    at: int
    offset: int = 0  # byte at which line `at` begins

    @property
    def end(self) -> int:
        return self.start + self.lines


class Spool:
    """The queue. Any thread may call it; a call may take as long as the disk takes.

    Files outlive the process (not a power cut: they are not synced); a new one on the same folder begins with them.
    When the files reach `bytes_max` the oldest file goes; when they cannot be written the oldest records in memory go.
    Either way they are counted in `lost`.
    """

    def __init__(
        self, folder: Path, bytes_max: int = SPOOL_BYTES_MAX, memory_records_max: int = MEMORY_RECORDS_MAX
    ) -> None:
        """Take over the folder, with the records that an earlier process left in it.

        Raises:
            RefusedError: the folder cannot be made or written, or another process uses it.
        """
        self.lost = 0
        self.fault = ""
        """Why the last write to the folder failed; empty: it did not."""
        self.is_kept_on_disk = False
        """True: every record goes to the files at once, so that a kill loses none."""
        self._folder = folder
        self._bytes_max = bytes_max
        self._segment_bytes_max = min(SEGMENT_BYTES_MAX, max(1, bytes_max // 8))
        self._memory_max = memory_records_max
        self._memory: deque[str] = deque()
        self._guard = threading.Lock()
        self._writer = secrets.token_hex(8)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as fault:
            raise RefusedError(
                f"audit: the spool folder {str(folder)!r} cannot be written ({fault.strerror}); "
                "give this user the right to write there, or set `audit: none`"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise RefusedError(
                f"audit: the spool folder {str(folder)!r} is used by another process; stop that one first"
            ) from None
        try:
            self._segments, self._run = _find_segments(folder)
        except OSError as fault:
            os.close(self._lock)
            raise RefusedError(
                f"audit: the spool file {str(fault.filename)!r} cannot be read ({fault.strerror}); "
                "give this user the right to read it, or remove it"
            ) from None
        self._base = self._segments[-1].end if self._segments else 0
        self._head = 0
        self._end = self._base

    @property
    def waiting(self) -> int:
        """Records that are in the queue."""
        with self._guard:
            return self._count_waiting()

    def append(self, lines: Sequence[str]) -> None:
        """Put records at the end; the oldest go, counted, when there is no room for them."""
        with self._guard:
            self._memory.extend(lines)
            self._end += len(lines)
            if self.is_kept_on_disk or len(self._memory) > self._memory_max:
                self._write_memory()
            excess = len(self._memory) - self._memory_max
            for _ in range(excess):
                self._memory.popleft()
            self.lost += max(0, excess)

    def spill(self) -> None:
        """Move records from memory to the files; if these cannot be written, the records stay in memory."""
        with self._guard:
            self._write_memory()

    def peek(self, records_max: int) -> Batch | None:
        """Return the oldest records, at most so many, all of one writer; None: the queue is empty."""
        with self._guard:
            while self._segments:
                segment = self._segments[0]
                self._head = max(self._head, segment.start)
                lines = _read(segment, self._head, records_max)
                if lines:
                    first = segment.first + self._head - segment.start
                    return Batch(segment.writer, first, lines, self._head + len(lines))
                self._forget_oldest()  # its file has gone or was cut short by somebody else
            if not self._memory:
                return None
            self._head = self._end - len(self._memory)
            lines = tuple(itertools.islice(self._memory, records_max))
            return Batch(self._writer, self._head - self._base, lines, self._head + len(lines))

    def advance(self, batch: Batch) -> None:
        """Take a peeked batch off the queue: it is stored."""
        with self._guard:
            self._head = max(self._head, batch.end)
            while self._segments and self._segments[0].end <= self._head:
                self._forget_oldest()
            while self._memory and self._end - len(self._memory) < self._head:
                self._memory.popleft()

    def close(self) -> None:
        """Write the remaining records to files and release the folder; a later process sends them."""
        with self._guard:
            self._write_memory()
            self.lost += len(self._memory)  # could not be written, and ends with this process
            self._memory.clear()
        os.close(self._lock)

    def _count_waiting(self) -> int:
        return sum(segment.end - max(self._head, segment.start) for segment in self._segments) + len(self._memory)

    def _write_memory(self) -> None:
        while self._memory:
            segment = self._open_segment()
            count = _count_fitting(self._memory, self._segment_bytes_max - segment.nbytes)
            payload = "".join(line + "\n" for line in itertools.islice(self._memory, count)).encode("ascii")
            try:
                _append(segment, payload)
            except OSError as fault:
                self.fault = fault.strerror or type(fault).__name__
                if not segment.lines:
                    self._segments.remove(segment)
                return
            self.fault = ""
            segment.lines += count
            segment.nbytes += len(payload)
            for _ in range(count):
                self._memory.popleft()
            while sum(each.nbytes for each in self._segments) > self._bytes_max and len(self._segments) > 1:
                self._forget_oldest()

    def _open_segment(self) -> _Segment:
        """Return the file that the oldest record in memory goes to: the last one if it has room and ends just there."""
        start = self._end - len(self._memory)
        if self._segments:
            last = self._segments[-1]
            if last.writer == self._writer and last.end == start and last.nbytes < self._segment_bytes_max:
                return last
        first = start - self._base
        path = self._folder / f"{self._run:06d}-{self._writer}-{first:012d}.jsonl"
        segment = _Segment(path, self._writer, first, start, lines=0, nbytes=0, at=start)
        self._segments.append(segment)
        return segment

    def _forget_oldest(self) -> None:
        segment = self._segments.pop(0)
        self.lost += max(0, segment.end - max(self._head, segment.start))
        self._head = max(self._head, segment.end)
        # A file that stays is sent again by the next process, and the store knows its records.
        with contextlib.suppress(OSError):
            segment.path.unlink()


def _find_segments(folder: Path) -> tuple[list[_Segment], int]:
    """Return the files that are there, oldest first, and the number of the run that begins now."""
    found = sorted(
        (int(match[1]), match[2], int(match[3]), path)
        for path in folder.iterdir()
        if (match := _SEGMENT_NAME.match(path.name))
    )
    segments: list[_Segment] = []
    start = 0
    for _, writer, first, path in found:
        content = path.read_bytes()
        lines = content.count(b"\n")  # a line that a kill cut short has no end and is not a record
        segments.append(_Segment(path, writer, first, start, lines, len(content), at=start))
        start += lines
    return segments, 1 + max((run for run, *_ in found), default=0)


def _count_fitting(lines: Iterable[str], room_bytes: int) -> int:
    """Return how many of the lines fit with their line ends, and at least one."""
    sizes = itertools.accumulate(len(line) + 1 for line in lines)
    return max(1, sum(1 for _ in itertools.takewhile(lambda size: size <= room_bytes, sizes)))


def _read(segment: _Segment, head: int, records_max: int) -> tuple[str, ...]:
    try:
        with segment.path.open("rb") as file:
            file.seek(segment.offset)
            while segment.at < head:
                segment.offset += len(file.readline())
                segment.at += 1
            count = min(records_max, segment.end - head)
            lines = [file.readline() for _ in range(count)]
    except OSError:
        return ()
    return tuple(line[:-1].decode("ascii", "replace") for line in lines if line.endswith(b"\n"))


def _append(segment: _Segment, payload: bytes) -> None:
    """Write all of it or, raising, nothing: half a record would shift every index after it."""
    file = os.open(segment.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        written = segment.nbytes
        view = memoryview(payload)
        while view:
            count = os.pwrite(file, view, written)
            written += count
            view = view[count:]
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(file, segment.nbytes)
        raise
    finally:
        os.close(file)
