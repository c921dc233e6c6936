"""A shop with three cameras, healthy and in five ways sick: what page, `top` and `why` are to say of it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.cameras.rtsp_servers import RtspServer, make_clip

SMALL_MIB = 64
CODE = '''
import time
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, SIDE = 320, 240, 48


def pictures(shade=40, rate=8):
    """A dark room, and something white that goes from left to right."""
    begun = time.monotonic()
    for count in range(1_000_000):
        time.sleep(max(0.0, begun + count / rate - time.monotonic()))
        picture = np.full((HEIGHT, WIDTH, 3), shade, np.uint8)
        picture[::16] = shade + 12
        left, top = count * 8 % (WIDTH - SIDE), 120 + shade
        picture[top : top + SIDE, left : left + SIDE] = 235
        yield picture


class Sees:
    """Finds what is white."""

    def __init__(self, s=0.0, label="cart"):
        self.s, self.label = s, label

    def process(self, frame):
        time.sleep(self.s)
        rows, columns = (np.flatnonzero((frame.gray > 150).any(axis=axis)) for axis in (1, 0))
        if not len(rows):
            return None
        left, top = int(columns[0]), int(rows[0])
        box = [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top]
        inside = ["way"] if box[0] < 160 else []
        seen = {"box": box, "label": self.label, "score": 0.93, "track": 7, "zones": inside}
        zone = {"name": "way", "points": [[8, 110], [160, 110], [160, 225], [8, 225]]}
        return {"detections": [seen], "zones": [zone]}


class Poisoned(Sees):
    def process(self, frame):
        if frame.sequence % 8 == 3:
            raise ValueError("no such track <img src=x onerror=alert(1)>")
        return super().process(frame)


class Takes:
    def write(self, event):
        pass


class Fails:
    """A sink that cannot write as long as a file is there."""

    def write(self, event):
        if Path("down").exists():
            raise ConnectionError("the target is down")


class Hangs:
    """A sink that hangs from the moment at which a file is there."""

    def __init__(self, at=""):
        self.at = at

    def write(self, event):
        if not self.at or Path(self.at).exists():
            time.sleep(1000)
'''


@dataclass(frozen=True)
class Situation:
    """What is wrong, and what is to be said first."""

    code: str = ""
    """Empty: nothing is wrong."""
    culprit: str = ""
    words: str = ""
    detect: dict[str, Any] = field(default_factory=dict)
    hook: dict[str, Any] = field(default_factory=dict)
    has_camera_off: bool = False
    is_memory_small: bool = False


SITUATIONS = {
    "healthy": Situation(),
    "camera off": Situation("camera_down", "yard", "no frame for", has_camera_off=True),
    "hung sink": Situation("hung", "hook", "mine.py:", hook={"use": "mine:Hangs", "timeout": "2s"}),
    "slow processor": Situation("losing", "detect", "detect takes ", detect={"with": {"s": 0.25}}),
    "dead letters": Situation(
        "failing", "detect", "no such track", detect={"use": "mine:Poisoned", "max_deliveries": 2}
    ),
    "memory nearly full": Situation("memory_low", "shared memory", "MiB free of 64", is_memory_small=True),
}


def shop(detect: dict[str, Any] | None = None, hook: dict[str, Any] | None = None, **yard: Any) -> dict[str, Any]:
    """Three cameras, a buffer, a processor and a sink, all of them quick unless told otherwise."""
    cameras = {
        name: {
            "kind": "capture",
            "source": "python:mine:pictures",
            "with": {"shade": shade},
            "when_full": "drop-oldest",
        }
        for name, shade in (("door", 20), ("yard", 40), ("gate", 60))
    }
    if yard:
        cameras["yard"] = {"kind": "capture", "when_full": "drop-oldest", **yard}
    return {
        **cameras,
        "buf": {"kind": "buffer", "input": list(cameras), "high_water_mark": 24},
        "detect": {"kind": "processor", "input": "buf", "use": "mine:Sees", "high_water_mark": 12, **(detect or {})},
        "hook": {"kind": "sink", "input": "detect", "use": "mine:Takes", "drain": "500ms", **(hook or {})},
    }


@contextlib.contextmanager
def camera_server(folder: Path) -> Iterator[RtspServer]:
    """A camera that can be switched off."""
    make_clip(folder / "yard.mp4", seconds=3)
    with RtspServer(folder) as server:
        yield server


@contextlib.contextmanager
def small_memory(place: Path) -> Iterator[None]:
    """Let DETEKTR_SHM_DIR be a file system in memory of 64 MiB, as a container has, for whoever starts meanwhile."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_MIB}m", "tmpfs", str(place)]
    made = subprocess.run(command, capture_output=True, text=True)
    if made.returncode:
        place.rmdir()
        pytest.skip(f"a small tmpfs cannot be mounted here: {made.stderr.strip()}")
    before = os.environ["DETEKTR_SHM_DIR"]
    os.environ["DETEKTR_SHM_DIR"] = str(place)
    try:
        yield
    finally:
        os.environ["DETEKTR_SHM_DIR"] = before
        subprocess.run(["umount", "-l", str(place)], check=True)
        place.rmdir()


def fill_all_but(place: Path, free_bytes: int) -> Path:
    """Take what is free of a file system in memory but for so many bytes, as somebody else would."""
    path, stat = place / "foreign", os.statvfs(place)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(4096, stat.f_bavail * stat.f_frsize - free_bytes))
    return path
