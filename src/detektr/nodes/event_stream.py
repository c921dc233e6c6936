"""Events on their way to sinks: what a processor returned about a frame, packed and numbered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgpack

from detektr.descriptor import stream_key
from detektr.errors import ResultError
from detektr.fault_text import fault_text
from detektr.frame import Frame


class EventStream:
    """The events of one processor process, in order. `sequence` is the next one's number."""

    def __init__(self, node: str, replica: int, run: int, event_bytes: int) -> None:
        """Begin at 0; whoever adopts edges sets `sequence` to what they have seen."""
        self.node, self.replica, self.event_bytes = node, replica, event_bytes
        self.key = stream_key(f"{node}.{replica}", run)
        self.sequence = 0

    def pack(self, frame: Frame, result: object) -> list[bytes]:
        """Return what a processor gave for a frame as packed events.

        Args:
            frame: what it is about.
            result: a dict, or a list of dicts, of plain values (numpy scalars and arrays become numbers and lists)
                whose keys are text or numbers.
        Raises:
            ResultError: it is something else, holds what cannot be packed, or is larger than `event_bytes`.
        """
        events = result if isinstance(result, list | tuple) else [result]
        about = {
            "frame": frame.id,
            "camera": frame.camera,
            "sequence": frame.sequence,
            "epoch": frame.epoch,
            "timestamp": frame.timestamp.isoformat(timespec="milliseconds"),
            "node": self.node,
            "replica": self.replica,
            "delivery": frame.delivery,
        }
        packed = []
        for event in events:
            if not isinstance(event, Mapping):
                raise ResultError(
                    f"process() returned {_named(result, event)}; return None, a dict, or a list of dicts (events)"
                )
            try:
                payload: bytes = msgpack.packb({**about, "data": dict(event)}, default=_plain)
            except (TypeError, ValueError, OverflowError) as fault:  # too deep, too large a number, or not plain
                raise ResultError(f"process() returned an event that cannot be packed: {fault_text(fault)}") from fault
            if len(payload) > self.event_bytes:
                raise ResultError(
                    f"event of {len(payload)} bytes; {self.node} takes {self.event_bytes}: raise its event_bytes"
                )
            try:  # as sinks will, so that what they cannot read is refused here
                msgpack.unpackb(payload, strict_map_key=False, object_pairs_hook=_check_keys)
            except (TypeError, ValueError) as fault:
                what = "process() returned an event that cannot be read back"
                raise ResultError(f"{what}: {fault_text(fault)}") from fault
            packed.append(payload)
        return packed


def unpack_event(payload: bytes) -> dict[str, Any]:
    """Return a packed event: `frame`, `camera`, `sequence`, ... and the processor's own values as `data`."""
    event: dict[str, Any] = msgpack.unpackb(payload, strict_map_key=False)
    return event


def identify_event(payload: bytes) -> str:
    """Return the id of the frame that a packed event is about."""
    return str(unpack_event(payload).get("frame", ""))


def _named(result: object, event: object) -> str:
    return type(event).__name__ if event is result else f"a {type(result).__name__} with {type(event).__name__} in it"


def _check_keys(pairs: list[tuple[object, object]]) -> None:
    """Refuse keys that JSON and most languages have no word for; msgpack would pack them."""
    for key, _ in pairs:
        if not isinstance(key, str | int | float | None):
            raise TypeError(f"keys are text or numbers; {key!r:.60} is a {type(key).__name__}: turn it into text")


def _plain(value: Any) -> Any:
    """Turn numpy scalars and arrays, sets and tuples into plain values."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"events hold plain values; {type(value).__name__} cannot be packed: turn it into numbers or text")
