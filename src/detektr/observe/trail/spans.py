"""Spans of frames, from the rows of the trail: one for each edge, and below it one for the work of its consumer. Pure.

The span of an edge lies below that of the edge by which the frame came to its producer, so the capture's first edge is
the root. Ids follow from the frame (`detektr.tracing`): whoever tells of the same row twice tells of the same span.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from detektr.edge.frame_trail import ASKED_FOR, is_in_share
from detektr.telemetry.trail.harvest import mark_of
from detektr.telemetry.trail.rows import DELIVERED, FAILED, DropRow, LifeRow, Row, Stream
from detektr.tracing import edge_between, span_of, trace_of, work_on

Edges = tuple[tuple[str, str], ...]
"""Producer and consumer of each edge, in the file's order."""


class Span(NamedTuple):
    """One span; times are UTC in microseconds."""

    trace: int
    span: int
    parent: int
    """0: it is the root."""
    name: str
    begin_us: int
    end_us: int
    attributes: Mapping[str, str | int | float]
    fault: str = ""
    """Why it came to no good end; empty: it did."""


def edges_of(record: Mapping[str, Any]) -> Edges:
    """Return the edges of a run, by its record."""
    return tuple((one["from"], one["to"]) for one in record["edges"])


def spans_of(row: Row, edges: Edges, share: int) -> list[Span]:
    """Return the spans that a row tells of, those of frames that are sampled.

    A frame that an edge has dropped, or never took, has a span without a duration for it. An attempt that failed has
    one; the edge has its own when the frame leaves it, with all attempts.

    Args:
        row: of the trail.
        edges: of the run.
        share: how many of 2^32 frames are sampled; other frames are in the trail only where something went wrong.
    """
    if not row.stream.node:  # nobody knows any more which camera's it was
        return []
    if isinstance(row, DropRow):
        return _of_drops(row, edges, share)
    return _of_life(row, edges) if is_in_share(row.sequence, share) else []


def _of_life(row: LifeRow, edges: Edges) -> list[Span]:
    stream = row.stream
    trace = _trace(stream, row.sequence)
    producer = row.producer.rpartition(".")[0]
    edge = edge_between(producer, row.consumer, row.event)
    own, parent = span_of(trace, edge), _parent(trace, stream.node, producer, edges)
    waited_us, worked_us, kept_us = row.waited_us or 0, row.worked_us, row.kept_us or 0
    end_us = row.t_us - kept_us
    leased_us = end_us - (worked_us or 0) - waited_us
    fault = "" if row.outcome == DELIVERED else row.outcome
    about = _about(stream, row.sequence, row.producer, row.consumer, row.outcome) | {"detektr.delivery": row.delivery}
    if row.queued_us is not None:
        about["detektr.queued_ms"] = row.queued_us / 1000
    found = []
    is_attempt = row.outcome == FAILED
    if not is_attempt:
        begin_us = leased_us - (row.queued_us or 0)
        found.append(Span(trace, own, parent, f"{producer} -> {row.consumer}", begin_us, row.t_us, about, fault))
    if worked_us is not None or is_attempt:  # it may have died with its process before it could tell of its work
        process = row.consumer if row.replica is None else f"{row.consumer}.{row.replica}"
        work = span_of(trace, work_on(row.consumer if row.event is None else edge, row.delivery))
        begin_us, until_us = (leased_us, row.t_us) if worked_us is None else (end_us - worked_us, end_us)
        found.append(
            Span(trace, work, own, row.consumer, begin_us, until_us, {**about, "detektr.process": process}, fault)
        )
    return found


def _of_drops(row: DropRow, edges: Edges, share: int) -> list[Span]:
    stream, producer = row.stream, row.producer.rpartition(".")[0]
    name, fault = f"{producer} -> {row.consumer}", "" if row.reason in ASKED_FOR else row.reason
    found = []
    for drop in row.drops():
        at_us = row.t_s * 1_000_000 + drop.ms * 1000
        for sequence in range(drop.last - drop.frames + 1, drop.last + 1):
            if is_in_share(sequence, share):
                trace = _trace(stream, sequence)
                own = span_of(trace, edge_between(producer, row.consumer))
                parent = _parent(trace, stream.node, producer, edges)
                about = _about(stream, sequence, row.producer, row.consumer, row.reason)
                found.append(Span(trace, own, parent, name, at_us, at_us, about, fault))
    return found


def _about(stream: Stream, sequence: int, producer: str, consumer: str, outcome: str) -> dict[str, str | int | float]:
    return {
        "detektr.camera": stream.camera,
        "detektr.sequence": sequence,
        "detektr.producer": producer,
        "detektr.consumer": consumer,
        "detektr.outcome": outcome,
    }


def _trace(stream: Stream, sequence: int) -> int:
    return trace_of(stream.node, stream.camera, sequence, mark_of(stream, sequence))


def _parent(trace: int, capture: str, producer: str, edges: Edges) -> int:
    above = _above(capture, producer, edges)
    return 0 if above is None else span_of(trace, above)


@functools.lru_cache(4096)
def _above(capture: str, producer: str, edges: Edges) -> str | None:
    """Return the edge by which a capture's frames come to a producer (the first in the file); None: it is one."""
    if producer == capture:
        return None
    reached = _reached(capture, edges)
    found = next((one for one in edges if one[1] == producer and one[0] in reached), None)
    return None if found is None else edge_between(*found)


def _reached(capture: str, edges: Edges) -> set[str]:
    """Return the nodes that a capture's frames come to, itself among them."""
    known = {capture}
    while more := {consumer for producer, consumer in edges if producer in known} - known:
        known |= more
    return known
