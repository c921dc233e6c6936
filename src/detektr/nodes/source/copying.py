"""Copying large pictures with the help of a second thread, as long as there is a core to spare for it."""

from __future__ import annotations

import functools
import os
import resource
import threading
from collections import deque
from collections.abc import Callable

from detektr.frame import Bytes

HUGE_BYTES = 7 << 20  # of a plane: 4K; help is always worth waking somebody
LARGE_BYTES = 4 << 20  # 1080p in three bytes a pixel; only where one copy follows the other: else the helper comes late
PART_BYTES = 1 << 20
LOOK_COPIES = 32  # so often it is looked whether the cores are short ...
ALONE_COPIES = 1024  # ... and for so many copies nobody helps when they are


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

    Who asked waits for the part that the helper is at, not for it to be woken. Where he is preempted more often than at
    every second copy, others want the cores too, and he copies alone for a while.
    """

    def __init__(self) -> None:
        """Prepare; `start` lets it help."""
        super().__init__(name="copying", daemon=True)
        self._parts: deque[tuple[Bytes, Bytes]] = deque()
        self._bell = threading.Semaphore(0)
        self._asked, self._at_work = threading.Lock(), threading.Lock()
        self._fault: Exception | None = None
        self._is_alone = False
        self._copies, self._preempted = 0, preempted()

    def copy(self, target: Bytes, source: Bytes) -> None:
        """Copy an array, in parts if there is a core to spare; returns when all of it is copied."""
        if self._is_busy() or not self._asked.acquire(blocking=False):  # by another thread: it helps one at a time
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

    def _is_busy(self) -> bool:
        """Whether, as far as was seen lately, the cores are wanted by others."""
        self._copies += 1
        if self._copies >= (ALONE_COPIES if self._is_alone else LOOK_COPIES):
            so_far = preempted()
            self._is_alone = 2 * (so_far - self._preempted) > self._copies
            self._copies, self._preempted = 0, so_far
        return self._is_alone


def preempted() -> int:
    """Return how often this thread had to leave its core to somebody else."""
    return resource.getrusage(resource.RUSAGE_THREAD).ru_nivcsw


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
