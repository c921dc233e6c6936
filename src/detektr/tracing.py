"""Names of traces and spans (W3C Trace Context): they follow from a frame's own name, so nobody has to carry them.

Whoever knows which frame it is, and which node works on it, knows trace and span: user code, which makes spans of its
own below that of its node, and whoever tells of it afterwards, out of the audit trail or the log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple


class InWork(NamedTuple):
    """What the user's code works on now: a frame, or an event."""

    frame: str
    """Id of the frame, also of the one that an event is about."""
    producer: str
    """The node that it came from."""
    sequence: int
    """The event's number, where it is one."""
    delivery: int
    """Which attempt at it this is, of this node's."""


@dataclass
class Worker:
    """For which node this process works."""

    node: str = ""
    share: int = 0
    """How many of 2^32 frames are in the audit trail whatever becomes of them."""
    is_sink: bool = False
    in_work: Callable[[], InWork | None] | None = None
    """Asked only where somebody wants to know: nothing is noted for it at each frame."""


HERE = Worker()


def trace_of(node: str, camera: str, sequence: int, mark: int) -> int:
    """Return the number (128 bits) of a frame's trace.

    Args:
        node: the capture.
        camera: of the frame.
        sequence: of the frame.
        mark: the last part of its id, which differs from run to run.
    """
    text = f"{node}/{camera}/{sequence}/{mark:08x}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=16, person=b"trace").digest(), "big") or 1


def span_of(trace: int, what: str) -> int:
    """Return the number (64 bits) of a span.

    Args:
        trace: number of its trace.
        what: see `work_on` and `edge_between`.
    """
    text = f"{trace:032x} {what}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"span").digest(), "big") or 1


def edge_between(producer: str, consumer: str, event: int | None = None) -> str:
    """Return what `span_of` calls an edge.

    Args:
        producer: the node.
        consumer: the node.
        event: the number of the event that went over it; None: the frame itself did.
    """
    return f"edge {producer} -> {consumer}" + ("" if event is None else f" {event}")


def work_on(what: str, delivery: int = 1) -> str:
    """Return what `span_of` calls an attempt.

    Args:
        what: the processor, or for a sink the edge by which the event came, see `edge_between`.
        delivery: which attempt, of this node's.
    """
    return f"work {what}" + ("" if delivery == 1 else f" {delivery}")
