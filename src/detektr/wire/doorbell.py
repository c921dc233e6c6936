"""Waking a process that sleeps: a named pipe that it waits on beside its sockets, and others write a byte into.

What there is to know lies in shared memory; a ring says only: look. One thread wakes, where a message wakes three.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from detektr.process.user_boundary import let_go_in_child

RING = b"!"
_READ_BYTES = 1 << 16  # what a pipe holds


class Doorbell:
    """A process's own."""

    def __init__(self, path: Path) -> None:
        """Make the pipe; one that a dead predecessor left is replaced."""
        self._path = path
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        # Open for writing too: with no other writer the pipe would seem ended, and wake for ever.
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            path.unlink()
            raise
        self._lock, self._is_closed = threading.Lock(), False
        let_go_in_child(self._leave_to_parent)

    def fileno(self) -> int:
        """Return the descriptor that can be read when somebody has rung."""
        return self._fd

    def ring(self) -> None:
        """Wake ourselves, from another thread; nothing after `close`."""
        with self._lock, contextlib.suppress(BlockingIOError):  # full of rings
            if not self._is_closed:
                os.write(self._fd, RING)

    def drain(self) -> bool:
        """Take every ring so far out of the pipe, so that it never fills up; whether there was one."""
        try:
            return bool(os.read(self._fd, _READ_BYTES))
        except BlockingIOError:  # nobody has rung
            return False

    def _leave_to_parent(self) -> None:
        """In a child: close it, and leave its name alone."""
        if not self._is_closed:
            self._is_closed = True
            os.close(self._fd)

    def close(self) -> None:
        """Close the pipe and take its name away."""
        with self._lock:
            self._is_closed = True
            os.close(self._fd)
        self._path.unlink(missing_ok=True)


class RemoteDoorbell:
    """The way to another process's doorbell."""

    def __init__(self, path: Path) -> None:
        """Open nothing yet: the other may not be there."""
        self._path = path
        self._fd = -1

    def ring(self) -> None:
        """Wake the other, if it is there; never waits."""
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._fd, RING)
        except BlockingIOError:
            return  # the pipe is full of rings
        except OSError:  # nobody is there, or no more: the kernel tells us by its lock, here there is nothing to do
            self.close()

    def close(self) -> None:
        """Close the pipe."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def ring_once(path: Path) -> None:
    """Wake the process whose doorbell lies there, if there is one."""
    doorbell = RemoteDoorbell(path)
    doorbell.ring()
    doorbell.close()
