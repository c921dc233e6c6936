"""`detektr why`: what was lost or late, and whose fault it was: now, at a time that is past, or in a run."""

from __future__ import annotations

import contextlib
import datetime
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detektr.errors import DetektrError
from detektr.memory.run_folder import RunFolder, state_root
from detektr.observe.run_reader import RunReader
from detektr.observe.run_state import read_run_state
from detektr.observe.status import describe_nodes, list_pipelines
from detektr.observe.why.blame import lost_of
from detektr.observe.why.findings import Finding, find
from detektr.observe.why.terms import Terms, terms_of_memory, terms_of_record
from detektr.telemetry.history.reader import HistoryReader
from detektr.telemetry.history.rows import EdgeRow, Sampler
from detektr.telemetry.history.run_records import RunRecords
from detektr.telemetry.history.window import Window
from detektr.telemetry.history.writer import FILE

LIVE_S = 60  # looked back at, of a run that goes on
AROUND_S = 30  # before and after a time that is asked for with its seconds
RUN_S_MAX = 24 * 3600  # of an ended run: its last day


def explain(
    name: str | None = None,
    place: str | None = None,
    *,
    at: str | None = None,
    camera: str | None = None,
    run: str | None = None,
    live_s: int = LIVE_S,
) -> dict[str, Any]:
    """Return what is or was wrong with a pipeline, the worst first.

    Args:
        name: which pipeline; None: the one that runs, or the only one there is.
        place: only what concerns this node, or this edge (`buffer->detect`).
        at: a time: `14:03`, `14:03:20`, `2026-11-30T14:03`; None: the last minute of a run that goes on, else all of
            the last one.
        camera: only what concerns this camera.
        run: id of a run, the begin of one, or `last`.
        live_s: how far back it looks at a run that goes on, in seconds.
    Returns:
        `pipeline`, `run`, `live`, `window` (`begin`, `end`, `step_s`), `sickest` (`rank`, `code`, `culprit`, `victim`,
        `since`, `text`, `next`, `lost`) and `evidence`: by edge what was offered and lost, and the worst of its queue.
    Raises:
        DetektrError: there is no such pipeline or run, or nothing is known of that time.
    """
    name = name or the_pipeline()
    folder, records = RunFolder(name), RunRecords(state_root() / name)
    is_live = folder.path.is_dir() and (folder.lock_holder() is not None or bool(folder.live_processes()))
    if run is None and at is None and is_live:
        window, terms, record = _live(folder, records, live_s)
    else:
        record = _record(records, name, run, at)
        window = _past(records, record, at)
        terms = terms_of_record(record)
        is_live = is_live and record["ended_utc_ns"] is None
    found = find(window, terms, is_over=not is_live)
    found = [*_dead_supervisor(record, folder, window, is_live=is_live), *found]
    found = [one for one in found if _concerns(one, place, camera, terms)]
    return {
        "pipeline": name,
        "run": record.get("run"),
        "live": is_live,
        "window": {"begin": _utc(window.begin_s), "end": _utc(window.end_s), "step_s": window.step_s},
        "sickest": [_as_record(rank, one) for rank, one in enumerate(found, 1)],
        "evidence": [_evidence(edge, window) for edge in window.edges],
    }


def read_run(name: str, run: str) -> dict[str, Any]:
    """Return the status of a run that has ended, as `status.read_status` has it of one that goes on.

    Args:
        name: which pipeline.
        run: id of the run, the begin of one, or `last`.
    Raises:
        DetektrError: there is no such run, or it has not ended.
    """
    record = RunRecords(state_root() / name).read(run)
    report = record.get("report")
    if report is None:
        how = "goes on" if RunFolder(name).lock_holder() == record["pid"] else "died before its end was written down"
        raise DetektrError(f"run {record['run']} {how}, so it has no last ledger; `detektr why {name} --run {run}`")
    return {
        "pipeline": name,
        "run": record["run"],
        "state": "ended",
        "file": record["file"],
        "supervisor": None,
        "seconds": report["seconds"],
        "metrics": None,
        "web": None,
        "nodes": {node: {"pids": [], **facts} for node, facts in report["nodes"].items()},
        "edges": report["edges"],
        "cameras": {},
    }


def list_runs(name: str | None = None) -> list[dict[str, Any]]:
    """Return the records of a pipeline's runs, oldest first, each with its `state`: `ended`, `running` or `died`.

    Raises:
        DetektrError: several pipelines are known, or none, and none is named.
    """
    name = name or the_pipeline()
    holder, runs = RunFolder(name).lock_holder(), RunRecords(state_root() / name).all()
    for run in runs:
        is_running = run["ended_utc_ns"] is None and run["pid"] == holder
        run["state"] = "running" if is_running else "ended" if run["ended_utc_ns"] else "died"
    return runs


def the_pipeline() -> str:
    """Return the pipeline that is meant where none is named: the one that runs, else the only one with a record.

    Raises:
        DetektrError: there are several, or none.
    """
    running = [str(one["pipeline"]) for one in list_pipelines()]
    known = running or [path.name for path in _state_folders()]
    if len(known) != 1:
        what = f"which pipeline? there are {', '.join(known)}" if known else "no pipeline runs, and none has run yet"
        raise DetektrError(what)
    return known[0]


def _state_folders() -> list[Any]:
    root = state_root()
    return sorted(path for path in root.iterdir() if RunRecords(path).ids()) if root.is_dir() else []


def _live(folder: RunFolder, records: RunRecords, live_s: int) -> tuple[Window, Terms, Mapping[str, Any]]:
    """Return the last seconds of a run that goes on, and this moment."""
    now_s = int(time.time())
    reader = RunReader(folder)
    ledgers, snapshots = reader.read()
    reader.close()
    run_state = read_run_state(folder)
    record: Mapping[str, Any] = {}
    ids = records.ids()
    if ids and (last := records.read(ids[-1]))["ended_utc_ns"] is None:
        record = last
    terms = terms_of_record(record) if record else terms_of_memory(folder.pipeline, ledgers, snapshots)
    window = Window(now_s - live_s, now_s, 1)
    with contextlib.suppress(DetektrError):  # in its first second, or where the disk is full, there is this moment
        if record:
            history = HistoryReader(records.folder.parent / FILE)
            window = history.window(record["run"], now_s - live_s, now_s)
            history.close()
    nodes = describe_nodes(run_state.get("nodes", {}), ledgers, snapshots)
    moment = Sampler().sample(nodes, ledgers, snapshots, monotonic_ns=time.monotonic_ns(), utc_ns=time.time_ns())
    window.add(moment)
    return window, terms, record


def _record(records: RunRecords, name: str, run: str | None, at: str | None) -> dict[str, Any]:
    if run is None and at is not None:
        found = records.at(_begin_end(at)[1])
        if found is None:
            raise DetektrError(f"pipeline {name!r} did not run at {at}; nothing is recorded of that time")
        return found
    if not records.ids():
        names = ", ".join(path.name for path in _state_folders())
        raise DetektrError(f"no pipeline {name!r} is running, and none has run; known: {names or 'none'}")
    return records.read(run or "last")


def _past(records: RunRecords, record: Mapping[str, Any], at: str | None) -> Window:
    begun_s = record["started_utc_ns"] // 10**9
    ended_s = (record["ended_utc_ns"] or time.time_ns()) // 10**9 + 1
    begin_s, end_s = max(begun_s - 1, ended_s - RUN_S_MAX), ended_s
    if at is not None:
        first_s, last_s = _begin_end(at)
        begin_s, end_s = max(begun_s - 1, first_s), min(ended_s, last_s)
        if begin_s >= end_s:
            raise DetektrError(f"run {record['run']} was over by {at}: it ended at {_local(ended_s)}")
    window = Window(begin_s, end_s, 1)
    is_dead = at is None and record["ended_utc_ns"] is None  # in its first second perhaps, which is something to say
    with contextlib.suppress(*((DetektrError,) if is_dead else ())):
        history = HistoryReader(records.folder.parent / FILE)
        window = history.window(record["run"], begin_s, end_s)
        history.close()
    if not window.nodes and not is_dead:
        raise DetektrError(f"nothing is known of run {record['run']} between {_local(begin_s)} and {_local(end_s)}")
    return window


def _begin_end(at: str) -> tuple[int, int]:
    """Return the time that is meant, as two times (UTC, in seconds): a minute, or some seconds around a second.

    Raises:
        DetektrError: it is no time.
    """
    text = at.strip().replace(" ", "T")
    has_date = "T" in text or text.count("-") == 2
    try:
        if has_date:
            moment = datetime.datetime.fromisoformat(text).astimezone()
        else:
            today = datetime.datetime.now().astimezone()
            moment = datetime.datetime.combine(today.date(), datetime.time.fromisoformat(text)).astimezone()
            if moment > today:
                moment -= datetime.timedelta(days=1)
    except ValueError:
        raise DetektrError(f"--at {at!r} is not a time; write 14:03, 14:03:20 or 2026-11-30T14:03") from None
    begin_s = int(moment.timestamp())
    has_seconds = text.rpartition("T")[2].count(":") == 2
    return (begin_s - AROUND_S, begin_s + AROUND_S) if has_seconds else (begin_s, begin_s + 60)


def _dead_supervisor(record: Mapping[str, Any], folder: RunFolder, window: Window, *, is_live: bool) -> list[Finding]:
    """Return that the run's supervisor died: it holds no lock, and has not written down its end."""
    if not record or record["ended_utc_ns"] is not None or _supervises(folder, record["pid"]):
        return []
    last_s = max((utc_s for rows in window.nodes.values() for utc_s, _ in rows), default=window.end_s)
    left = folder.live_processes() if is_live else []
    rest = f"; {len(left)} of its processes are left" if left else ""
    text = f"the supervisor (process {record['pid']}) died without a word, at about {_local(last_s)}{rest}"
    next_ = "see who killed it (`dmesg` has the kernel's reasons); start the pipeline again: it takes over what is left"
    return [Finding("supervisor_dead", "supervisor", "the run", last_s, text, next_)]


def _supervises(folder: RunFolder, pid: int) -> bool:
    """Whether a process holds the run's lock, or has just let go of it and writes down the end of the run."""
    if folder.lock_holder() == pid:
        return True
    with contextlib.suppress(OSError):
        return b"detektr" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _concerns(one: Finding, place: str | None, camera: str | None, terms: Terms) -> bool:
    edges = {f"{producer}->{consumer}" for producer, consumer in one.edges}
    nodes = {one.culprit, *(node for edge in one.edges for node in edge), *one.victim.split(", ")}
    is_here = place is None or place.replace(" ", "") in edges | nodes
    return is_here and (camera is None or not one.cameras or camera in one.cameras)


def _as_record(rank: int, one: Finding) -> dict[str, Any]:
    return {
        "rank": rank,
        "code": one.code,
        "culprit": one.culprit,
        "victim": one.victim,
        "since": _utc(one.since_s),
        "text": one.text,
        "next": one.next,
        "lost": one.lost,
    }


def _evidence(edge: tuple[str, str], window: Window) -> dict[str, Any]:
    rows = window.edges[edge]
    before = rows[0][1] if rows[0][0] <= window.begin_s else EdgeRow()
    within = [row for utc_s, row in rows if utc_s > window.begin_s] or [rows[-1][1]]
    last, lost = within[-1], {**lost_of(within[-1])}
    for reason, count in lost_of(before).items():
        lost[reason] -= count
    return {
        "from": edge[0],
        "to": edge[1],
        "offered": last.offered - before.offered,
        "delivered": last.delivered - before.delivered,
        "dead_lettered": last.dead_lettered - before.dead_lettered,
        "dropped": {reason: count for reason, count in lost.items() if count},
        "queued_most": max(row.queued for row in within),
        "oldest_ms_most": max(row.oldest_ms for row in within),
        "full_s": sum(row.full_s for row in within),
    }


def _utc(utc_s: int) -> str:
    return datetime.datetime.fromtimestamp(utc_s, datetime.UTC).isoformat()


def _local(utc_s: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(utc_s))
