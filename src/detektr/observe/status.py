"""The status of a run, from the run state, the status blocks and the journals."""

from __future__ import annotations

import contextlib
import datetime
import math
import time
from collections.abc import Iterable, Mapping
from typing import Any

from detektr.errors import DetektrError
from detektr.ledger import EdgeLedger, merge
from detektr.memory.partition_file import open_partition
from detektr.memory.run_folder import NAME, RunFolder, shm_root
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.observe.culprit import held_up
from detektr.observe.node_state import SUPERVISED, node_state, worst
from detektr.observe.run_reader import RunReader
from detektr.observe.run_state import read_run_state
from detektr.process.suspended import is_suspended
from detektr.redaction import disarm

_COUNTS = (
    *("frames", "failures", "refused", "wire_errors", "reconnects", "thinned", "corrupt", "stale", "paused"),
    "trail_lost",
)


def describe_nodes(
    supervised: Mapping[str, Mapping[str, Any]], ledgers: Iterable[EdgeLedger], snapshots: Iterable[NodeSnapshot]
) -> dict[str, dict[str, Any]]:
    """Return the status of each node, from the supervisor, the status blocks and the ledgers.

    Args:
        supervised: by node, `kind`, `state`, `restarts`, `why`; without the nodes that were started alone.
        ledgers: of all edges.
        snapshots: status blocks of all processes.
    Returns:
        By node, in the supervisor's order and then those started alone: `kind`, `state` (that of its worst process, but
        for those that leave as it is scaled down), `pids`, `replicas` (how many processes it is to have),
        `max_replicas` (how many it may), `restarts`, `why`, `since` (UTC at which it came into that state; None: not
        known), `mode` (how a capture's source is read) and the counts of its status blocks.
    """
    ledgers = list(ledgers)
    culprits = held_up(ledgers, time.monotonic_ns())
    stalled = {ledger.producer for ledger in ledgers if ledger.is_stalled}
    by_node: dict[str, list[NodeSnapshot]] = {name: [] for name in supervised}
    for snapshot in snapshots:
        by_node.setdefault(snapshot.node, []).append(snapshot)
    nodes: dict[str, dict[str, Any]] = {}
    for name, found in by_node.items():
        known = supervised.get(name, {})
        count = known.get("replicas", math.inf)  # those behind it leave
        live = [snapshot for snapshot in found if snapshot.is_alive and snapshot.replica < count]
        if known:
            state = node_state(known["state"], [snapshot.state for snapshot in live], is_stalled=name in stalled)
        else:
            state = node_state(worst(snapshot.state for snapshot in live or found), (), is_stalled=name in stalled)
        suspended = [snapshot.pid for snapshot in live if is_suspended(snapshot.pid)]
        if suspended:
            state = "suspended"
        words = [snapshot.why for snapshot in live if snapshot.why and state not in SUPERVISED]
        nodes[name] = {
            "kind": known.get("kind") or next((snapshot.kind for snapshot in found if snapshot.kind), ""),
            "state": state,
            "pids": [snapshot.pid for snapshot in live] if not known else known["pids"],
            "replicas": known.get("replicas", len(live)),
            "max_replicas": known.get("max_replicas", len(live)),
            "restarts": known.get("restarts", 0),
            "why": disarm(_suspended(suspended) or known.get("why") or next(iter(words), "") or _flow(name, culprits)),
            "since": _utc(min((snapshot.since_utc_ns for snapshot in live if snapshot.state == state), default=0)),
            "held_up_by": culprits.get(name, ""),
            "mode": disarm(next((snapshot.mode for snapshot in live if snapshot.mode), "")),
            **{count: sum(getattr(snapshot, count) for snapshot in found) for count in _COUNTS},
        }
    return nodes


def _suspended(pids: list[int]) -> str:
    """Say which processes are suspended; empty: none is."""
    what = f"process {pids[0]} is" if len(pids) == 1 else f"processes {', '.join(map(str, pids))} are"
    return f"{what} suspended (SIGSTOP)" if pids else ""


def _flow(name: str, culprits: Mapping[str, str]) -> str:
    """Return which nodes a node holds up, or which one holds it up; empty: neither."""
    held = [node for node, culprit in culprits.items() if culprit == name]
    if held:
        return f"holds up {', '.join(held)}"
    return f"held up by {culprits[name]}" if name in culprits else ""


def read_status(name: str) -> dict[str, Any]:
    """Return the status of a running pipeline, with the nodes that were started alone.

    Returns:
        `pipeline`, `run` (its id; None: nodes started alone), `state`, `file`, `supervisor` (process or None),
        `seconds`, `metrics` and `web` (URL or None), `nodes`, `edges`, and `cameras`: of each node that keeps state, by
        camera, the replica that has it (None: it moves).

    Raises:
        DetektrError: no pipeline of this name runs.
    """
    folder = find_running(name)
    run_state = read_run_state(folder)
    reader = RunReader(folder)
    ledgers, snapshots = reader.read()
    reader.close()
    started_ns, now_ns = run_state.get("started_utc_ns"), time.monotonic_ns()
    return {
        "pipeline": name,
        "run": run_state.get("run"),
        "state": worst(node["state"] for node in run_state["nodes"].values()) if run_state else "running",
        "file": run_state.get("file"),
        "supervisor": run_state.get("pid"),
        "seconds": round((time.time_ns() - started_ns) / 1e9, 1) if started_ns else None,
        "metrics": run_state.get("metrics"),
        "web": run_state.get("web"),
        "nodes": describe_nodes(run_state.get("nodes", {}), ledgers, snapshots),
        "edges": [edge.as_record() | {"oldest_ms": edge.oldest_ms(now_ns)} for edge in merge(ledgers)],
        "cameras": _cameras(folder),
    }


def list_pipelines() -> list[dict[str, Any]]:
    """Return the pipelines of this user that have live processes: `pipeline`, `file`, `supervisor`, `processes`."""
    found = []
    for folder in _folders():
        run_state = read_run_state(folder)
        live = folder.live_processes()
        if run_state or live:
            facts = {"file": run_state.get("file"), "supervisor": run_state.get("pid"), "processes": len(live)}
            found.append({"pipeline": folder.pipeline, **facts})
    return found


def _cameras(folder: RunFolder) -> dict[str, dict[str, str | None]]:
    found = {}
    for consumer, path in folder.partitions():
        reader = open_partition(path)
        state = None if reader is None else reader.read()
        if reader is not None:
            reader.close()
        if state is not None:
            found[consumer] = {camera: f"{consumer}.{owner}" if owner >= 0 else None for camera, owner, _ in state[1]}
    return found


def _utc(utc_ns: int) -> str | None:
    return datetime.datetime.fromtimestamp(utc_ns // 10**9, datetime.UTC).isoformat() if utc_ns else None


def _folders() -> list[RunFolder]:
    with contextlib.suppress(FileNotFoundError):
        return [RunFolder(path.name) for path in sorted(shm_root().iterdir()) if NAME.match(path.name)]
    return []


def find_running(name: str) -> RunFolder:
    """Return the folder of a running pipeline.

    Raises:
        DetektrError: no pipeline of this name runs.
    """
    folder = RunFolder(name)
    if not folder.path.is_dir() or (folder.lock_holder() is None and not folder.live_processes()):
        names = ", ".join(pipeline["pipeline"] for pipeline in list_pipelines())
        raise DetektrError(f"no pipeline {name!r} is running; running: {names or 'none'}")
    return folder
