"""Events on their way to sinks: checks, packs and numbers the values that a processor returns for a frame."""

from __future__ import annotations

import datetime
import os
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgpack

from detektr.descriptor import stream_key
from detektr.errors import ResultError
from detektr.process.fault_text import fault_text

if TYPE_CHECKING:
    from detektr.frame import Frame

_PLAIN = (str, int, float, bytes, list, tuple, dict, type(None))


class EventStream:
    """The events of one processor process, in order. `sequence` is the next one's number."""

    def __init__(self, node: str, replica: int, run: int, event_bytes: int, method: str = "process") -> None:
        """Begin at 0; whoever adopts edges sets `sequence` to what they have seen.

        Args:
            node: name of the processor.
            replica: number of the process.
            run: the node's.
            event_bytes: most bytes of one event, packed.
            method: what of the user's code the values come from.
        """
        self.node, self.replica, self.event_bytes, self._method = node, replica, event_bytes, method
        self.key = stream_key(f"{node}.{replica}", run)
        self.sequence = 0

    def _plain(self, value: object) -> Any:
        size = getattr(value, "size", 0)
        if isinstance(size, int) and size > self.event_bytes:  # before a picture is made a list of
            shape = getattr(value, "shape", size)
            raise ValueError(
                f"an array of shape {shape} does not fit into {self.event_bytes} bytes; put into it what you found out"
                f" about the picture, or raise event_bytes of {self.node}"
            )
        return as_plain(value)

    def pack(self, frame: Frame, result: object) -> list[bytes]:
        """Return a processor's result for a frame as packed events.

        Args:
            frame: the frame that the result is about.
            result: a dict, or a list of dicts, whose keys are text or numbers. Values are text, numbers, truth values,
                None, bytes, lists and dicts. What else becomes plain: see `as_plain`.
        Raises:
            ResultError: it is something else, holds what cannot be packed, or is larger than `event_bytes`.
        """
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
        for event in self._listed(result):
            payload = self._pack({**about, "data": event})
            if len(payload) > self.event_bytes:
                raise ResultError(
                    f"{self._method}() returned an event of {len(payload)} bytes; {self.node} takes at most"
                    f" {self.event_bytes}: raise its event_bytes"
                )
            packed.append(payload)
        return packed

    def pack_results(self, result: Any) -> bytes:
        """Return a result as the results that travel with the frame: a packed list of dicts.

        Args:
            result: see `pack`; None: an empty list.
        Raises:
            ResultError: see `pack`; all dicts together have to fit into `event_bytes`.
        """
        if result is None:
            return b"\x90"
        events = self._listed(result)
        packed = self._pack(events)
        if len(packed) > self.event_bytes:
            raise ResultError(
                f"{self._method}() returned {len(events)} results of {len(packed)} bytes together for a frame that is"
                f" passed on; {self.node} takes at most {self.event_bytes}: raise its event_bytes"
            )
        return packed

    def _listed(self, result: Any) -> list[dict[Any, Any]]:
        """Return a result as a list of dicts."""
        events = result if isinstance(result, list | tuple) else [result]
        for event in events:
            if not isinstance(event, Mapping):
                raise ResultError(
                    f"{self._method}() returned {_named(result, event)}; return None, a dict, or a list of dicts"
                    " (events)"
                )
        return [dict(event) for event in events]

    def _pack(self, value: object) -> bytes:
        """Pack a value that holds what the code returned; what its readers could not read is refused here."""
        try:
            packed: bytes = msgpack.packb(value, default=self._plain)
        except (TypeError, ValueError, OverflowError) as fault:  # too deep, too large a number, or not plain
            raise ResultError(
                f"{self._method}() returned an event that cannot be packed: {fault_text(fault)}; return numbers,"
                " text, lists and dicts"
            ) from fault
        try:
            msgpack.unpackb(packed, strict_map_key=False, object_pairs_hook=_check_keys)
        except (TypeError, ValueError) as fault:
            raise ResultError(
                f"{self._method}() returned an event that cannot be read back: {fault_text(fault)}; return one that"
                " MessagePack can read"
            ) from fault
        return packed


def is_event(payload: bytes) -> bool:
    """Whether bytes that came from another process are a packed event."""
    try:
        return isinstance(msgpack.unpackb(payload, strict_map_key=False), dict)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
        return False


def results_of(returned: object, frames: int) -> list[Any]:
    """Return the results of a batch, one for each frame, from what `process_batch` returned.

    Raises:
        ResultError: it is no list, or has not as many.
    """
    hint = "return a list with one result for each frame, None where there is none"
    if not isinstance(returned, list | tuple):
        raise ResultError(f"process_batch() returned {type(returned).__name__} for {frames} frames; {hint}")
    if len(returned) != frames:
        raise ResultError(f"process_batch() returned {len(returned)} results for {frames} frames; {hint}")
    return list(returned)


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
    """Refuse keys that JSON and most languages do not have; msgpack would pack them."""
    for key, _ in pairs:
        if not isinstance(key, str | int | float | None):
            raise TypeError(f"keys are text or numbers; {key!r:.60} is a {type(key).__name__}: turn it into text")


def as_plain(value: object) -> Any:
    """Return the value that replaces, in an event, one that JSON does not have.

    Times and dates become ISO 8601 text, a time span its seconds, paths, UUIDs, decimals and fractions their exact
    text, an enum's member its value, numpy scalars and arrays numbers and lists, sets sorted lists, mappings dicts.

    Raises:
        TypeError: it is something else.
    """
    if hasattr(value, "tolist"):
        plain = value.tolist()
    elif isinstance(value, set | frozenset):
        plain = sorted(value, key=lambda item: (type(item).__name__, item))
    elif isinstance(value, datetime.datetime | datetime.date | datetime.time):
        plain = value.isoformat()
    elif isinstance(value, datetime.timedelta):
        plain = value.total_seconds()
    elif isinstance(value, Enum):
        plain = value.value
    elif isinstance(value, os.PathLike):
        plain = os.fspath(value)
    elif isinstance(value, UUID | Decimal | Fraction):
        plain = str(value)
    elif isinstance(value, Mapping):
        plain = dict(value)
    else:
        name = type(value).__name__
        raise TypeError(f"events hold plain values; {name} cannot be packed: turn it into numbers or text")
    return plain if isinstance(plain, _PLAIN) else as_plain(plain)
