"""Copying large pictures with the help of a second thread, where copies follow each other faster so."""

from __future__ import annotations

import functools
import os
import threading
from collections import deque
from collections.abc import Callable
from statistics import fmean, median
from time import perf_counter_ns

from detektr.frame import Bytes

HUGE_BYTES = 7 << 20  # of a plane: 4K; worth waking somebody at any pace
LARGE_BYTES = 4 << 20  # 1080p in three bytes a pixel; only where one copy follows the other: else the helper comes late
PART_BYTES = 1 << 20
FIRST_COPIES = 64  # alone: pages are touched for the first time, and who reads gets going
TURN_COPIES = 128  # then so many with help, twice so many without, so many with help, as a machine's speed drifts ...
SETTLING_COPIES = 32  # ... of which the first are not counted: the turn before has left other slots in the caches
TRIAL_COPIES = 4 * TURN_COPIES
CYCLE_COPIES = 8192  # in all; then both are tried again
GAIN = 1.1  # copies that follow each other are to be so much faster for the core that help takes from others
SAME = 1.03  # gaps that differ by less than this factor are the same: a source at its own pace has such
PAUSE = 2  # times the median: no gap counts for more, as it may be the source that paused


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
        _helper().copy(target, source, is_hurried=is_hurried)


class Helper:
    """Takes parts of a copy from its end while who asked takes them from its beginning, until they meet.

    Who asked waits for the part that the helper is at, not for it to be woken.
    """

    def __init__(self) -> None:
        """Prepare; once its thread is started, it helps where that pays."""
        self.thread = threading.Thread(target=self._run, name="copying", daemon=True)
        self._parts: deque[tuple[Bytes, Bytes]] = deque()
        self._bell = threading.Semaphore(0)
        self._asked, self._at_work = threading.Lock(), threading.Lock()
        self._fault: Exception | None = None
        self._trials = {True: Trial(GAIN), False: Trial(1 / SAME)}  # by whether one copy follows the other

    def copy(self, target: Bytes, source: Bytes, *, is_hurried: bool) -> None:
        """Copy an array, in parts where that pays; returns when all of it is copied."""
        pays = self._trials[is_hurried].is_shared(perf_counter_ns())
        if not pays or not self._asked.acquire(blocking=False):  # it helps one at a time
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

    def _run(self) -> None:
        """Help whenever somebody asks."""
        while True:
            self._bell.acquire()
            with self._at_work:
                try:
                    _copy_parts(self._parts.pop)
                except Exception as fault:  # theirs, who wait for it
                    self._fault = fault


class Trial:
    """Whether help pays: who else wants the cores decides, so it is tried, by how fast copies follow each other."""

    def __init__(self, gain: float) -> None:
        """Begin a trial; help pays where copies follow each other `gain` times as fast with it."""
        self._pays, self._gain = False, gain
        self._copies, self._since_ns = -FIRST_COPIES, 0
        self._gaps_ns: dict[bool, list[int]] = {True: [], False: []}  # by whether the copy before was shared

    def is_shared(self, now_ns: int) -> bool:
        """Whether the copy that begins now is made in parts, as its turn in a trial or as the last trial said."""
        self._copies += 1
        place = (self._copies - 1) % CYCLE_COPIES if self._copies > 0 else CYCLE_COPIES
        if place > TRIAL_COPIES:
            return self._pays
        if place and (place - 1) % TURN_COPIES >= SETTLING_COPIES:
            self._gaps_ns[_has_helped_turn(place - 1)].append(now_ns - self._since_ns)
        self._since_ns = now_ns
        if place < TRIAL_COPIES:
            return _has_helped_turn(place)
        helped_ns, alone_ns = _mean(self._gaps_ns[True]), _mean(self._gaps_ns[False])
        self._gaps_ns = {True: [], False: []}
        self._pays = helped_ns * self._gain <= alone_ns
        return self._pays


def _mean(gaps_ns: list[int]) -> float:
    most_ns = PAUSE * median(gaps_ns)
    return fmean(min(gap_ns, most_ns) for gap_ns in gaps_ns)


def _has_helped_turn(place: int) -> bool:
    """Whether it is the first or the last of the four turns: what drifts steadily touches both ways alike."""
    return place // TURN_COPIES in (0, 3)


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
    helper.thread.start()
    return helper


@functools.cache
def _cores() -> int:
    return len(os.sched_getaffinity(0))
