"""The trace context of a frame, for spans of a user's own code."""

from __future__ import annotations

from collections.abc import Mapping

from detektr.edge.frame_trail import is_in_share
from detektr.errors import RefusedError
from detektr.frame import Frame
from detektr.sinks import Event
from detektr.tracing import HERE, InWork, edge_between, span_of, trace_of, work_on


def traceparent(of: Frame | Event) -> str:
    """Return the header `traceparent` (W3C Trace Context) of the work that this process does on a frame, or an event.

    Spans that have it as their parent lie below that of the node in the trace that `detektr traces` sends. The frame
    is said to be sampled where the audit trail has it whatever becomes of it (`frames: all`, or a share); in a process
    that is none of a run's nodes, never.

    Args:
        of: what the code was given. A frame may be over; of a repeated one, and of an event, ask while it is in work:
            afterwards its first attempt is meant, or the work of the processor that the event came from.
    Raises:
        RefusedError: it is a dict, and none of a sink's events.
    """
    if isinstance(of, Frame):
        trace = trace_of(of.node, of.camera, of.sequence, int(of.id[-8:], 16))
        return _header(trace, of.sequence, work_on(HERE.node, _attempt_at(of)))
    trace, sequence, processor = _of_event(of)
    now = _in_work(str(of["frame"]))
    if HERE.is_sink and now is not None:
        return _header(trace, sequence, work_on(edge_between(now.producer, HERE.node, now.sequence), now.delivery))
    return _header(trace, sequence, work_on(processor))


def _header(trace: int, sequence: int, what: str) -> str:
    return f"00-{trace:032x}-{span_of(trace, what):016x}-{int(is_in_share(sequence, HERE.share)):02x}"


def _in_work(frame: str) -> InWork | None:
    """Return the attempt at a frame, or at an event about it, that this process is at; None: at none."""
    now = None if HERE.in_work is None else HERE.in_work()
    return now if now is not None and now.frame == frame else None


def _attempt_at(frame: Frame) -> int:
    """Return which attempt of this node's it is: `frame.delivery` counts those of the nodes before it, too."""
    now = _in_work(frame.id) if frame.delivery > 1 else None
    return 1 if now is None else now.delivery


def _of_event(event: Mapping[str, object]) -> tuple[int, int, str]:
    """Return the trace of the frame that an event is about, the frame's sequence, and the processor.

    Raises:
        RefusedError: it does not name its frame.
    """
    frame, camera, sequence = event.get("frame"), event.get("camera"), event.get("sequence")
    if isinstance(frame, str) and isinstance(sequence, int):
        node, found, mark = frame.partition("_")[2].rpartition(f"_{camera}_{sequence}_")
        if found and len(mark) == 8 and not set(mark) - set("0123456789abcdef"):
            return trace_of(node, str(camera), sequence, int(mark, 16)), sequence, str(event.get("node", ""))
    raise RefusedError(
        f"traceparent: an event with frame={frame!r:.80}, camera={camera!r:.40} and sequence={sequence!r:.40} names no"
        " frame; give it the event as the sink got it"
    )
