"""Names of traces and spans (W3C Trace Context): they follow from a frame's own name, so nobody has to carry them.

Whoever knows which frame it is, and which node works on it, knows trace and span: user code, which makes spans of its
own below that of its node, and whoever tells of it afterwards, out of the audit trail.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass
class Worker:
    """For which node this process works."""

    node: str = ""
    share: int = 0
    """How many of 2^32 frames are in the audit trail whatever becomes of them."""


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
        what: `work NODE`, or `edge FROM -> TO`; of an event with its number behind it.
    """
    text = f"{trace:032x} {what}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, person=b"span").digest(), "big") or 1
