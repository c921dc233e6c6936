"""Frames that carry their own checksum, and a processor that holds each frame against it: used by faults and chaos."""

from __future__ import annotations

import json
import mmap
import os
import signal
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detektr import Frame


class Note(NamedTuple):
    """What `Check` wrote down of one attempt at one frame."""

    camera: str
    sequence: int
    delivery: int
    is_right: bool
    """The pixels were the frame's own, at the beginning and at the end."""
    pid: int
    number: int
    """The picture's own number, from its source."""
    nodes: Sequence[str] = ()
    """Who had passed it on before, so that it came with their results."""
    missing: Mapping[str, str] = MappingProxyType({})
    """Branches that did not bring it, and why."""


HEAD = struct.Struct("<QI")  # number, checksum of the pixels behind it


def numbered(count: int = 0, width: int = 320, height: int = 240, rate: float = 0.0) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield grey pictures, each filled with a pattern of its own and headed by its number and checksum.

    Args:
        count: how many; 0: without end.
        width, height: size in pixels.
        rate: pictures a second; 0: as fast as they are taken.
    """
    number, due = 0, time.monotonic()
    noise = np.random.default_rng(1).integers(0, 256, width * height - HEAD.size, dtype=np.uint8)
    while not count or number < count:
        body = noise + np.uint8(number * 37 % 256)
        picture = np.empty(width * height, np.uint8)
        picture[: HEAD.size] = np.frombuffer(HEAD.pack(number, zlib.crc32(body.data)), np.uint8)
        picture[HEAD.size :] = body
        yield picture.reshape(height, width)
        number += 1
        if rate:
            due += 1 / rate
            wait = due - time.monotonic()
            if wait > 0:
                time.sleep(wait)  # the pace of a camera


class Check:
    """Notes each frame: sequence, delivery, whether its pixels are its own at the beginning and at the end, its way.

    Args:
        path: file that every replica appends to, one JSON list a line.
        busy_s: how long the work on a frame takes.
        poison: numbers of the pictures on which the process kills itself.
        faulty: numbers of the pictures on which `process` raises.
        stopping: numbers of the pictures on which the process stops itself (SIGSTOP) the first time.
    """

    def __init__(
        self,
        path: str,
        busy_s: float = 0.0,
        poison: tuple[int, ...] = (),
        faulty: tuple[int, ...] = (),
        stopping: tuple[int, ...] = (),
    ) -> None:
        self.path, self.busy_s, self.poison, self.faulty, self.stopping = Path(path), busy_s, poison, faulty, stopping

    def open(self) -> None:
        """Open the file for appending: a line reaches the system in one write, also before a SIGKILL."""
        self.fd = open_notes(self.path)

    def process(self, frame: Frame) -> dict[str, Any] | None:
        """Check the frame, work on it, check again, and note it."""
        note, event = self._look(frame)
        write_notes(self.fd, [note])
        return event

    def process_batch(self, frames: list[Frame]) -> list[dict[str, Any] | None]:
        """Do the same with several frames; they are noted together, if none of them raises."""
        looked = [self._look(frame) for frame in frames]
        write_notes(self.fd, [note for note, _ in looked])
        return [event for _, event in looked]

    def _look(self, frame: Frame) -> tuple[list[Any], dict[str, Any] | None]:
        flat = frame.pixels.reshape(-1)
        number, checksum = HEAD.unpack(flat[: HEAD.size].tobytes())
        if number in self.poison:
            os.kill(os.getpid(), signal.SIGKILL)
        if number in self.stopping and frame.delivery == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        if number in self.faulty:
            raise ValueError(f"picture {number} is faulty")
        is_right = zlib.crc32(flat[HEAD.size :].data) == checksum
        if self.busy_s:
            end = time.monotonic() + self.busy_s
            while time.monotonic() < end:
                is_right = is_right and HEAD.unpack(flat[: HEAD.size].tobytes()) == (number, checksum)
        is_right = is_right and zlib.crc32(flat[HEAD.size :].data) == checksum
        about = [frame.camera, frame.sequence, frame.delivery, is_right, os.getpid(), number]
        note = [*about, list(frame.results), dict(frame.missing)]
        return note, {"number": number} if number % 100 == 0 else None


class Keep(Check):
    """The same, for code that keeps state of each camera."""

    stateful = True


def wrong_pixels(notes: list[Note]) -> list[Note]:
    """Return the notes with another frame's pixels, less those of late results: refused, and worked on once more since.

    Nobody can stop a reader whose lease was ended while it was stopped; its result is what must not count.
    """
    last: dict[tuple[str, int], int] = {}
    for note in notes:
        if note.is_right:
            frame = note.camera, note.sequence
            last[frame] = max(note.delivery, last.get(frame, 0))
    return [note for note in notes if not note.is_right and note.delivery >= last.get((note.camera, note.sequence), 0)]


def open_notes(path: Path) -> int:
    """Open a file for appending, also where others do so."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def write_notes(fd: int, notes: Iterable[Any]) -> None:
    """Append these, each on a line of its own, in one write.

    A kill cuts a write off, if ever, where a page of the file ends. So each line also ends the one before it, and what
    was cut off does not count: the work that it told of was not finished.
    """
    os.write(fd, "".join([f"\n{json.dumps(note)}\n" for note in notes]).encode())


def read_lines(path: Path) -> Iterator[Any]:
    """Yield what was written, in order; nothing where there is no file yet.

    Raises:
        ValueError: there is a line that no kill can have left so.
    """
    end = 0
    for line in path.read_bytes().splitlines(keepends=True) if path.exists() else ():
        end += len(line)
        if not line.strip():
            continue
        try:
            yield json.loads(line)
        except ValueError:
            if (end - line.endswith(b"\n")) % mmap.PAGESIZE:
                raise


def read_notes(path: Path) -> list[Note]:
    """Return what `Check` noted, in order; none where there is no file yet."""
    return [Note(*note) for note in read_lines(path)]


def partly_joined(notes: list[Note], branches: Sequence[str]) -> list[Note]:
    """Return the notes of joined frames of which some branch brought neither its results nor a reason, or both."""
    whole = sorted(branches)
    return [note for note in notes if sorted([*(set(note.nodes) & set(whole)), *note.missing]) != whole]
