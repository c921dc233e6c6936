"""Copying large pictures with the help of a second thread, as long as there is a core to spare for it."""

from __future__ import annotations

import functools
import os
import resource
import threading
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
HUGE_BYTES = 7 << 20  # of a plane: 4K; help is always worth waking somebody
LARGE_BYTES = 4 << 20  # 1080p in three bytes a pixel; only where one copy follows the other: else the helper comes late
PART_BYTES = 1 << 20
LOOK_COPIES = 32  # so often it is looked whether the cores are short ...
ALONE_COPIES = 1024  # ... and for so many copies nobody helps when they are


def copy(target: Bytes, source: Bytes, *, is_hurried: bool) -> None:
    """Copy one plane of a picture; for one thread of the process at a time.

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

    Who asked waits for the one part that the helper is at, never for the helper to come. Where he is preempted more
    often than at every second copy, others want the cores too, and he copies alone for a while.
    """

    def __init__(self) -> None:
        """Prepare; `start` lets it help."""
        super().__init__(name="copying", daemon=True)
        self._parts: deque[tuple[Bytes, Bytes]] = deque()
        self._bell = threading.Semaphore(0)
        self._at_work = threading.Lock()
        self._is_alone = False
        self._copies, self._preempted = 0, preempted()

    def copy(self, target: Bytes, source: Bytes) -> None:
        """Copy an array, in parts if there is a core to spare; returns when all of it is copied."""
        self._copies += 1
        if self._copies >= (ALONE_COPIES if self._is_alone else LOOK_COPIES):
            self._look()
        if self._is_alone:
            target[...] = source
            return
        rows = max(1, PART_BYTES * len(source) // source.nbytes)
        self._parts.extend((target[row : row + rows], source[row : row + rows]) for row in range(0, len(source), rows))
        self._bell.release()
        _copy_parts(self._parts.popleft)
        with self._at_work:
            return

    def run(self) -> None:
        """Help whenever somebody asks."""
        while True:
            self._bell.acquire()
            with self._at_work:
                _copy_parts(self._parts.pop)

    def _look(self) -> None:
        so_far = preempted()
        self._is_alone = 2 * (so_far - self._preempted) > self._copies
        self._copies, self._preempted = 0, so_far


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
