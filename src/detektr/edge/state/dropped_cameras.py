"""Of which camera a dropped frame or event is, so that an edge can count the drops of each. No clock, no socket."""

from __future__ import annotations

from typing import Any

import msgpack

from detektr.memory.journal import Journal
from detektr.memory.layout import CAMERA_NAME_BYTES

STREAMS_MAX = 1024  # remembered; a capture that restarts its run begins another one


class DroppedCameras:
    """The cameras of one edge that lost something, by their entries in its journal, which bounds how many there are.

    All frames of a stream are of one camera, so only the first that is dropped is unpacked. Events are of any.
    """

    def __init__(self, journal: Journal) -> None:
        """Adopt the entries that a predecessor has taken."""
        self._journal = journal
        self._entries = {name: entry for entry, name in enumerate(journal.cameras())}
        self._of_streams: dict[int, int] = {}

    def entry_of(self, key: int, payload: bytes) -> int | None:
        """Return the entry of a frame's or an event's camera; None: it is not known, or there is no entry left.

        Args:
            key: its stream.
            payload: its packed descriptor, or the event; empty: it is not at hand.
        """
        entry = self._of_streams.get(key)
        if entry is not None or not payload:
            return entry
        camera, is_event = _read(payload)
        entry = self._entries.get(camera)
        name = camera.encode(errors="replace")
        if entry is None and 0 < len(name) <= CAMERA_NAME_BYTES:
            entry = self._journal.take_camera(name)
            if entry is not None:
                self._entries[camera] = entry
        if entry is not None and not is_event and len(self._of_streams) < STREAMS_MAX:
            self._of_streams[key] = entry
        return entry


def _read(payload: bytes) -> tuple[str, bool]:
    """Return the camera, empty where none is said, and whether this is an event: it says which frame it is about.

    Both stand at the beginning of an event, so one that is long is not unpacked to its end.
    """
    is_event = False
    try:
        unpacker = msgpack.Unpacker(strict_map_key=False, max_buffer_size=len(payload))
        unpacker.feed(payload)
        for _ in range(unpacker.read_map_header()):
            key: Any = unpacker.unpack()
            if key == "camera":
                camera: Any = unpacker.unpack()
                is_event = is_event or "frame" in msgpack.unpackb(payload, strict_map_key=False)
                return camera if isinstance(camera, str) else "", is_event
            is_event = is_event or key == "frame"
            unpacker.skip()
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
        return "", False  # no map, or one that is cut short
    return "", is_event
