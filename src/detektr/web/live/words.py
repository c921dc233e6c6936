"""What a result says, in a few words. Results are data of whoever wrote the processor, and may be anything. Pure."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from typing import Any, Final

CHARS_MAX: Final = 200
DETECTIONS_MAX: Final = 200  # that are looked at
TEXT_CHARS_MAX: Final = 40
TIMES: Final = "\u00d7"


def result_words(node: str, data: Any) -> str:
    """Return what a result says; empty: nothing that one would look for.

    Args:
        node: who returned it.
        data: what it returned: `event` and `state` come first, as motion has them, then what `detections` name.
    """
    if not isinstance(data, dict):
        return ""
    counts = collections.Counter(_detections(node, data.get("detections")))
    seen = ", ".join(f"{count} {TIMES} {text}" if count > 1 else text for text, count in counts.items())
    event = " ".join(filter(None, (_short(data.get("event")), _short(data.get("state")))))
    return ": ".join(filter(None, (event, seen)))[:CHARS_MAX]


def _detections(node: str, found: Any) -> Iterable[str]:
    for one in found[:DETECTIONS_MAX] if isinstance(found, list) else ():
        if isinstance(one, dict) and _is_box(one.get("box")):
            track, zones = _short(one.get("track")), one.get("zones")
            names = ", ".join(filter(None, map(_short, zones[:DETECTIONS_MAX] if isinstance(zones, list) else ())))
            parts = (_short(one.get("label")), f"#{track}" if track else "", f"in {names}" if names else "")
            yield " ".join(filter(None, parts))[: 2 * TEXT_CHARS_MAX] or node


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(_is_number(one) for one in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _short(value: Any) -> str:
    return str(value)[:TEXT_CHARS_MAX] if isinstance(value, str) or _is_number(value) else ""
