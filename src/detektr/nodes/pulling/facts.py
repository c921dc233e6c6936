"""What can be said of a frame without its picture, as clients get it."""

from __future__ import annotations

import json
from typing import Any

from detektr.frame import Frame

FACTS_BYTES_MAX = 1 << 20  # of one frame, with the results of the nodes before; and about so much of one answer


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


def pack_facts(frame: Frame, delivery: int) -> bytes:
    """Return the facts of a frame as JSON, with the results of the nodes before, where there are some.

    Results that JSON has no words for are written as text; those of more than `FACTS_BYTES_MAX` are left out (`null`).

    Args:
        frame: it.
        delivery: how often a client was given it, this time included.
    """
    facts = {**facts_of(frame), "delivery": delivery}
    packed = json.dumps(facts).encode()
    if not frame.packed_results:
        return packed
    results = {node: list(returned) for node, returned in frame.results.items()}
    whole = json.dumps({**facts, "results": results}, default=repr).encode()
    return whole if len(whole) <= FACTS_BYTES_MAX else json.dumps({**facts, "results": None}).encode()
