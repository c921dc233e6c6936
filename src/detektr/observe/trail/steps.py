"""One frame's life over all nodes, step by step, from the rows of the trail. Pure."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable
from typing import Any

from detektr.telemetry.record import Record
from detektr.telemetry.trail.rows import FAILED, DropRow, LifeRow, Row
from detektr.telemetry.trail.wanted import WantedFrame

_Step = tuple[int, dict[str, Any]]  # UTC in microseconds


def steps_of(frame: WantedFrame, rows: Iterable[Row], operations: Iterable[Record] = ()) -> list[dict[str, Any]]:
    """Return the steps of a frame, in order.

    Args:
        frame: which.
        rows: all about it.
        operations: what was recorded about it by its id.
    Returns:
        Of each step `time` (UTC), `after_ms` (since the step before), `node` (who did it: a process, or a node where
        no process had the frame), `what`, `edge`, and what else is known of it: `delivery`, `reason`, `event`, `saved`.
    """
    found: list[_Step] = []
    rows = list(rows)
    for row in _last_told(rows):
        found += _of_drop(frame, row) if isinstance(row, DropRow) else _of_life(row)
    for record in operations:
        found += _of_operation(record)
    if frame.captured_ms is not None and rows:  # nothing is before it, whatever two clocks say of the same moment
        first_us = min([frame.captured_ms * 1000, *[at_us for at_us, _ in found]])
        found.insert(0, (first_us, {"node": rows[0].stream.node, "what": "captured"}))
    steps, before_us = [], None
    for at_us, fields in sorted(found, key=lambda step: step[0]):  # stable: steps of one row keep their order
        after_ms = 0.0 if before_us is None else (at_us - before_us) / 1000
        steps.append({"time": utc_text(at_us), "after_ms": after_ms, **fields})
        before_us = at_us
    return steps


def utc_text(at_us: int) -> str:
    """Return a time as text, in UTC with microseconds."""
    return datetime.datetime.fromtimestamp(at_us / 1e6, datetime.UTC).isoformat(timespec="microseconds")


def edge_text(producer: str, consumer: str) -> str:
    """Return an edge as `why` and the trail's queries name it."""
    return f"{producer.rpartition('.')[0]}->{consumer}"


def _last_told(rows: Iterable[Row]) -> list[Row]:
    """Leave out what was told twice, as a producer was killed in between: the later one stands."""
    last: dict[object, Row] = {}
    for row in rows:
        if isinstance(row, DropRow):
            last[row] = row
            continue
        attempt = row.delivery if row.outcome == FAILED else None
        key = edge_text(row.producer, row.consumer), row.producer if row.event else "", row.event, attempt
        last.pop(key, None)
        last[key] = row
    return list(last.values())


def _of_drop(frame: WantedFrame, row: DropRow) -> list[_Step]:
    about = {"node": row.producer, "what": "dropped", "edge": edge_text(row.producer, row.consumer)}
    return [
        (row.t_s * 1_000_000 + drop.ms * 1000, {**about, "reason": row.reason})
        for drop in row.drops()
        if drop.last - drop.frames < frame.sequence <= drop.last
    ]


def _of_life(row: LifeRow) -> list[_Step]:
    edge: dict[str, Any] = {"edge": edge_text(row.producer, row.consumer)}
    if row.event is not None:
        edge["event"] = row.event
    holder = row.consumer if row.replica is None else f"{row.consumer}.{row.replica}"
    leased_us = row.t_us - (row.kept_us or 0) - (row.worked_us or 0) - (row.waited_us or 0)
    steps: list[_Step] = []
    if row.queued_us is not None and row.delivery <= 1:
        steps.append((leased_us - row.queued_us, {"node": row.producer, "what": "queued", **edge}))
    if row.replica is not None:
        edge["delivery"] = row.delivery
        steps.append((leased_us, {"node": holder, "what": "leased", **edge}))
    if row.worked_us is not None:
        ended_us = row.t_us - (row.kept_us or 0)
        steps.append((ended_us - row.worked_us, {"node": holder, "what": "began", **edge}))
        steps.append((ended_us, {"node": holder, "what": "ended", **edge}))
    steps.append((row.t_us, {"node": row.producer, "what": row.outcome, **edge}))
    return steps


def _of_operation(record: Record) -> list[_Step]:
    """Say why an attempt failed, or where a frame that was given up is."""
    try:
        at_us = round(datetime.datetime.fromisoformat(record.time).timestamp() * 1e6)
        data = json.loads(record.data)
    except ValueError:
        return []
    known = {key: data[key] for key in ("reason", "saved", "delivery") if data.get(key)}
    edge = edge_text(record.node, str(data.get("consumer", "")))
    return [(at_us, {"node": record.node, "what": _told(record.event), "edge": edge, **known})]


def _told(event: str) -> str:
    """Return the name of an event in words: `FrameDeadLettered` is `frame dead lettered`."""
    return "".join(f" {one.lower()}" if one.isupper() else one for one in event).strip()
