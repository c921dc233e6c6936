"""Results, one after another, as sightings: the same words of one node about one camera, from when to when. Pure."""

from __future__ import annotations

import collections
import datetime
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from detektr.sinks.jsonl import encode_line

APART_MS: Final = 10_000  # what is seen again within this time belongs to the same sighting ...
LONG_MS: Final = 60_000  # ... until that has lasted so long: then a new one begins, with a new picture
OPEN_MAX: Final = 1000  # sightings that may still go on; the one that was seen least recently ends first
DATA_BYTES_MAX: Final = 1 << 13  # of the result that is kept to draw its boxes


@dataclass
class Sighting:
    """What one node saw in one camera, for some time."""

    camera: str
    node: str
    words: str
    at_ms: int
    """Time of the first frame, UTC."""
    until_ms: int
    """Time of the last one."""
    frame: str
    """The id of the frame with its picture; of the first one, as long as there is no picture."""
    data: bytes
    """The result about that frame, as JSON; empty: it is too large."""
    has_picture: bool
    number: int | None = None
    """Its row, once it is stored."""


class Sightings:
    """Those that may still go on."""

    def __init__(self) -> None:
        """Begin without any."""
        self._open: collections.OrderedDict[tuple[str, str, str], Sighting] = collections.OrderedDict()

    def wants_picture(self, event: Mapping[str, Any]) -> bool:
        """Whether the picture of a result's frame would be kept: it begins a sighting, or one that has none yet."""
        place = _place(event)
        at_ms = frame_ms(event)
        if place is None or at_ms is None:
            return False
        known = self._open.get(place)
        return known is None or not (known.has_picture and _goes_on(known, at_ms))

    def note(self, event: Mapping[str, Any]) -> Sighting | None:
        """Take a result; returns the sighting that it begins or is part of, None if it says nothing to look for."""
        place, at_ms = _place(event), frame_ms(event)
        if place is None or at_ms is None:
            return None
        known, has_picture = self._open.pop(place, None), bool(event.get("still"))
        if known is None or not _goes_on(known, at_ms):
            known = Sighting(*place, at_ms, at_ms, *_about(event), has_picture)
        else:
            known.at_ms, known.until_ms = min(known.at_ms, at_ms), max(known.until_ms, at_ms)
            if has_picture and not known.has_picture:
                (known.frame, known.data), known.has_picture = _about(event), True
        self._open[place] = known
        if len(self._open) > OPEN_MAX:
            self._open.popitem(last=False)
        return known


def frame_ms(event: Mapping[str, Any]) -> int | None:
    """Return the time of a result's frame, UTC; None: it has none."""
    try:
        return int(datetime.datetime.fromisoformat(str(event.get("timestamp"))).timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _goes_on(known: Sighting, at_ms: int) -> bool:
    return abs(at_ms - known.until_ms) < APART_MS and at_ms - known.at_ms < LONG_MS


def _place(event: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """Return camera, node and words of a result; None: it says nothing to look for."""
    words = str(event.get("words") or "")
    return (str(event.get("camera", "")), str(event.get("node", "")), words) if words else None


def _about(event: Mapping[str, Any]) -> tuple[str, bytes]:
    data = encode_line({"data": event.get("data")}).rstrip(b"\n")
    return str(event.get("frame", "")), data if len(data) <= DATA_BYTES_MAX else b""
