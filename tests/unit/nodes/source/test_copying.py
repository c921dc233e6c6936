"""Copies in parts: all of it arrives, whoever copies it, and nobody waits for help that does not come."""

from __future__ import annotations

import math
import os
import threading
from typing import Any

import numpy as np
import pytest

from detektr.frame import Bytes
from detektr.nodes.source.copying import (
    CYCLE_COPIES,
    FIRST_COPIES,
    NICE,
    PART_BYTES,
    PAUSE,
    SETTLING_COPIES,
    TRIAL_COPIES,
    TURN_COPIES,
    Helper,
    Trial,
    copy,
)
from detektr.testing.interpreted import interpreted

(copying,) = interpreted("detektr.nodes.source.copying")  # for stand-ins
HUGE, LARGE, SMALL = (2160, 3840), (1080, 1920, 3), (480, 640, 3)


def picture(shape: tuple[int, ...], seed: int = 0) -> Bytes:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class Parts:
    """Stands in for the helper of this process and counts what it is asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def copy(self, target: Bytes, source: Bytes, *, is_hurried: bool) -> None:
        self.asked += 1
        target[...] = source


def helping() -> Helper:
    """Return one that has just begun its first turn of helping with copies that follow each other."""
    helper, dot = Helper(), np.zeros((1, 1), np.uint8)
    for _ in range(FIRST_COPIES):
        helper.copy(dot, dot, is_hurried=True)
    return helper


@pytest.mark.parametrize("is_hurried", [False, True])
@pytest.mark.parametrize("shape", [HUGE, LARGE, SMALL, (1, PART_BYTES * 9), (PART_BYTES * 9, 1), (3, 3_000_001)])
def test_a_copy_is_the_same_picture_whatever_its_shape(shape: tuple[int, ...], *, is_hurried: bool) -> None:
    source, target = picture(shape), np.zeros(shape, np.uint8)
    copy(target, source, is_hurried=is_hurried)
    assert np.array_equal(target, source)


@pytest.mark.parametrize(
    "turned", [lambda array: array[::-1], lambda array: array[:, ::-1], lambda array: array[:, :-7]]
)
def test_a_copy_of_any_strides_is_the_same_picture(turned: Any) -> None:
    source = turned(picture(HUGE))
    target = np.zeros(source.shape, np.uint8)
    copy(target, source, is_hurried=True)
    assert np.array_equal(target, source)


@pytest.mark.parametrize(
    ("shape", "is_hurried", "asked"),
    [(HUGE, False, 1), (HUGE, True, 1), (LARGE, False, 0), (LARGE, True, 1), (SMALL, True, 0)],
)
def test_help_is_asked_for_where_it_comes_in_time(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], *, is_hurried: bool, asked: int
) -> None:
    parts = Parts()
    monkeypatch.setattr(copying, "_helper", lambda: parts)
    monkeypatch.setattr(copying, "_cores", lambda: 2)
    copying.copy(np.zeros(shape, np.uint8), picture(shape), is_hurried=is_hurried)
    assert parts.asked == asked


def test_nobody_is_asked_on_one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts()
    monkeypatch.setattr(copying, "_helper", lambda: parts)
    monkeypatch.setattr(copying, "_cores", lambda: 1)
    copying.copy(np.zeros(HUGE, np.uint8), picture(HUGE), is_hurried=True)
    assert parts.asked == 0


def test_a_helper_that_never_comes_is_not_waited_for() -> None:
    source, target = picture(LARGE), np.zeros(LARGE, np.uint8)
    helping().copy(target, source, is_hurried=True)  # not started
    assert np.array_equal(target, source)


def test_a_copy_is_over_only_when_the_helper_s_part_is() -> None:
    source, target = picture(LARGE), np.zeros(LARGE, np.uint8)
    is_begun, may_end = threading.Event(), threading.Event()

    class Late(np.ndarray[Any, np.dtype[np.uint8]]):
        """The part that the helper takes, the last one: written when it is let."""

        def __setitem__(self, where: Any, value: Any) -> None:
            is_begun.set()
            may_end.wait()
            super().__setitem__(where, value)

    helper = helping()
    rows = PART_BYTES * LARGE[0] // source.nbytes
    helper._parts.append((target[-rows:].view(Late), source[-rows:]))
    helper._bell.release()
    helper.thread.start()
    is_begun.wait()
    asking = threading.Thread(target=helper.copy, args=(target[:-rows], source[:-rows]), kwargs={"is_hurried": True})
    asking.start()
    while not np.array_equal(target[:-rows], source[:-rows]):  # what who asked copies
        asking.join(timeout=0.01)
    asking.join(timeout=0.1)
    assert asking.is_alive()
    assert not target[-rows:].any()
    may_end.set()
    asking.join()
    assert np.array_equal(target, source)


def test_a_part_that_the_helper_cannot_copy_is_the_asker_s_fault_too() -> None:
    class Broken(np.ndarray[Any, np.dtype[np.uint8]]):
        def __setitem__(self, where: Any, value: Any) -> None:
            raise MemoryError("no room")

    source, target = picture(LARGE), np.zeros(LARGE, np.uint8)
    helper = helping()
    helper.thread.start()
    with pytest.raises(MemoryError, match="no room"):
        helper.copy(target.view(Broken), source, is_hurried=True)
    assert not helper._parts
    helper.copy(target, source, is_hurried=True)
    assert np.array_equal(target, source)
    assert helper.thread.is_alive()


def test_two_who_ask_at_once_get_their_own_pictures() -> None:
    helper, wrong = helping(), list[int]()
    helper.thread.start()

    def ask(seed: int) -> None:
        source, target = picture(LARGE, seed), np.zeros(LARGE, np.uint8)
        for _ in range(20):
            target[...] = 0
            helper.copy(target, source, is_hurried=True)
            if not np.array_equal(target, source):
                wrong.append(seed)

    asking = [threading.Thread(target=ask, args=(seed,)) for seed in range(3)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert wrong == []


@pytest.mark.parametrize(
    ("helped_us", "alone_us", "pays"),
    [(90, 100, True), (99, 100, False), (110, 100, False)],  # not for so little: help costs something too
)
def test_both_ways_are_tried_by_turns_and_the_better_one_is_kept_until_both_are_tried_again(
    helped_us: int, alone_us: int, *, pays: bool
) -> None:
    trial = Trial(PAUSE)

    def copies(count: int, helped_us: int, alone_us: int) -> list[bool]:
        made = []
        for place in range(count):
            made.append(trial.is_shared)
            speed = 1 + place / count  # the machine gets slower all the time
            if place % TURN_COPIES < SETTLING_COPIES:
                speed *= 1 if made[-1] else 3  # the slots are others than in the turn before
            paused_us = 10_000_000 if place == SETTLING_COPIES else 0
            trial.note(1000 * (round((helped_us if made[-1] else alone_us) * speed) + paused_us))
        return made

    turns = [True] * TURN_COPIES + [False] * 2 * TURN_COPIES + [True] * TURN_COPIES
    rest = CYCLE_COPIES - TRIAL_COPIES
    assert copies(FIRST_COPIES, 100, 100) == [False] * FIRST_COPIES
    for _ in range(2):
        assert copies(TRIAL_COPIES, helped_us, alone_us) == turns
        assert copies(rest, helped_us, alone_us) == [pays] * rest
    assert copies(TRIAL_COPIES, 150, 100) == turns
    assert copies(rest, 150, 100) == [False] * rest, "the others need the cores now"


@pytest.mark.parametrize("is_hurried", [True, False])
def test_noted_is_the_time_between_copies_or_of_the_copy(monkeypatch: pytest.MonkeyPatch, *, is_hurried: bool) -> None:
    """The first where copies follow each other, else the second, in which no pause of the source is."""
    now_us = 0

    class Timed(np.ndarray[Any, np.dtype[np.uint8]]):
        def __setitem__(self, where: Any, value: Any) -> None:
            nonlocal now_us
            now_us += 100

    helper, dot = copying.Helper(), np.zeros((1, 1), np.uint8)
    monkeypatch.setattr(copying, "perf_counter_ns", lambda: now_us * 1000)
    noted = list[int]()
    trial = helper._trials[is_hurried]
    monkeypatch.setattr(trial, "note", noted.append)
    for pause_us in (20, 40, 1_000_000):
        helper.copy(dot.view(Timed), dot, is_hurried=is_hurried)
        now_us += pause_us
    helper.copy(dot.view(Timed), dot, is_hurried=is_hurried)
    assert noted[1:] == ([120_000, 140_000, 1_000_100_000] if is_hurried else [100_000] * 3)


def test_a_helper_that_keeps_one_waiting_is_done_without() -> None:
    """At a source's own pace one copy in a hundred that waits long for the helper outweighs what the others gain."""
    trial = Trial(math.inf)
    for place in range(FIRST_COPIES + TRIAL_COPIES):
        helped_us = 9000 if place % 100 == 99 else 950
        trial.note(1000 * (helped_us if trial.is_shared else 1000))
    assert not trial.is_shared


def test_the_helper_steps_back_for_others_and_who_asks_it_does_not() -> None:
    helper, target = helping(), np.zeros(LARGE, np.uint8)
    before = os.getpriority(os.PRIO_PROCESS, 0)
    is_begun = threading.Event()

    class Noting(np.ndarray[Any, np.dtype[np.uint8]]):
        def __setitem__(self, where: Any, value: Any) -> None:
            priorities[threading.get_native_id()] = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
            is_begun.set()

    priorities: dict[int, int] = {}
    helper.thread.start()
    helper._parts.append((target.view(Noting), target))
    helper._bell.release()
    is_begun.wait()
    assert priorities == {helper.thread.native_id: min(before + NICE, 19)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_a_copy_is_shared_in_the_turns_of_the_trial_of_its_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    helper, shared = copying.Helper(), list[bool]()
    monkeypatch.setattr(helper._bell, "release", lambda: shared.append(True))
    source, target = picture((64, 64)), np.zeros((64, 64), np.uint8)
    for _ in range(FIRST_COPIES + 4 * TURN_COPIES):
        helper.copy(target, source, is_hurried=True)
    assert len(shared) == 2 * TURN_COPIES
    for _ in range(FIRST_COPIES):
        helper.copy(target, source, is_hurried=False)
    assert len(shared) == 2 * TURN_COPIES, "they are tried apart"
