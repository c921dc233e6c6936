"""The one workload that detektr and every peer run: who makes the pictures, and who meters them.

A producer holds four (H, W, 3) pictures in private memory and hands them on in turn, each headed by its number and the
monotonic time just before the hand-over, so that the latency includes the copy into the transport. A meter reads that
head; its notes are judged elsewhere, by the same lines for everybody. Neither needs more than numpy.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from trial import SOCKET, Trial, load_trial

if TYPE_CHECKING:
    from detektr import Frame

PICTURES = 4
Pixels = npt.NDArray[np.uint8]


class Line:
    """The line to whoever watches the run: `tell` goes on at once, `ask` waits for the answer."""

    def __init__(self, trial: Trial) -> None:
        """Connect to the watcher of this run."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(Path(trial.folder, SOCKET)))

    def tell(self, word: bytes) -> None:
        """Say one letter."""
        self._socket.sendall(word)

    def ask(self, word: bytes) -> None:
        """Say one letter and wait until the watcher has done what it asks for."""
        self._socket.sendall(word)
        self._socket.recv(1)


def make_pictures(height: int, width: int, count: int = PICTURES) -> list[Pixels]:
    """Return `count` pictures, (height, width, 3), four of them different."""
    noise = np.random.default_rng(0)
    drawn = [noise.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(PICTURES)]
    return drawn + [drawn[number % PICTURES].copy() for number in range(PICTURES, count)]


def paced(count: int, rate: float) -> Iterator[int]:
    """Yield 0, 1, 2, ... each at its due time, counted from when the first was taken; at once where `rate` is 0."""
    yield 0
    due = time.monotonic()
    for number in range(1, count):
        if rate:
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))
        yield number


def stamp(picture: Pixels, number: int) -> None:
    """Write number and monotonic time into the first 16 bytes."""
    head = picture.reshape(-1)[:16].view(np.int64)
    head[0], head[1] = number, time.monotonic_ns()


def produce(trial: Trial, *, waits: bool = True, held: int = PICTURES) -> Iterator[Pixels]:
    """Yield the stamped pictures of a trial; returns when the end of the run has been marked.

    Args:
        trial: how many, how large, how fast.
        waits: begin when all consumers are ready; False: the system under test sees to that itself.
        held: a picture is used again after so many others.
    """
    pictures, line = make_pictures(trial.height, trial.width, held), Line(trial)
    if waits:
        line.ask(b"g")
    for number in paced(trial.count, trial.rate):
        picture = pictures[number % held]
        stamp(picture, number)
        yield picture
    line.ask(b"e")


def source(folder: str) -> Iterator[Pixels]:
    """Yield the pictures for detektr, which begins when all its nodes are ready."""
    return produce(load_trial(folder), waits=False)


class Meter:
    """Notes number, hand-over and first look of each frame, and says where the measured part begins and ends."""

    def __init__(self, folder: str, group: int = 0) -> None:
        """Take the run's folder, and which consumer this is (its replicas share the number)."""
        self.trial, self.group, self.brightest = load_trial(folder), group, 0
        self.notes: list[tuple[int, int, int]] = []
        self._next = 0

    def open(self) -> None:
        """Say that this consumer is ready."""
        self.line = Line(self.trial)
        self.line.tell(b"r")

    def process(self, frame: Frame) -> None:
        """Read the stamp of a frame of detektr."""
        self.see(frame.pixels)

    def see(self, picture: Pixels) -> None:
        """Read the stamp of a picture, and all of it where the trial says so."""
        head = picture.reshape(-1)[:16].view(np.int64)
        if self.trial.reads:
            self.brightest = int(picture.max())
        self.note(int(head[0]), int(head[1]))

    def note(self, number: int, handed_ns: int) -> None:
        """Note one frame, seen now."""
        self.notes.append((number, handed_ns, time.monotonic_ns()))
        if number >= self._next:
            self._mark(number)

    @property
    def is_done(self) -> bool:
        """Whether the last frame was seen."""
        return self._next > self.trial.count

    def _mark(self, number: int) -> None:
        last = self.trial.count - 1
        if number >= last:
            self._next = self.trial.count + 1
            self.line.ask(b"e")
        elif number >= self.trial.warm:
            self._next = last
            self.line.ask(b"w")
        else:
            self._next = self.trial.warm
            self.line.tell(b"f")

    def close(self) -> None:
        """Write the notes of this process."""
        path = Path(self.trial.folder, f"notes-{self.group}-{os.getpid()}.npy")
        np.save(path, np.array(self.notes, np.int64).reshape(-1, 3))


class Wait:
    """Passes each frame on with a small result, after a random time, as a model on another device would take it."""

    def __init__(self, busy_s: float) -> None:
        """Take the longest time."""
        self.busy_s, self.dice = busy_s, random.Random(1)

    def process(self, frame: Frame) -> dict[str, int]:
        """Wait, and return the frame's number."""
        time.sleep(self.dice.uniform(0, self.busy_s))
        return {"number": frame.sequence}


def touch(frame: Frame) -> dict[str, int]:
    """Return the sum of every 64th pixel of every 64th row: the work of one stage."""
    return {"sum": int(frame.pixels[::64, ::64].sum())}


class Stages(Meter):
    """Does the work of some stages itself, then notes the frame."""

    def __init__(self, folder: str, group: int = 0, stages: int = 1) -> None:
        """Take how many."""
        super().__init__(folder, group)
        self.stages = stages

    def process(self, frame: Frame) -> None:
        """Do the work of each stage, one after the other."""
        for _ in range(self.stages):
            touch(frame)
        super().process(frame)


class Gray(Meter):
    """Reads every 64th pixel of every 64th row of the grey view; the hand-over is when the frame was decoded."""

    touched = 0

    def process(self, frame: Frame) -> None:
        """Touch the grey view."""
        self.touched += int(frame.gray[::64, ::64].sum())
        self.note(frame.sequence, frame.captured_ns)
