"""`detektr why`: what was lost or late, and whose fault it was: now, at a time that is past, or in a run."""

from __future__ import annotations

import contextlib
import datetime
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from detektr.errors import DetektrError
from detektr.memory.run_folder import RunFolder, state_root
from detektr.observe.run_reader import RunReader
from detektr.observe.run_state import read_run_state
from detektr.observe.status import describe_nodes, list_pipelines
from detektr.observe.why.blame import lost_since
from detektr.observe.why.episodes import Episodes
from detektr.observe.why.finding import Finding
from detektr.observe.why.findings import WORST_TO_BEST, find
from detektr.observe.why.room import low_memory
from detektr.observe.why.terms import Terms, terms_of_memory, terms_of_record
from detektr.process.start_ticks import start_ticks
from detektr.telemetry.history.reader import HistoryReader
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.history.rows import EdgeRow, Sampler
from detektr.telemetry.history.window import Window
from detektr.telemetry.history.writer import FILE

EPISODIC = ("losing", "failing")  # what goes wrong from time to time: it began when it was last right for a minute
LIVE_S = 60  # looked back at, of a run that goes on
AROUND_S = 30  # before and after a time that is asked for with its seconds
_TIME = re.compile(r"(?:([0-9]{4}-[0-9]{2}-[0-9]{2})[T ])?([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
RUN_S_MAX = 24 * 3600  # of an ended run: its last day
_episodes = Episodes()


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
        if "refused" in record:
            return _refused(name, record)
        window = _past(records, record, at)
        terms = terms_of_record(record)
        is_live = is_live and record["ended_utc_ns"] is None
    _refuse_unknown(name, place, camera, window, terms)
    is_lately = is_live and run is None and at is None
    found = find(window, terms, is_over=not is_live, is_lately=is_lately)
    if is_lately:
        found = _since_it_began(found, record, records, window, terms)
    found = [
        *_dead_supervisor(record, folder, window, is_live=is_live),
        *found,
        *(low_memory(folder) if is_live else ()),
    ]
    found.sort(key=lambda one: WORST_TO_BEST.index(one.code))  # stable: of one code, who loses most stays first
    found = [one for one in found if _concerns(one, place, camera, terms)]
    return {
        "pipeline": name,
        "run": record.get("run"),
        "live": is_live,
        "window": {"begin": _utc(window.begin_s), "end": _utc(window.end_s), "step_s": window.step_s},
        "sickest": [_as_record(rank, one) for rank, one in enumerate(found, 1)],
        "evidence": [_evidence(edge, window) for edge in window.edges if _is_of(edge, place)],
    }


def _refused(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer about a start that began nothing."""
    begun_s, ended_s = (record[key] // 10**9 for key in ("started_utc_ns", "ended_utc_ns"))
    text = f"the start was refused: {'; '.join(record['refused'].splitlines())}"
    one = Finding("failed", "", "the run", begun_s, text, f"mend it, then start again; {record['file']} is the file")
    return {
        "pipeline": name,
        "run": record["run"],
        "live": False,
        "window": {"begin": _utc(begun_s), "end": _utc(ended_s), "step_s": 1},
        "sickest": [_as_record(1, one)],
        "evidence": [],
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
    if "refused" in record:
        raise DetektrError(f"run {record['run']} began nothing: its start was refused; see `detektr why {name}`")
    if report is None:
        how = "goes on" if _supervises(RunFolder(name), record) else "died before its end was written down"
        raise DetektrError(f"run {record['run']} {how}, so it has no last ledger; see `detektr why {name} --run {run}`")
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


def _refuse_unknown(name: str, place: str | None, camera: str | None, window: Window, terms: Terms) -> None:
    """Refuse a node, an edge or a camera that the run does not have: nothing is wrong with what is not there."""
    edges = {f"{producer}->{consumer}" for producer, consumer in (*terms.edges, *window.edges)}
    nodes = {*terms.nodes, *window.nodes, *(consumer for _, consumer in window.edges)}
    if place is not None and place.replace(" ", "") not in edges | nodes:
        raise DetektrError(
            f"pipeline {name!r} has no node or edge {place!r}; it has: {', '.join(sorted(edges | nodes))}"
        )
    cameras = {one.camera for one in terms.nodes.values() if one.camera}
    if camera is not None and cameras and camera not in cameras:
        raise DetektrError(f"pipeline {name!r} has no camera {camera!r}; it has: {', '.join(sorted(cameras))}")


def list_runs(name: str | None = None) -> list[dict[str, Any]]:
    """Return the records of a pipeline's runs, oldest first, each with its `state`: `ended`, `running` or `died`.

    Raises:
        DetektrError: several pipelines are known, or none, and none is named.
    """
    name = name or the_pipeline()
    folder, runs = RunFolder(name), RunRecords(state_root() / name).all()
    for run in runs:
        is_running = run["ended_utc_ns"] is None and _supervises(folder, run)
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
        if known:
            raise DetektrError(f"{len(known)} pipelines are known here: {', '.join(known)}; name one of them")
        raise DetektrError(f"no pipeline is known in {state_root()}; start one: detektr up pipeline.yaml")
    return known[0]


def _state_folders() -> list[Path]:
    root = state_root()
    return sorted(path for path in root.iterdir() if RunRecords(path).ids()) if root.is_dir() else []


def _live(folder: RunFolder, records: RunRecords, live_s: int) -> tuple[Window, Terms, Mapping[str, Any]]:
    """Return the last seconds of a run that goes on, and this moment."""
    now_s = int(time.time())
    reader = RunReader(folder)
    ledgers, snapshots = reader.read()
    reader.close()
    run_state = read_run_state(folder)
    record = _record_of(records, run_state.get("run"), now_s)
    terms = terms_of_record(record) if record else terms_of_memory(folder.pipeline, ledgers, snapshots)
    window = Window(now_s - live_s, now_s, 1)
    if record:
        with contextlib.suppress(DetektrError):  # in its first second, or where the disk is full, there is this moment
            window = _window(records, record["run"], now_s - live_s, now_s)
    nodes = describe_nodes(run_state.get("nodes", {}), ledgers, snapshots)
    moment = Sampler().sample(nodes, ledgers, snapshots, monotonic_ns=time.monotonic_ns(), utc_ns=time.time_ns())
    window.add(moment)
    return window, terms, record


def _since_it_began(
    found: list[Finding], record: Mapping[str, Any], records: RunRecords, window: Window, terms: Terms
) -> list[Finding]:
    """Return findings of losses with the time at which these began, also where that is before the window."""
    if not record:
        return found

    def earlier(begin_s: int, end_s: int) -> Window | None:
        try:
            return _window(records, record["run"], begin_s, end_s)
        except DetektrError:  # the file was removed, or is broken: what this moment says is known all the same
            return None

    names = {one.culprit: _node_of(one) for one in found if one.code in EPISODIC}
    begun = _episodes.begun(record["run"], names.values(), window, terms, earlier)
    return [
        replace(one, since_s=begun.get(names[one.culprit], one.since_s)) if one.code in EPISODIC else one
        for one in found
    ]


def _node_of(one: Finding) -> str:
    """Return the node of a finding whose culprit may be an edge, which is the edge's consumer."""
    return one.culprit.rpartition(" -> ")[2]


def _record_of(records: RunRecords, run: str | None, now_s: int) -> Mapping[str, Any]:
    """Return the record of what lives now; empty: it has none, as nodes that were started one by one.

    Without a supervisor that says which run it is: one without an end whose history goes to within the last minute.
    """
    if run is not None:
        own: list[Mapping[str, Any]] = [one for one in records.all() if one["run"] == run]
        return own[-1] if own else {}
    for one in reversed(records.all()[-1:]):
        with contextlib.suppress(DetektrError):
            if one["ended_utc_ns"] is None and _window(records, str(one["run"]), now_s - LIVE_S, now_s).nodes:
                return dict(one)
    return {}


def _window(records: RunRecords, run: str, begin_s: int, end_s: int) -> Window:
    with contextlib.closing(HistoryReader(records.folder.parent / FILE)) as history:
        return history.window(run, begin_s, end_s)


def _record(records: RunRecords, name: str, run: str | None, at: str | None) -> dict[str, Any]:
    if run is None and at is not None:
        found = records.at(*_begin_end(at))
        if found is None:
            raise DetektrError(f"pipeline {name!r} did not run at {at}; see `detektr runs {name}`")
        return found
    if not records.ids():
        names = ", ".join(path.name for path in _state_folders())
        raise DetektrError(f"pipeline {name!r} has not run here; known are {names or 'none'}")
    return records.read(run or "last")


def _past(records: RunRecords, record: Mapping[str, Any], at: str | None) -> Window:
    begun_s = record["started_utc_ns"] // 10**9
    ended_s = (record["ended_utc_ns"] or time.time_ns()) // 10**9 + 1
    begin_s, end_s = max(begun_s - 1, ended_s - RUN_S_MAX), ended_s
    if at is not None:
        first_s, last_s = _begin_end(at)
        begin_s, end_s = max(begun_s - 1, first_s), min(ended_s, last_s)
        if begin_s >= end_s:
            runs, when = f"`detektr runs {record['pipeline']}`", f"it went from {_local(begun_s)} to {_local(ended_s)}"
            raise DetektrError(f"run {record['run']} was not running at {at}: {when}; see {runs}")
    window = Window(begin_s, end_s, 1)
    is_dead = at is None and record["ended_utc_ns"] is None  # in its first second perhaps, which is something to say
    with contextlib.suppress(*((DetektrError,) if is_dead else ())):
        window = _window(records, record["run"], begin_s, end_s)
    if not window.nodes and not is_dead:
        span = f"between {_local(begin_s)} and {_local(end_s)}"
        raise DetektrError(f"run {record['run']} has no history {span}; try another time, or leave `--at` out")
    return window


def _begin_end(at: str) -> tuple[int, int]:
    """Return the time that is meant, as two times (UTC, in seconds): a minute, or some seconds around a second.

    Raises:
        DetektrError: it is no time.
    """
    match = _TIME.fullmatch(at.strip())
    try:
        if match is None:
            raise ValueError
        day, hour, minute, second = match.groups()
        clock = datetime.time(int(hour), int(minute), int(second or 0))
        now = datetime.datetime.now().astimezone()
        date = now.date() if day is None else datetime.date.fromisoformat(day)
        moment = datetime.datetime.combine(date, clock).astimezone()
        if day is None and moment > now:
            moment = datetime.datetime.combine(date - datetime.timedelta(days=1), clock).astimezone()
    except ValueError:
        raise DetektrError(f"--at {at!r} is not a time; write 14:03, 14:03:20 or 2026-11-30T14:03") from None
    begin_s = int(moment.timestamp())
    return (begin_s, begin_s + 60) if second is None else (begin_s - AROUND_S, begin_s + AROUND_S)


def _dead_supervisor(record: Mapping[str, Any], folder: RunFolder, window: Window, *, is_live: bool) -> list[Finding]:
    """Return that the run's supervisor died: it holds no lock, and has not written down its end."""
    if not record or record["ended_utc_ns"] is not None or _supervises(folder, record):
        return []
    last_s = max((utc_s for rows in window.nodes.values() for utc_s, _ in rows), default=window.end_s)
    left = folder.live_processes() if is_live else []
    rest = f"; {len(left)} of its processes are left" if left else ""
    text = f"the supervisor (process {record['pid']}) died without a word, at about {_local(last_s)}{rest}"
    next_ = "see who killed it (`dmesg` has the kernel's reasons); start the pipeline again: it takes over what is left"
    return [Finding("supervisor_dead", "supervisor", "the run", last_s, text, next_)]


def _supervises(folder: RunFolder, record: Mapping[str, Any]) -> bool:
    """Whether the process of a record holds the run's lock, or has just let go of it and writes down the end."""
    pid: int = record["pid"]
    return folder.lock_holder() == pid or start_ticks(pid) == record.get("pid_started")


def _concerns(one: Finding, place: str | None, camera: str | None, terms: Terms) -> bool:
    edges = {f"{producer}->{consumer}" for producer, consumer in one.edges}
    nodes = {one.culprit, *(node for edge in one.edges for node in edge), *one.victim.split(", ")}
    is_here = place is None or place.replace(" ", "") in edges | nodes
    return is_here and (camera is None or not one.cameras or camera in one.cameras)


def _is_of(edge: tuple[str, str], place: str | None) -> bool:
    return place is None or place in edge or place.replace(" ", "") == "->".join(edge)


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
    last = within[-1]
    return {
        "from": edge[0],
        "to": edge[1],
        "offered": last.offered - before.offered,
        "delivered": last.delivered - before.delivered,
        "dead_lettered": last.dead_lettered - before.dead_lettered,
        "dropped": lost_since(before, last),
        "queued_most": max(row.queued for row in within),
        "oldest_ms_most": max(row.oldest_ms for row in within),
        "full_s": sum(row.full_s for row in within),
    }


def _utc(utc_s: int) -> str:
    return datetime.datetime.fromtimestamp(utc_s, datetime.UTC).isoformat()


def _local(utc_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(utc_s))
