"""The benchmark's pictures and the processor that meters them, run through detektr as users run theirs.

A producer holds four H x W x 3 pictures in private memory and hands them on in turn, each headed by its number and the
monotonic time just before the hand-over, so that the latency includes the copy into the slot.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detektr import Frame

Pixels = npt.NDArray[np.uint8]


def make_pictures(height: int, width: int) -> list[Pixels]:
    """Return four different (height, width, 3) pictures."""
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(4)]


def paced(count: int, rate: float) -> Iterator[int]:
    """Yield 0, 1, 2, ... each at its due time; at once where `rate` is 0."""
    due = time.monotonic()
    for number in range(count):
        if rate:
            due += 1 / rate
            time.sleep(max(0.0, due - time.monotonic()))
        yield number


def stamp(picture: Pixels, number: int) -> None:
    """Write number and monotonic time into the first 16 bytes."""
    head = picture.reshape(-1)[:16].view(np.int64)
    head[0], head[1] = number, time.monotonic_ns()


def source(count: int, rate: float, height: int, width: int) -> Iterator[Pixels]:
    """Yield `count` stamped pictures at `rate` a second."""
    pictures = make_pictures(height, width)
    for number in paced(count, rate):
        picture = pictures[number % 4]
        stamp(picture, number)
        yield picture


class Meter:
    """Notes when each frame was handed over and when it was seen; writes it down when it closes."""

    def __init__(self, folder: str) -> None:
        """Take the folder for the notes."""
        self.folder = Path(folder)
        self.numbers: list[int] = []
        self.latencies_ns: list[int] = []
        self.first_ns = self.last_ns = 0
        self.cpu_s = 0.0

    def process(self, frame: Frame) -> None:
        """Read the stamp."""
        self.see(frame.pixels)

    def see(self, picture: Pixels) -> None:
        """Note one picture."""
        head = picture.reshape(-1)[:16].view(np.int64)
        self.last_ns = time.monotonic_ns()
        self.numbers.append(int(head[0]))
        self.latencies_ns.append(self.last_ns - int(head[1]))
        if not self.first_ns:
            self.first_ns, self.cpu_s = self.last_ns, time.process_time()

    def close(self) -> None:
        """Write the notes of this process."""
        (self.folder / f"meter-{os.getpid()}.json").write_text(json.dumps(self.summary()))

    def summary(self) -> dict[str, float]:
        """Return frames, distinct ones, frames/s, p50 and p99 of the latency in ms, and CPU seconds."""
        warm = np.array(self.latencies_ns[20:] or self.latencies_ns or [0]) / 1e6
        seconds = max((self.last_ns - self.first_ns) / 1e9, 1e-9)
        return {
            "frames": len(self.numbers),
            "distinct": len(set(self.numbers)),
            "fps": (len(self.numbers) - 1) / seconds,
            "p50_ms": float(np.percentile(warm, 50)),
            "p99_ms": float(np.percentile(warm, 99)),
            "cpu_s": time.process_time() - self.cpu_s,
        }


class Gray:
    """Touches the grey view of each frame; notes how many there were and how long that took."""

    def __init__(self, folder: str) -> None:
        """Take the folder for the notes."""
        self.folder, self.frames, self.touched = Path(folder), 0, 0
        self.first_ns = self.last_ns = 0

    def process(self, frame: Frame) -> None:
        """Read every 64th pixel of every 64th row."""
        self.touched += int(frame.gray[::64, ::64].sum())
        self.frames += 1
        self.last_ns = time.monotonic_ns()
        self.first_ns = self.first_ns or self.last_ns

    def close(self) -> None:
        """Write the notes of this process."""
        seconds = max((self.last_ns - self.first_ns) / 1e9, 1e-9)
        summary = {"frames": self.frames, "fps": (self.frames - 1) / seconds}
        (self.folder / f"meter-{os.getpid()}.json").write_text(json.dumps(summary))
