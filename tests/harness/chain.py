"""A chain of processors for tests: a detector that is slow, silent or at fault at times, and readers that note all."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from detektr import Frame
from tests.harness.checked import HEAD, open_notes, read_lines, write_notes


class Passed(NamedTuple):
    """What a reader noted of one frame that came to it."""

    sequence: int
    delivery: int
    number: int
    """The picture's own number, from its source."""
    results: dict[str, list[dict[str, Any]]]
    node: str
    camera: str = ""
    missing: Mapping[str, str] = MappingProxyType({})


class Detect:
    """Returns the number of each picture, after a random time, but for some: nothing, or an error.

    Args:
        busy_s: the longest time that it takes.
        silent: returns nothing for each so manyth picture; 0: for none.
        faulty: raises at each so manyth picture; 0: at none.
    """

    def __init__(self, busy_s: float = 0.002, silent: int = 0, faulty: int = 0) -> None:
        self.busy_s, self.silent, self.faulty = busy_s, silent, faulty

    def process(self, frame: Frame) -> list[dict[str, Any]] | None:
        """See the class."""
        number, _ = HEAD.unpack(frame.pixels.reshape(-1)[: HEAD.size].tobytes())
        time.sleep(random.uniform(0, self.busy_s))
        if self.faulty and number % self.faulty == self.faulty - 1:
            raise ValueError(f"picture {number} is faulty")
        if self.silent and number % self.silent == 0:
            return None
        return [{"number": number, "pid": os.getpid()}, {"before": list(frame.results)}]

    def process_batch(self, frames: list[Frame]) -> list[list[dict[str, Any]] | None]:
        """Do the same for each frame of a batch."""
        return [self.process(frame) for frame in frames]


class Note:
    """Notes each frame with its results, one JSON list a line.

    Args:
        path: of the file.
        name: under which it notes.
        busy_s: the longest time that it takes.
        returns: whether it returns something too.
        fixed_s: how long it takes beside that.
    """

    def __init__(
        self, path: str, name: str = "note", busy_s: float = 0.0, *, returns: bool = True, fixed_s: float = 0.0
    ) -> None:
        self.path, self.name, self.busy_s, self.returns, self.fixed_s = Path(path), name, busy_s, returns, fixed_s

    def open(self) -> None:
        """Open the file for appending: a line reaches the system in one write, also before a SIGKILL."""
        self.fd = open_notes(self.path)

    def process(self, frame: Frame) -> dict[str, Any] | None:
        """See the class."""
        number, _ = HEAD.unpack(frame.pixels.reshape(-1)[: HEAD.size].tobytes())
        results = {node: list(given) for node, given in frame.results.items()}
        if self.busy_s or self.fixed_s:
            time.sleep(self.fixed_s + random.uniform(0, self.busy_s))
        about = [frame.sequence, frame.delivery, number, results, self.name, frame.camera, dict(frame.missing)]
        write_notes(self.fd, [about])
        return {"seen": number} if self.returns else None


def read_passed(path: Path) -> list[Passed]:
    """Return what readers noted, in order; none where there is no file yet."""
    return [Passed(*note) for note in read_lines(path)]
