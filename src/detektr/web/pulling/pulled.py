"""What a client that pulls is given: frames without pixels, a copy of a picture; and whether more will come."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from detektr.errors import DetektrError
from detektr.frame import Frame, UInt8Array
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import open_status_block
from detektr.picture import PictureLayout

ENDING = ("draining", "ended", "stopped", "failed")


class OverError(DetektrError):
    """A lease is over, or its slot holds another picture by now."""


@dataclass(frozen=True)
class Pulled:
    """One frame as a client gets it."""

    lease: str
    facts: dict[str, Any]
    delivery: int
    expires_ns: int


@dataclass(frozen=True)
class Handful:
    """The answer to one call for frames."""

    frames: tuple[Pulled, ...]
    remaining: int
    """How many more wait."""
    is_ended: bool = False
    full_until_ns: int | None = None
    """The window is used up, until this time at the latest; None: it is not."""


@dataclass(frozen=True)
class Shot:
    """A copy of a picture."""

    facts: dict[str, Any]
    layout: PictureLayout
    pixels: UInt8Array


def brings_no_more(folder: RunFolder, quiet_ns: int) -> bool:
    """Whether no capture of a run brings frames: each is ending, or has brought none for so long."""
    now_ns = time.time_ns()
    for node, replica, path in folder.status_blocks():
        block = open_status_block(path, node, replica)
        if block is None:
            continue
        one = block.snapshot()
        block.close()
        is_quiet = one.state in ENDING or now_ns - one.last_frame_utc_ns > quiet_ns
        if one.kind == "capture" and one.is_alive and not is_quiet:
            return False
    return True


def facts_of(frame: Frame) -> dict[str, Any]:
    """Return what can be said of a frame without its picture."""
    return {
        "id": frame.id,
        "camera": frame.camera,
        "node": frame.node,
        "sequence": frame.sequence,
        "timestamp": frame.timestamp.isoformat(),
        "time": frame.time,
        "width": frame.width,
        "height": frame.height,
        "format": frame.format,
        "delivery": frame.delivery,
    }
