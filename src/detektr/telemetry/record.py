"""An audit record as one JSON line, in which form it is queued, spooled and stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from detektr.events import RunEvent
from detektr.redaction import mask

RECORD_BYTES_MAX = 8192
_DATA_BYTES_MAX = RECORD_BYTES_MAX - 1664  # two names of 64 characters, each escaped to 12 at worst, and the time
_DATA_CHARS_CUT = _DATA_BYTES_MAX // 2 - 16  # data that is cut is escaped once more: each character twice at worst
_NAME_CHARS_MAX = 64


class Record(NamedTuple):
    """One audit record: `time` is UTC in ISO 8601 with microseconds, `data` a JSON object as text."""

    time: str
    node: str
    event: str
    data: str
    frame: str = ""
    """Id of the frame that it is about, if it is about one."""


def encode(event: RunEvent | Mapping[str, Any], utc: datetime) -> str:
    """Write an event as one line of ASCII JSON without its line end, secrets masked; never raises.

    Args:
        event: an event, or a mapping with at least `event` and `node`.
        utc: when it happened.
    Returns:
        At most `RECORD_BYTES_MAX` bytes; data that would be longer is cut and stands under `cut`.
    """
    node, kind = "", type(event).__name__
    try:
        fields = event.as_record() if isinstance(event, RunEvent) else dict(event)
        node, kind = str(fields.pop("node", ""))[:_NAME_CHARS_MAX], str(fields.pop("event", ""))[:_NAME_CHARS_MAX]
        data = json.dumps(_masked(fields), default=lambda value: mask(str(value)), allow_nan=False)
    except Exception as fault:  # a user's value may raise anything from its __str__; the record must still be written
        data = json.dumps({"unreadable": type(fault).__name__})
    if len(data) > _DATA_BYTES_MAX:
        data = json.dumps({"cut": data[:_DATA_CHARS_CUT]})
    stamp = utc.isoformat(timespec="microseconds")
    return f'{{"time":"{stamp}","node":{json.dumps(mask(node))},"event":{json.dumps(kind)},"data":{data}}}'


def decode(line: str) -> Record:
    """Read a line back; one that is damaged on disk becomes an event `Unreadable` with its text."""
    try:
        fields = json.loads(line)
        frame = fields["data"].get("frame", "")
        return Record(fields["time"], fields["node"], fields["event"], json.dumps(fields["data"]), str(frame))
    except (ValueError, KeyError, TypeError, AttributeError):
        return Record("", "", "Unreadable", json.dumps({"line": line[:_DATA_CHARS_CUT]}))


def _masked(value: Any) -> Any:
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, Mapping):
        return {str(key): _masked(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked(item) for item in value]
    return value
