"""`detektr trace` and `detektr audit`: what became of a frame, and what the trail has of a time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from detektr.errors import DetektrError
from detektr.memory.run_folder import state_root
from detektr.observe.trail.places import known_pipelines, open_trail_of, open_trails
from detektr.observe.trail.steps import edge_text, steps_of, utc_text
from detektr.observe.trail.times import local_text
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.record import Record
from detektr.telemetry.trail.rows import DropRow, Row
from detektr.telemetry.trail.wanted import WantedFrame, WantedRows, time_us, wanted_frame

FOLLOW_S = 0.5
LATE_S = 5  # a row is there at most so long after its time, unless its store is away
_TOLD = ("queued_us", "waited_us", "worked_us", "kept_us")


def trace(frame: str, name: str | None = None) -> dict[str, Any]:
    """Return one frame's life over all nodes.

    Args:
        frame: its id, or `CAMERA/SEQUENCE` for the newest run's frame of that number.
        name: which pipeline; None: all are asked, the one that ran last first.
    Returns:
        `frame`, `pipeline`, `camera`, `sequence` and `steps`, see `steps_of`.
    Raises:
        DetektrError: that is no frame, or no trail has it.
    """
    wanted, asked = wanted_frame(frame), list[str]()
    answer = find_steps(wanted, name, asked)
    if answer is None:
        raise DetektrError(_not_found(wanted, asked, name))
    return answer


def find_steps(wanted: WantedFrame, name: str | None, asked: list[str]) -> dict[str, Any] | None:
    """Return the same as `trace`; None: no trail has it.

    Args:
        wanted: the frame.
        name: which pipeline; None: all are asked.
        asked: gets the pipelines whose trails were asked.
    Raises:
        DetektrError: a trail that may have it cannot be read.
    """
    faults = list[DetektrError]()
    for pipeline, trail in open_trails(name):
        asked.append(pipeline)
        try:
            rows = trail.of_frame(wanted)
        except DetektrError as fault:  # another one may have it
            faults.append(fault)
            continue
        if rows:
            stream = max(rows, key=time_us).stream  # by number, several runs may have one
            rows = [row for row in rows if row.stream == stream]
            operations = trail.operations_of(wanted.text) if wanted.mark is not None else []
            about = {"frame": wanted.text, "pipeline": pipeline, "camera": stream.camera, "sequence": wanted.sequence}
            return {**about, "steps": steps_of(wanted, rows, operations)}
    if faults:
        raise faults[0]
    return None


def _not_found(wanted: WantedFrame, asked: Sequence[str], name: str | None) -> str:
    if not asked:
        known = ", ".join(known_pipelines())
        whose = f"pipeline {name!r} has" if name else "no pipeline has"
        cure = "write `audit: {to: sqlite:audit.db, frames: all}` into its file"
        return f"{whose} no audit trail; {cure} (known: {known or 'none'})"
    trails = ", ".join(dict.fromkeys(asked))
    return (
        f"frame {wanted.text} is not in the trail of {trails}: `audit` has only the frames that `frames` says (all,"
        " dropped or a share), for as long as `keep` and `most` allow"
    )


def query(
    name: str,
    *,
    node: str = "",
    edge: str = "",
    outcome: str = "",
    since_s: float = 0.0,
    until_s: float | None = None,
    rows_max: int = 1000,
    run: str = "last",
) -> list[dict[str, Any]]:
    """Return what the trail has of a time: frames, and without an edge or outcome what nodes and operators did.

    Args:
        name: which pipeline.
        node: only of this node, or process.
        edge: only of this edge (`buffer->detect`).
        outcome: only with this outcome, see `WantedRows`.
        since_s: from this time on, UTC in seconds.
        until_s: until this time; None: now.
        rows_max: at most so many, the newest.
        run: whose trail is asked; it may have that of earlier runs too.
    Returns:
        Records in order of their `time`; of frames with `from`, `to`, `camera`, `sequence` and `outcome`, of others
        with `node`, `event` and `data`.
    Raises:
        DetektrError: there is no such pipeline, or it has no trail that can be read.
    """
    until_us = round((time.time() if until_s is None else until_s) * 1e6)
    wanted = WantedRows(round(since_s * 1e6), until_us, rows_max, node, edge, outcome)
    trail = open_trail_of(RunRecords(state_root() / name).read(run))
    try:
        found = [as_record(row) for row in trail.of_time(wanted)]
        if not edge and not outcome:
            found += [_operation(record) for record in trail.operations(wanted)]
    finally:
        trail.close()
    return sorted(found, key=lambda record: str(record["time"]))[-rows_max:]


def nothing_found(name: str, since_s: float, until_s: float) -> str:
    """Say that the trail has nothing of a time, with the times as they were understood."""
    begin, end = (local_text(utc_text(round(at_s * 1e6)))[:19] for at_s in (since_s, until_s))
    of_time = f"from {begin} to {end}" if since_s else f"until {end}"
    return f"the trail of {name} has no such record {of_time}; `detektr status {name}` says how far back it reaches"


def tail(name: str, rows_max: int, *, follow: bool = False) -> Iterator[dict[str, Any]]:
    """Yield the newest records, as `query` does; with `follow`, new ones as they come, for ever."""
    known: dict[str, None] = {}
    for record in query(name, rows_max=rows_max):
        known[json.dumps(record)] = None
        yield record
    while follow:
        time.sleep(FOLLOW_S)
        found = query(name, since_s=time.time() - LATE_S, rows_max=100_000)
        texts = {json.dumps(record): record for record in found}
        yield from [record for text, record in texts.items() if text not in known]
        known = dict.fromkeys([*known, *texts])
        while len(known) > 2 * len(texts) + rows_max:
            known.pop(next(iter(known)))


def reach(name: str, run: str | None) -> dict[str, Any] | None:
    """Return where the trail of a run is (`to`) and how far back it reaches (`since`, UTC); None: it has none.

    `since` is None where there is no frame yet, or the trail cannot be read; then `why` says why.

    Args:
        name: which pipeline.
        run: id of the run; None: its nodes were started alone.
    """
    try:
        record = {} if run is None else RunRecords(state_root() / name).read(run)
    except DetektrError:  # it has just begun
        return None
    if record.get("audit", "none") == "none":
        return None
    about: dict[str, Any] = {"to": record["audit"], "since": None, "why": ""}
    try:
        trail = open_trail_of(record)
    except DetektrError as fault:
        return about | {"why": str(fault)}
    try:
        since_s = trail.reaches_back_s()
    except DetektrError as fault:
        return about | {"why": str(fault)}
    finally:
        trail.close()
    return about | {"since": None if since_s is None else utc_text(round(since_s) * 1_000_000)[:19] + "Z"}


def as_record(row: Row) -> dict[str, Any]:
    """Return a row as plain values."""
    about = {"from": row.producer, "to": row.consumer, "camera": row.stream.camera}
    if isinstance(row, DropRow):
        seen = {"sequence": row.last, "frames": row.frames, "outcome": row.reason}
        return {"time": utc_text(row.t_s * 1_000_000), **about, **seen}
    times = {name.replace("_us", "_ms"): getattr(row, name) / 1000 for name in _TOLD if getattr(row, name) is not None}
    who = {"replica": row.replica, "delivery": row.delivery, "event": row.event}
    told = {name: value for name, value in who.items() if value is not None}
    return {"time": utc_text(row.t_us), **about, "sequence": row.sequence, "outcome": row.outcome, **times, **told}


def _operation(record: Record) -> dict[str, Any]:
    return {"time": record.time, "node": record.node, "event": record.event, "data": json.loads(record.data)}


def describe_trace(answer: Mapping[str, Any]) -> str:
    """Write a frame's life as text: a line a step, with the time since the one before."""
    lines = [f"frame {answer['frame']} of camera {answer['camera']}, pipeline {answer['pipeline']}"]
    for step in answer["steps"]:
        more = [f"delivery {step['delivery']}"] if step.get("delivery", 1) != 1 else []
        more += [str(step[key]).strip().splitlines()[-1] for key in ("reason", "saved") if step.get(key)]
        more += [f"event {step['event']}"] if "event" in step else []
        told = f"{step['node']:<14} {step['what']:<14} {step.get('edge', ''):<20} {', '.join(more)}"
        lines.append(f"{local_text(step['time'])[11:]}  {step['after_ms']:+9.1f} ms  {told}".rstrip())
    return "\n".join(lines)


def describe_records(records: Sequence[Mapping[str, Any]]) -> str:
    """Write records of the trail, one a line."""
    lines = []
    for record in records:
        if "event" in record and "data" in record:
            what = f"{record['node']:<14} {record['event']} {json.dumps(record['data'])}"
        else:
            count = f" ({record['frames']} frames)" if record.get("frames", 1) != 1 else ""
            times = [f"{key[:-3]} {record[key]:g} ms" for key in record if key.endswith("_ms")]
            edge = edge_text(record["from"], record["to"])
            what = f"{edge:<22} {record['camera']}/{record['sequence']} {record['outcome']}{count}  {', '.join(times)}"
        lines.append(f"{local_text(record['time'])}  {what}".rstrip())
    return "\n".join(lines)
