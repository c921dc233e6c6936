"""The waiting of a supervisor: for descriptors of its processes, and for moments in its seen time."""

from __future__ import annotations

import selectors
import time
from typing import Literal

from detektr.process.seen_time import SeenClock
from detektr.supervisor.managed_process import ManagedProcess

What = Literal["signal", "operator", "log", "control", "end"]


class Watch:
    """Descriptors to be read, and the clock: its time stands while this process does not run."""

    def __init__(self, signal_fd: int) -> None:
        """Watch for signals."""
        self._selector = selectors.DefaultSelector()
        self._selector.register(signal_fd, selectors.EVENT_READ, ("signal", None))
        self._clock = SeenClock(time.monotonic_ns())

    def now_ns(self) -> int:
        """Return the time as we have seen it."""
        return self._clock.seen_ns(time.monotonic_ns())

    def seen_ns(self, at_ns: int) -> int:
        """Return the seen time at a monotonic time, of whatever process."""
        return self._clock.seen_ns(at_ns)

    def wait(self, until_ns: int) -> list[tuple[What, ManagedProcess | None]]:
        """Wait until this seen time, or until something can be read; returns what, and of which process."""
        now_ns = time.monotonic_ns()
        self._clock.look(now_ns)
        wait_ns = max(0, until_ns - self._clock.seen_ns(now_ns))
        self._clock.expect(now_ns, now_ns + wait_ns)
        ready = self._selector.select(wait_ns / 1e9)
        self._clock.look(time.monotonic_ns())
        return [key.data for key, _ in ready]

    def add(self, managed: ManagedProcess) -> None:
        """Watch the line, the output and the end of a process that was just started."""
        child = managed.child
        assert child is not None
        for what, fd in (("control", child.control_fd), ("log", child.log_fd), ("end", child.end_fd)):
            self._selector.register(fd, selectors.EVENT_READ, (what, managed))

    def add_operator(self, fd: int) -> None:
        """Watch for what an operator asks for."""
        self._selector.register(fd, selectors.EVENT_READ, ("operator", None))

    def remove(self, *fds: int) -> None:
        """Watch these no longer, if they still are."""
        for fd in fds:
            if fd in self._selector.get_map():
                self._selector.unregister(fd)

    def close(self) -> None:
        """Close everything."""
        self._selector.close()
