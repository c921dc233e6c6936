"""Ending what a node started: its process group, but for helpers that still have to clean up after it.

Python's `multiprocessing` (and joblib's loky) start a resource tracker: a process that waits for the end of all who may
use shared memory, removes what they left, and ends. Killed with its group it would leave those files for good.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

CLEANING_NS = 2_000_000_000  # a resource tracker is done in milliseconds, once all others of its group are gone
_SWEEPS_MAX = 100  # over a group that goes on forking while it is killed
_TRACKER = b"resource_tracker import main"


class ProcessGroups:
    """The helpers of ended nodes that are given time to clean up; the rest of their groups is killed at once."""

    def __init__(self) -> None:
        """Begin without any."""
        self._cleaning: dict[int, tuple[int, int]] = {}  # process: its handle, and until when it is waited for

    def end(self, leader: int) -> None:
        """Kill what a node left behind in its process group, but for its resource trackers.

        Args:
            leader: the node, which has ended and is not reaped yet: so neither its number nor its group's is another's.
        """
        known = {leader}
        for _ in range(_SWEEPS_MAX):
            new = [pid for pid in _members(leader) if pid not in known]
            if not new:
                return
            known.update(new)
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    if _is_tracker(pid):
                        self._cleaning[pid] = os.pidfd_open(pid), time.monotonic_ns() + CLEANING_NS
                    else:
                        os.kill(pid, signal.SIGKILL)

    def look(self) -> None:
        """Let go of the helpers that have ended; kill those whose time is over."""
        now_ns = time.monotonic_ns()
        for pid, (handle, until_ns) in list(self._cleaning.items()):
            if _has_ended(handle, 0) or now_ns >= until_ns:
                self._let_go(pid)

    def close(self) -> None:
        """Wait for the helpers that are left, as long as each of them may take; none lives when this returns."""
        for pid, (handle, until_ns) in list(self._cleaning.items()):
            _has_ended(handle, max(0, until_ns - time.monotonic_ns()))
            self._let_go(pid)

    def _let_go(self, pid: int) -> None:
        handle, _ = self._cleaning.pop(pid)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)


def _has_ended(handle: int, within_ns: int) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(within_ns / 1e6))


def _members(group: int) -> Iterator[int]:
    """Yield the processes of a group, by number; those that ended and were not reaped are among them."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(ProcessLookupError):  # it ended while we looked
                if os.getpgid(int(entry.name)) == group:
                    yield int(entry.name)


def _is_tracker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False
