"""Copying large pictures with the help of a second thread, where they are there sooner so."""

from __future__ import annotations

import functools
import math
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
GAIN = 1.02  # help is to make it so much faster on average, for what it costs
PAUSE = 2  # times the median: no time from copy to copy counts for more, as it may be the source that paused
NICE = 10  # of the helper: who reads the frames runs first, as their slots are wanted back


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
        # By whether one copy follows the other: how soon it does so counts then, else how long a copy takes.
        self._trials = {True: Trial(PAUSE), False: Trial(math.inf)}
        self._ended_ns = 0

    def copy(self, target: Bytes, source: Bytes, *, is_hurried: bool) -> None:
        """Copy an array, in parts where that pays; returns when all of it is copied."""
        trial, began_ns = self._trials[is_hurried], perf_counter_ns()
        if trial.is_shared and self._asked.acquire(blocking=False):  # it helps one at a time
            self._share(target, source)
        else:
            target[...] = source
        before_ns, self._ended_ns = self._ended_ns, perf_counter_ns()
        trial.note(self._ended_ns - (before_ns if is_hurried else began_ns))

    def _share(self, target: Bytes, source: Bytes) -> None:
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
        """Help whenever somebody asks, in time that nobody else wants."""
        os.nice(NICE)  # of this thread alone, on Linux
        while True:
            self._bell.acquire()
            with self._at_work:
                try:
                    _copy_parts(self._parts.pop)
                except Exception as fault:  # theirs, who wait for it
                    self._fault = fault


class Trial:
    """Whether help pays: who else wants the cores decides, so it is tried, by the times that are noted of both ways."""

    def __init__(self, pause: float) -> None:
        """Begin with copies alone; in a trial no time counts for more than `pause` times the median."""
        self._pays, self._pause = False, pause
        self._place = CYCLE_COPIES - FIRST_COPIES
        self._times_ns: dict[bool, list[int]] = {True: [], False: []}  # by whether it was shared

    @property
    def is_shared(self) -> bool:
        """Whether the copy that begins now is made in parts: as its turn in a trial, or as the last one said."""
        return _is_helped_turn(self._place) if self._place < TRIAL_COPIES else self._pays

    def note(self, time_ns: int) -> None:
        """Take note of the time of a copy, which was begun as `is_shared` said."""
        place = self._place
        self._place = (place + 1) % CYCLE_COPIES
        if place < TRIAL_COPIES and place % TURN_COPIES >= SETTLING_COPIES:
            self._times_ns[_is_helped_turn(place)].append(time_ns)
        if place == TRIAL_COPIES - 1:
            helped_ns, alone_ns = self._mean(self._times_ns[True]), self._mean(self._times_ns[False])
            self._times_ns = {True: [], False: []}
            self._pays = helped_ns * GAIN <= alone_ns

    def _mean(self, times_ns: list[int]) -> float:
        most_ns = self._pause * median(times_ns)
        return fmean(min(time_ns, most_ns) for time_ns in times_ns)


def _is_helped_turn(place: int) -> bool:
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
