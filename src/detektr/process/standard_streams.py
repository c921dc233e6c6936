"""Descriptors 0, 1 and 2: they are there before anything is opened, and one that cannot be written costs itself only.

Cron jobs and small init programs start commands with some of them closed. Then the first files that a command opens
get their numbers, and what a library writes to "stderr" goes into a socket or a file of shared memory.
"""

from __future__ import annotations

import io
import os
import select
import sys
from typing import Any, TextIO


def open_missing_streams() -> None:
    """Make /dev/null of each standard descriptor that is closed; to be called before anything else is opened."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:  # it is closed, and the lowest that is: all below it are open by now
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != fd:
                os.dup2(opened, fd)
                os.close(opened)
            os.set_inheritable(fd, True)


def open_streams() -> None:
    """Open what is missing of descriptors and of Python's files on them, for a command of ours."""
    open_missing_streams()
    if sys.stdin is None:
        sys.stdin = _open(0, "r")
    if sys.stdout is None:
        sys.stdout = _open(1, "w")
    if sys.stderr is None:
        sys.stderr = _open(2, "w")


def _open(fd: int, mode: str) -> TextIO:
    return io.TextIOWrapper(open(fd, f"{mode}b", closefd=False), errors="backslashreplace", line_buffering=True)


def keep_streams() -> None:
    """Let what cannot be written to stdout or stderr be lost from now on, and nothing else with it.

    For processes whose work is not their output: a terminal that is gone, a full disk behind `>` or a reader that has
    left raise in nobody's `print`, ours or the user's, and do not change how the process ends.
    """
    sys.stdout, sys.stderr = _lasting(sys.stdout, 1, "stdout"), _lasting(sys.stderr, 2, "stderr")


def _lasting(stream: TextIO, fd: int, name: str) -> TextIO:
    if type(stream) is not io.TextIOWrapper or stream.fileno() != fd:
        return stream  # somebody has put another one in its place
    stream.flush()
    raw = LastingOutput(fd, name)
    buffer: Any = raw if stream.write_through else io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class LastingOutput(io.FileIO):
    """A descriptor to be written to, that takes what it cannot write as written; the first time it says so."""

    def __init__(self, fd: int, name: str) -> None:
        """Write to `fd`, which stays open when this is closed."""
        super().__init__(fd, "w", closefd=False)
        self._called, self._is_told = name, False

    def write(self, data: Any, /) -> int:
        """Write, or lose, all of it."""
        left = memoryview(data).cast("B")
        nbytes = left.nbytes
        try:
            while left:
                written = super().write(left)
                if written is None:  # somebody made the terminal non-blocking
                    select.select([], [self.fileno()], [])
                left = left[written or 0 :]
        except OSError as fault:
            self._tell(fault)
        return nbytes

    def _tell(self, fault: OSError) -> None:
        if self._is_told or self.fileno() == 2:
            return
        self._is_told = True
        print(f"{self._called} cannot be written ({fault.strerror}): all that belongs there is lost", file=sys.stderr)
