"""A processor that keeps state for each camera, and notes what it saw: used by the tests of partitions and of time."""

from __future__ import annotations

import os
import time
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from detektr import Frame
from tests.harness.checked import open_notes, read_lines, write_notes


class Seen(NamedTuple):
    """What `Follow` wrote down of one attempt at one frame, at its end."""

    camera: str
    sequence: int
    delivery: int
    is_first_here: bool
    known: int
    """Frames of the camera that its state has seen, this one included."""
    time: float
    pid: int


class Follow:
    """Remembers each camera from its first frame here on; an event tells all that was remembered.

    Args:
        path: file that every replica appends to, one JSON list a line.
        busy_s: how long the work on a frame takes.
        faulty: sequences at whose first delivery `process` raises.
        every: an event for each so many frames of a camera.
    """

    stateful = True

    def __init__(self, path: str, busy_s: float = 0.0, faulty: tuple[int, ...] = (), every: int = 1) -> None:
        self.path, self.busy_s, self.faulty, self.every = Path(path), busy_s, faulty, every
        self.counts: dict[str, int] = {}
        self.sums: dict[str, int] = {}

    def open(self) -> None:
        """Open the file for appending: a line reaches the system in one write, also before a SIGKILL."""
        self.fd = open_notes(self.path)

    def check(self, frame: Frame) -> None:
        """Raise at the first delivery of a faulty frame."""
        if frame.sequence in self.faulty and frame.delivery == 1:
            raise ValueError(f"frame {frame.sequence} of {frame.camera} is faulty")

    def process(self, frame: Frame) -> dict[str, Any] | None:
        """Put the frame into the camera's state."""
        end = time.monotonic() + self.busy_s
        camera = frame.camera
        self.check(frame)
        if frame.is_first_here:
            self.counts[camera] = self.sums[camera] = 0
        self.counts[camera] += 1
        self.sums[camera] = zlib.crc32(frame.pixels.reshape(-1)[:64].tobytes(), self.sums[camera])
        while time.monotonic() < end:
            continue
        seen = Seen(
            camera, frame.sequence, frame.delivery, frame.is_first_here, self.counts[camera], frame.time, os.getpid()
        )
        write_notes(self.fd, [seen])
        if self.counts[camera] % self.every:
            return None
        return {"count": self.counts[camera], "sum": self.sums[camera]}


class FollowBatch(Follow):
    """The same, for lists; a list with a frame that is faulty raises before its first."""

    def process_batch(self, frames: list[Frame]) -> list[dict[str, Any] | None]:
        """Put the frames into their cameras' states."""
        for frame in frames:
            self.check(frame)
        return [self.process(frame) for frame in frames]


class Shared(Follow):
    """The same, without saying that it keeps state."""

    stateful = False


def read_seen(path: Path) -> list[Seen]:
    """Return what `Follow` noted, in the order of the ends of the work; none where there is no file yet."""
    return [Seen(*note) for note in read_lines(path)]


def of_camera(seen: list[Seen], camera: str) -> list[Seen]:
    """Return what was noted of one camera."""
    return [one for one in seen if one.camera == camera]


def assert_in_order(seen: list[Seen], camera: str, count: int) -> None:
    """Each frame of a camera was worked on, in order; one that was worked on again says so."""
    own = of_camera(seen, camera)
    order = [one.sequence for place, one in enumerate(own) if place == 0 or one.sequence != own[place - 1].sequence]
    assert order == list(range(count)), f"{camera}: {order}"
    unmarked = [one for before, one in pairwise(own) if one.sequence == before.sequence]
    assert all(one.delivery > 1 for one in unmarked), unmarked
    assert [one.time for one in own] == sorted(one.time for one in own), f"the time of {camera} went back"


def assert_told_where_it_begins(seen: list[Seen]) -> None:
    """Whoever was not the last to work on a camera was told that it begins with it, and nobody else was."""
    last: dict[str, int] = {}
    for one in seen:
        is_new = last.get(one.camera) != one.pid
        assert one.is_first_here == is_new, f"{one}, after process {last.get(one.camera)}"
        last[one.camera] = one.pid
