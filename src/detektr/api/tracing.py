"""The trace context of a frame, for spans of a user's own code."""

from __future__ import annotations

from detektr.edge.frame_trail import is_in_share
from detektr.frame import Frame
from detektr.tracing import HERE, span_of, trace_of


def traceparent(frame: Frame) -> str:
    """Return the header `traceparent` (W3C Trace Context) of the work that this process does on a frame.

    Spans that have it as their parent lie below that of the node in the trace that `detektr traces` sends. The frame
    is said to be sampled where the audit trail has it whatever becomes of it (`frames: all`, or a share).

    Args:
        frame: which the code was given; it may be over.
    """
    trace = trace_of(frame.node, frame.camera, frame.sequence, int(frame.id[-8:], 16))
    is_sampled = is_in_share(frame.sequence, HERE.share)
    return f"00-{trace:032x}-{span_of(trace, f'work {HERE.node}'):016x}-{int(is_sampled):02x}"
