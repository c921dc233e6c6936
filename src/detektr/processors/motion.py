"""A motion detector: finds the part of the picture that differs from recent pictures, and when that begins and ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from detektr.processors import Processor

if TYPE_CHECKING:
    from detektr.frame import Frame

COLUMNS = 160  # the picture is looked at through a grid of about this many columns: fast, and deaf to fine noise


class Motion(Processor):
    """Compares each frame with a running average of its camera and reports motion as it begins, goes on and ends.

    Events are `{"event": "motion", "state": "began" | "continues" | "ended", "camera", "frame", "sequence",
    "timestamp", "fraction", "box": [x, y, width, height] in pixels of the frame, "seconds", "peak"}`; of `ended`
    the frame and box are those of the last motion.

    Each camera's frames have to come to one of these, in order (`stateful`). Where a camera begins here, the comparison
    begins anew.

    Args:
        threshold: fraction of the picture that must differ, above 0 to 1.
        level: by how many grey levels (of 255) a point must differ, 1 to 254.
        adapt: how much of each frame goes into the average, above 0 to 1.
        quiet: seconds without motion after which it has ended.
        every: seconds between `continues` events; 0: one for each frame with motion.
    Raises:
        ValueError: an argument is out of its range.
    """

    stateful = True

    def __init__(
        self,
        threshold: float = 0.01,
        level: int = 20,
        adapt: float = 0.05,
        quiet: float = 1.0,
        every: float = 1.0,
    ) -> None:
        for name, value, is_right, expected in (
            ("threshold", threshold, 0 < threshold <= 1, "a fraction above 0, at most 1"),
            ("level", level, 1 <= level <= 254, "1 to 254 grey levels"),
            ("adapt", adapt, 0 < adapt <= 1, "a fraction above 0, at most 1"),
            ("quiet", quiet, quiet >= 0, "seconds, 0 or more"),
            ("every", every, every >= 0, "seconds, 0 or more"),
        ):
            if not is_right:
                raise ValueError(f"Motion: {name} {value!r} is out of range; expected {expected}")
        self._threshold = threshold
        self._level = np.float32(level)
        self._adapt = np.float32(adapt)
        self._quiet_ns, self._every_ns = round(quiet * 1e9), round(every * 1e9)
        self._views: dict[tuple[str, str], _View] = {}

    def process(self, frame: Frame) -> list[dict[str, Any]] | None:
        """Return the events of this frame, or None."""
        step = max(1, frame.width // COLUMNS)
        points = frame.gray[step // 2 :: step, step // 2 :: step].astype(np.float32)
        moment = round(frame.time * 1e9)
        events = []
        name = frame.node, frame.camera
        view = None if frame.is_first_here else self._views.get(name)
        if view is not None and (view.epoch != frame.epoch or view.average.shape != points.shape):
            events += _ended(view)  # another life of the camera: nothing can be compared
            view = None
        if view is None:
            self._views[name] = _View(frame.epoch, frame.sequence, points)
            return events or None
        if frame.sequence <= view.sequence:
            return None  # delivered again, later than its successors: the average has passed it
        view.sequence = frame.sequence
        difference = points - view.average
        view.average += self._adapt * difference
        changed = np.abs(difference) > self._level
        fraction = float(np.count_nonzero(changed)) / changed.size
        if fraction >= self._threshold:
            events += self._moved(view, frame, moment, fraction, _box(changed, step, frame.width, frame.height))
        elif view.motion is not None and moment - view.motion.last >= self._quiet_ns:
            events += _ended(view)
        return events or None

    def _moved(self, view: _View, frame: Frame, moment: int, fraction: float, box: list[int]) -> list[dict[str, Any]]:
        motion = view.motion
        is_new = motion is None
        if motion is None:
            view.motion = motion = _Motion(moment, moment, moment, {}, 0.0)
        motion.last = moment
        motion.peak = max(motion.peak, fraction)
        motion.event = {
            "event": "motion",
            "state": "began" if is_new else "continues",
            "camera": frame.camera,
            "frame": frame.id,
            "sequence": frame.sequence,
            "timestamp": frame.timestamp.isoformat(),
            "fraction": round(fraction, 5),
            "box": box,
            "seconds": round((moment - motion.began) / 1e9, 3),
            "peak": round(motion.peak, 5),
        }
        if not is_new and moment - motion.told < self._every_ns:
            return []
        motion.told = moment
        return [motion.event]


@dataclass
class _Motion:
    began: int  # on the media's clock, in nanoseconds
    last: int
    told: int
    event: dict[str, Any]
    peak: float


@dataclass
class _View:
    """What is remembered of one camera."""

    epoch: int
    sequence: int
    average: npt.NDArray[np.float32]
    motion: _Motion | None = None


def _box(changed: npt.NDArray[np.bool_], step: int, width: int, height: int) -> list[int]:
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    left, top = int(columns[0]) * step, int(rows[0]) * step
    right, bottom = min(width, (int(columns[-1]) + 1) * step), min(height, (int(rows[-1]) + 1) * step)
    return [left, top, right - left, bottom - top]


def _ended(view: _View) -> list[dict[str, Any]]:
    motion, view.motion = view.motion, None
    return [] if motion is None else [{**motion.event, "state": "ended"}]
