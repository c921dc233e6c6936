"""The processor of a soak run: it looks at each picture and notes how old the frame was by then."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

from detektr import Frame


class Sight(NamedTuple):
    """One frame as a processor saw it."""

    camera: str
    seen_ns: int
    """Monotonic time."""
    age_ns: int
    """Since its capture."""
    pid: int


class Watch:
    """Notes each frame in a file that all replicas append to."""

    def __init__(self, path: str) -> None:
        self.path = path

    def open(self) -> None:
        """Open the file: a line reaches it in one write."""
        self.file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def process(self, frame: Frame) -> None:
        """Look at every pixel row, and note the frame."""
        frame.gray.mean()
        now_ns = time.monotonic_ns()
        os.write(self.file, f"{frame.camera} {now_ns} {now_ns - frame.captured_ns} {os.getpid()}\n".encode())


def read_sights(path: Path) -> list[Sight]:
    """Return what was noted, in order of writing."""
    lines = (line.split() for line in path.read_text().splitlines()) if path.exists() else ()
    return [Sight(camera, *map(int, numbers)) for camera, *numbers in lines]
