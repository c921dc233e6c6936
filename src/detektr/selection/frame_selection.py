"""Which frames an edge wants at all: of which cameras, and how many a second of each. No clock: frames bring times."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgpack

from detektr.selection.rate_limiter import RateLimiter

_SECOND_NS = 1_000_000_000


class _CameraRate:
    """What passed of one camera."""

    def __init__(self, fps: float) -> None:
        self.limiter = RateLimiter(fps)
        self.has_stream_time = False
        self.frame = ""
        self.is_taken = False


class FrameSelection:
    """Thins each camera out by itself, and leaves out the cameras that were not asked for.

    A frame's moment is its stream's own time, so that a file that is read at full speed is thinned as it would be in
    real time; where it has none, and for events, the moment of the capture counts. All events of one frame pass, or
    none.
    """

    def __init__(self, fps: float | None, cameras: tuple[str, ...], *, only_results: bool = False) -> None:
        """Begin anew: the first frame of each camera passes.

        Args:
            fps: frames a second of each camera; None: all of them.
            cameras: whose frames pass; empty: those of all.
            only_results: only frames for which the node that passed them on last has returned something.
        """
        self._fps, self._cameras, self._only_results = fps, cameras, only_results
        self._rates: dict[str, _CameraRate] = {}

    def reason_against(self, payload: bytes, captured_ns: int) -> str:
        """Return the reason for which a frame, or event, is to be dropped (`filtered` or `thinned`); empty: it passes.

        Args:
            payload: what is announced of it; each camera's come in the order of their times.
            captured_ns: monotonic time of its capture.
        """
        fields = _fields(payload)
        camera = str(fields.get("camera", ""))
        if self._cameras and camera not in self._cameras:
            return "filtered"
        if self._only_results and not _has_results(fields):
            return "filtered"
        if self._fps is None:
            return ""
        rate = self._rates.get(camera)
        if rate is None:
            rate = self._rates[camera] = _CameraRate(self._fps)
        frame = str(fields.get("frame", ""))  # an event says which frame it is about
        if not frame or frame != rate.frame:
            rate.frame, rate.is_taken = frame, self._takes(rate, fields, captured_ns)
        return "" if rate.is_taken else "thinned"

    def _takes(self, rate: _CameraRate, fields: dict[str, Any], captured_ns: int) -> bool:
        pts, time_base = fields.get("pts"), fields.get("time_base")
        if isinstance(pts, int) and isinstance(time_base, list):
            numerator, denominator = time_base
            rate.has_stream_time = True
            return rate.limiter.takes(Fraction(pts * numerator, denominator))
        if rate.has_stream_time:
            return False  # it came out of order, and so lost its time: its neighbours have theirs
        return rate.limiter.takes(Fraction(captured_ns, _SECOND_NS))


def camera_of(payload: bytes) -> str:
    """Return the camera that a frame or event says it is of; empty: it names none."""
    return str(_fields(payload).get("camera", ""))


def source_of(payload: bytes) -> tuple[str, str]:
    """Return the camera that a frame says it is of, and the node that captured it; empty: it names none."""
    fields = _fields(payload)
    return str(fields.get("camera", "")), str(fields.get("node", ""))


def _fields(payload: bytes) -> dict[str, Any]:
    """Return what a frame or event says of itself; nothing where it is no map."""
    try:
        fields: Any = msgpack.unpackb(payload, strict_map_key=False)
    except (ValueError, msgpack.UnpackException):
        return {}
    return fields if isinstance(fields, dict) else {}


def _has_results(fields: dict[str, Any]) -> bool:
    """Whether the node that passed a frame on last, whose results come last, has returned something for it."""
    try:
        results = list(msgpack.unpackb(fields["results"], strict_map_key=False).values())
    except (KeyError, ValueError, TypeError, AttributeError, msgpack.UnpackException):
        return False
    return bool(results and results[-1])
