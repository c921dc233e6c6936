"""Spans of frames, from the rows of the trail: one for each edge, and below it one for the work of its consumer. Pure.

The span of an edge lies below that of the edge by which the frame came to its producer, so the capture's first edge is
the root. Ids follow from the frame (`detektr.tracing`): whoever tells of the same row twice tells of the same span.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from detektr.telemetry.trail.harvest import mark_of
from detektr.telemetry.trail.rows import DELIVERED, LifeRow
from detektr.tracing import span_of, trace_of

Edges = Sequence[tuple[str, str]]
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


def spans_of(row: LifeRow, edges: Edges) -> list[Span]:
    """Return the spans that a row tells of."""
    stream = row.stream
    trace = trace_of(stream.node, stream.camera, row.sequence, mark_of(stream, row.sequence))
    producer = row.producer.rpartition(".")[0]
    edge = _edge(producer, row.consumer, row.event)
    own, above = span_of(trace, edge), _above(stream.node, producer, edges)
    worked_us, kept_us = row.worked_us, row.kept_us or 0
    begin_us = row.t_us - (row.queued_us or 0) - (row.waited_us or 0) - (worked_us or 0) - kept_us
    fault = "" if row.outcome == DELIVERED else row.outcome
    about: dict[str, str | int | float] = {
        "detektr.camera": stream.camera,
        "detektr.sequence": row.sequence,
        "detektr.producer": row.producer,
        "detektr.consumer": row.consumer,
        "detektr.outcome": row.outcome,
        "detektr.delivery": row.delivery,
    }
    if row.queued_us is not None:
        about["detektr.queued_ms"] = row.queued_us / 1000
    parent = 0 if above is None else span_of(trace, above)
    name = f"{producer} -> {row.consumer}"
    found = [Span(trace, own, parent, name, begin_us, row.t_us, about, fault)]
    if worked_us is not None:
        again = f" {row.delivery}" if fault else ""  # an attempt that failed: another one follows, or none
        process = row.consumer if row.replica is None else f"{row.consumer}.{row.replica}"
        work = span_of(trace, f"work {row.consumer}{again}" if row.event is None else f"work {edge}{again}")
        end_us = row.t_us - kept_us
        more = {**about, "detektr.process": process}
        found.append(Span(trace, work, own, row.consumer, end_us - worked_us, end_us, more, fault))
    return found


def _edge(producer: str, consumer: str, event: int | None = None) -> str:
    return f"edge {producer} -> {consumer}" + ("" if event is None else f" {event}")


def _above(capture: str, producer: str, edges: Edges) -> str | None:
    """Return the edge by which a capture's frames come to a producer (the first in the file); None: it is one."""
    if producer == capture:
        return None
    reached = _reached(capture, edges)
    found = next((one for one in edges if one[1] == producer and one[0] in reached), None)
    return None if found is None else _edge(*found)


def _reached(capture: str, edges: Iterable[tuple[str, str]]) -> set[str]:
    """Return the nodes that a capture's frames come to, itself among them."""
    known, all_edges = {capture}, list(edges)
    while more := {consumer for producer, consumer in all_edges if producer in known} - known:
        known |= more
    return known
