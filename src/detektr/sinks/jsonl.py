"""Events as JSON lines in a file."""

from __future__ import annotations

import base64
import contextlib
import datetime
import fcntl
import json
import math
import os
from pathlib import Path
from typing import Any

from detektr.errors import RefusedError
from detektr.sinks import Event, Sink

ROTATED_MAX = 1000
REPLACED_MAX = 1000


class JsonLines(Sink):
    """Appends one JSON object a line; each is with the operating system, whole, before `write` returns.

    Several sinks may write to one file, each in its process: its lines stay whole, and one of them rotates for all.

    Bytes become base64 text, times ISO 8601, numpy values plain ones; numbers that JSON lacks (NaN, infinity) null.

    Args:
        path: the file; a relative path begins at the folder of the pipeline file. Its folder must exist.
        rotate_bytes: a line that would make the file larger than this begins a new one; None: no limit.
        keep: how many full files stay, as path.1 (the newest) to path.N.
    Raises:
        RefusedError: the file cannot be written, or an argument is out of range.
    """

    def __init__(self, path: str | os.PathLike[str], rotate_bytes: int | None = None, keep: int = 5) -> None:
        if rotate_bytes is not None and rotate_bytes < 1:
            raise RefusedError(f"JsonLines: rotate_bytes {rotate_bytes!r} is out of range; expected 1 or more")
        if not 0 <= keep <= ROTATED_MAX:
            raise RefusedError(f"JsonLines: keep {keep!r} is out of range; expected 0 to {ROTATED_MAX}")
        self._path = Path(path)
        self._rotate_bytes = rotate_bytes
        self._keep = keep
        self._fd: int | None = None
        self._size = self._written = 0  # of the file, and up to where it is ours
        self._check()

    def open(self) -> None:
        """Open the file; a line that a power cut left unfinished is ended first, so that it spoils no other."""
        if self._fd is not None:
            return
        try:
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise RefusedError(f"JsonLines: {self._path}: {error.strerror}; name a file that can be written") from None
        self._size, self._written = os.fstat(self._fd).st_size, 0
        self._end_half()

    def write(self, event: Event | dict[str, Any]) -> None:
        """Append one event.

        Raises:
            TypeError: a value has no JSON form; says which type.
            OSError: the disk is full or gone; no half line stays.
        """
        if self._fd is None:
            self.open()
        line = encode_line(event)
        fd = self._lock()
        self._end_half()
        if self._rotate_bytes is not None and self._size and self._size + len(line) > self._rotate_bytes:
            self._rotate()
            fd = self._lock()
        try:
            self._append(line)
        finally:
            fcntl.flock(fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _check(self) -> None:
        folder = self._path.parent
        why = None
        if not folder.is_dir():
            why = f"folder {folder} does not exist; make it"
        elif self._path.is_dir():
            why = "is a folder; name a file"
        elif not os.access(self._path if self._path.exists() else folder, os.W_OK):
            why = "cannot be written by this user; name another file or allow it"
        if why is not None:
            raise RefusedError(f"JsonLines: {self._path}: {why}")

    def _lock(self) -> int:
        """Have the file that is called `path` now for ourselves: another sink may write to it, and rotate it too."""
        for _ in range(REPLACED_MAX):
            if self._fd is None:
                self.open()
            assert self._fd is not None
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            ours = os.fstat(self._fd)
            with contextlib.suppress(FileNotFoundError):
                named = os.stat(self._path)
                if (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino):
                    self._size = ours.st_size
                    return self._fd
            self.close()  # another one has rotated it meanwhile; its lock goes with it
        raise OSError(f"{self._path} was replaced {REPLACED_MAX} times while its end was looked for; see who does that")

    def _end_half(self) -> None:
        """End a line that somebody else left unfinished: in a power cut, or another sink that was killed within it."""
        assert self._fd is not None
        # A pipe or a device has the size 0, and no end to look at.
        if self._size not in (0, self._written) and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._append(b"\n")

    def _append(self, line: bytes) -> None:
        assert self._fd is not None
        written = os.write(self._fd, line)
        if written == len(line):
            self._size += written
            self._written = self._size
            return
        # The disk is full: what of the line did fit must not stay, unless somebody else wrote behind it.
        if os.fstat(self._fd).st_size == self._size + written:
            os.ftruncate(self._fd, self._size)
        raise OSError(f"{self._path}: {written} of {len(line)} bytes written; make room on its disk")

    def _rotate(self) -> None:
        """Move the files on, the youngest last: until then whoever opens `path` waits for our lock on it."""
        for number in range(self._keep, 1, -1):
            younger = Path(f"{self._path}.{number - 1}")
            if younger.exists():
                younger.replace(f"{self._path}.{number}")
        if self._keep:
            self._path.replace(f"{self._path}.1")
        else:
            self._path.unlink(missing_ok=True)
        self.close()


def encode_line(event: Event | dict[str, Any]) -> bytes:
    """Return an event as one line of JSON in UTF-8, its newline included.

    Raises:
        TypeError: a value has no JSON form; says which type.
    """
    try:
        text = json.dumps(event, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(event), ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair cannot be UTF-8; backslashreplace happens to write JSON's own escape for it.
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _plain(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "tolist"):  # numpy's scalars and arrays, without numpy
        return value.tolist()
    raise TypeError(f"JsonLines: a {type(value).__name__} has no JSON form; put plain values into events")


def _finite(value: Any) -> Any:
    """Return the value with null for each number that is not finite."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    return _finite(_plain(value))
