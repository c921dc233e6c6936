"""What a client that pulls is given: frames without pixels, a copy of a picture; and whether more will come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from detektr.errors import DetektrError, OverwrittenError, WireError
from detektr.frame import UInt8Array
from detektr.memory.announcement import Lease
from detektr.nodes.working.frame_reader import FrameReader
from detektr.picture import PictureLayout


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

    layout: PictureLayout
    pixels: UInt8Array


def copy_shot(reader: FrameReader, lease: Lease, frame_id: str) -> Shot:
    """Return a copy of the picture of a lease.

    Args:
        reader: opens it.
        lease: of the frame.
        frame_id: its id, as the client says.
    Raises:
        OverError: its slot holds another picture by now, or the lease is another frame's.
    """
    try:
        frame, is_intact = reader.open(lease)
    except (OverwrittenError, WireError) as fault:
        raise OverError(f"frame {frame_id} is gone: {fault}; dequeue another frame") from None
    try:
        if frame.id != frame_id:
            raise OverError(f"the lease is that of frame {frame.id}, and not of {frame_id}; dequeue it again")
        pixels = np.ascontiguousarray(frame.pixels).reshape(-1).view(np.uint8).copy()
        shot = Shot(frame.layout, pixels)
    finally:
        frame.close()
    if not is_intact():
        raise OverError(f"frame {frame_id} was overwritten; dequeue another frame")
    return shot
