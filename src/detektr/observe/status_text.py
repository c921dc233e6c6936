"""The status of running pipelines as a few lines of plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from detektr.ledger import describe_counts, left_out


def describe_status(status: Mapping[str, Any]) -> str:
    """Write the status of one pipeline: a row a node, then a row an edge."""
    about = [f"pipeline {status['pipeline']}"]
    if status.get("supervisor"):
        about.append(f"process {status['supervisor']}, up {status.get('seconds')} s")
    if status.get("metrics"):
        about.append(f"metrics {status['metrics']}")
    headings = "node", "kind", "state", "processes", "frames", "left out", "restarts", "since", "why"
    nodes: list[tuple[str, ...]] = [headings]
    for name, node in status["nodes"].items():
        pids = " ".join(map(str, node["pids"])) or "-"
        if node.get("max_replicas", 1) > 1:
            pids += f" ({node['replicas']} of {node['max_replicas']})"
        frames, restarts = str(node.get("frames", 0)), str(node["restarts"])
        why = node.get("why") or node.get("mode") or ""
        gone, since = describe_counts(left_out(node)) or "-", node.get("since") or "-"
        nodes.append((name, node["kind"], node["state"], pids, frames, gone, restarts, since, why))
    edges: list[tuple[str, ...]] = [
        ("edge", "offered", "delivered", "dropped", "dead-lettered", "queued", "in flight", "")
    ]
    for edge in status["edges"]:
        dropped = sum(edge["dropped"].values())
        whys = [describe_counts(edge["dropped"])] if edge["dropped"] else []
        whys += [f"STALLED: {_who_stalls(edge['to'], status['nodes'])}"] if edge["stalled"] else []
        counts = edge["offered"], edge["delivered"], dropped, edge["dead_lettered"], edge["queued"], edge["in_flight"]
        edges.append((f"{edge['from']} -> {edge['to']}", *map(str, counts), ", ".join(whys)))
    homes = [_homes(name, cameras) for name, cameras in status.get("cameras", {}).items()]
    return "\n".join([", ".join(about), *aligned(nodes), *aligned(edges), *homes, *_reach(status.get("audit"))])


def _reach(audit: Mapping[str, Any] | None) -> list[str]:
    """Say how far back the audit trail reaches; nothing where there is none."""
    if audit is None:
        return []
    return [f"audit {audit['to']}: {audit['why'] or ('frames since ' + (audit['since'] or 'now: none yet'))}"]


def _homes(node: str, cameras: Mapping[str, str | None]) -> str:
    """Say which replica has which cameras."""
    owners = dict.fromkeys(cameras.values())
    words = [
        f"{owner or 'on the move'}: {', '.join(camera for camera, other in cameras.items() if other == owner)}"
        for owner in sorted(owners, key=lambda owner: owner or "~")
    ]
    return f"cameras of {node}: {'; '.join(words)}"


def _who_stalls(consumer: str, nodes: Mapping[str, Any]) -> str:
    node = nodes.get(consumer, {"state": "", "pids": []})
    if node["state"] == "hanging":
        return f"{consumer} {node['why']}"
    return f"{consumer} does not take them; `detektr stacks` says where it is" if node["pids"] else "nobody takes them"


def describe_pipelines(pipelines: Iterable[Mapping[str, Any]]) -> str:
    """Write the running pipelines, one a line."""
    rows: list[tuple[str, ...]] = [("pipeline", "supervisor", "processes", "file")]
    for one in pipelines:
        supervisor = f"process {one['supervisor']}" if one["supervisor"] else "none"
        rows.append((one["pipeline"], supervisor, str(one["processes"]), str(one["file"] or "-")))
    return "\n".join(aligned(rows)) if len(rows) > 1 else "no pipeline is running"


def aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Write rows with their columns one below the other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
