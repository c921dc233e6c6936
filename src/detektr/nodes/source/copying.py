"""Copying large pictures with the help of a second thread, where copies follow each other faster so."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from statistics import median
from time import perf_counter_ns

from detektr.frame import Bytes

HUGE_BYTES = 7 << 20  # of a plane: 4K; worth waking somebody at any pace
LARGE_BYTES = 4 << 20  # 1080p in three bytes a pixel; only where one copy follows the other: else the helper comes late
PART_BYTES = 1 << 20
TRIAL_COPIES = 32  # so many with help, then so many without ...
CYCLE_COPIES = 1024  # ... and up to so many as it was faster; then both are tried again
SAME = 1.02  # gaps whose medians differ by less than this factor are the same: a source at its own pace has such


def copy(target: Bytes, source: Bytes, *, is_hurried: bool) -> None:
    """Copy one plane of a picture.

    Args:
        target: writeable, of the shape of `source`.
        source: (rows, ...), of any strides.
        is_hurried: the next picture is at hand, so that the copy is what takes the time.
    """
    if source.nbytes < (LARGE_BYTES if is_hurried else HUGE_BYTES) or _cores() < 2:
        target[...] = source
    else:
        _helper().copy(target, source)


class Helper(threading.Thread):
    """Takes parts of a copy from its end while who asked takes them from its beginning, until they meet.

    Who asked waits for the part that the helper is at, not for it to be woken. Whether help pays depends on who else
    wants the cores, so it is tried: what counts is how fast copies follow each other.
    """

    def __init__(self) -> None:
        """Prepare; `start` lets it help."""
        super().__init__(name="copying", daemon=True)
        self._parts: deque[tuple[Bytes, Bytes]] = deque()
        self._bell = threading.Semaphore(0)
        self._asked, self._at_work = threading.Lock(), threading.Lock()
        self._fault: Exception | None = None
        self._pays = True
        self._copies = self._since_ns = 0
        self._gaps_ns: list[int] = []  # between the copies of a trial
        self._helped_ns = 0.0

    def copy(self, target: Bytes, source: Bytes) -> None:
        """Copy an array, in parts where that pays; returns when all of it is copied."""
        if not self._is_shared() or not self._asked.acquire(blocking=False):  # it helps one at a time
            target[...] = source
            return
        try:
            rows = max(1, PART_BYTES * len(source) // source.nbytes)
            for row in range(0, len(source), rows):
                self._parts.append((target[row : row + rows], source[row : row + rows]))
            self._bell.release()
            _copy_parts(self._parts.popleft)
        finally:
            self._parts.clear()
            with self._at_work:
                fault, self._fault = self._fault, None
            self._asked.release()
        if fault is not None:
            raise fault

    def run(self) -> None:
        """Help whenever somebody asks."""
        while True:
            self._bell.acquire()
            with self._at_work:
                try:
                    _copy_parts(self._parts.pop)
                except Exception as fault:  # theirs, who wait for it
                    self._fault = fault

    def _is_shared(self) -> bool:
        """Whether the next copy is made in parts, as a trial or as the last two trials said."""
        place, self._copies = self._copies % CYCLE_COPIES, self._copies + 1
        if place > 2 * TRIAL_COPIES:
            return self._pays
        now_ns = perf_counter_ns()
        if place:
            self._gaps_ns.append(now_ns - self._since_ns)
        self._since_ns = now_ns
        if place in (TRIAL_COPIES, 2 * TRIAL_COPIES):  # the median: a source that stops for a while decides nothing
            gap_ns, self._gaps_ns = median(self._gaps_ns), []
            if place == TRIAL_COPIES:
                self._helped_ns = gap_ns
            else:
                self._pays = self._helped_ns <= gap_ns * SAME
        return self._pays if place >= 2 * TRIAL_COPIES else place < TRIAL_COPIES


def _copy_parts(take: Callable[[], tuple[Bytes, Bytes]]) -> None:
    while True:
        try:
            target, source = take()
        except IndexError:
            return
        target[...] = source


@functools.cache
def _helper() -> Helper:
    helper = Helper()
    helper.start()
    return helper


@functools.cache
def _cores() -> int:
    return len(os.sched_getaffinity(0))
