"""The shapes of answers, from what was read of a run. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detektr.ledger import EdgeLedger
from detektr.web.problem import Problem


def frames_status(
    pipeline: str,
    run: str | None,
    at: str,
    edges: Sequence[EdgeLedger],
    kinds: Mapping[str, str],
    now_ns: int,
    node: str | None,
) -> dict[str, Any]:
    """Return what is queued: of all buffers, of the one that is named, or of the captures where there is no buffer.

    `size` is what is queued on all their edges now, and `max_size` what may be.

    Raises:
        Problem: the node that is named offers no frames.
    """
    found = queue_edges(edges, kinds, node)
    return {
        "pipeline": pipeline,
        "run": run,
        "at": at,
        "size": sum(edge.queued for edge in found),
        "max_size": sum(edge.mark for edge in found),
        "edges": [edge_status(edge, now_ns) for edge in found],
    }


def queue_edges(edges: Sequence[EdgeLedger], kinds: Mapping[str, str], node: str | None) -> list[EdgeLedger]:
    """Return the edges that frames wait on, as `frames_status` has them.

    Raises:
        Problem: the node that is named offers no frames.
    """
    producers = {edge.producer for edge in edges}
    if node is not None and node not in producers:
        names = ", ".join(sorted(producers)) or "none"
        raise Problem(404, "no_node", f"no node {node!r} offers frames here", f"name one of these: {names}")
    wanted = {node} if node is not None else buffers(producers, kinds)
    return [edge for edge in edges if edge.producer in wanted]


def buffers(nodes: Iterable[str], kinds: Mapping[str, str]) -> set[str]:
    """Return the buffers among some nodes, or the captures where there is none."""
    by_kind = {kind: {node for node in nodes if kinds.get(node) == kind} for kind in ("buffer", "capture")}
    return by_kind["buffer"] or by_kind["capture"]


def edge_status(edge: EdgeLedger, now_ns: int) -> dict[str, Any]:
    """Return an edge as `/frames/status` has it."""
    return {
        "from": edge.producer,
        "to": edge.consumer,
        "policy": edge.when_full,
        "queued": edge.queued,
        "mark": edge.mark,
        "leased": edge.in_flight,
        "window": edge.window,
        "oldest_ms": edge.oldest_ms(now_ns),
        "offered": edge.offered,
        "delivered": edge.delivered,
        "dropped": {reason: count for reason, count in edge.dropped.items() if count},
        "dead_lettered": edge.dead_lettered,
        "consumers": edge.attached,
        "state": edge_state(edge),
    }


def edge_state(edge: EdgeLedger) -> str:
    """Return what an edge is doing: stalled, waiting (nobody is there), full, flowing or empty."""
    if edge.is_stalled:
        return "stalled"
    if not edge.attached:
        return "waiting"
    if edge.mark and edge.queued >= edge.mark:
        return "full"
    return "flowing" if edge.queued or edge.in_flight else "empty"


def pipeline_status(status: Mapping[str, Any], at: str, sickest: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return a run as `/pipeline` has it."""
    keys = ("run", "seconds", "state", "supervisor", "file", "metrics")
    return {
        "name": status["pipeline"],
        "at": at,
        **{key: status[key] for key in keys},
        "nodes": [{"name": name, **facts} for name, facts in status["nodes"].items()],
        "edges": status["edges"],
        "cameras": status["cameras"],
        "sickest": list(sickest),
    }


def node_status(status: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return one node as `/nodes/{name}` has it.

    Raises:
        Problem: there is no such node.
    """
    facts = status["nodes"].get(name)
    if facts is None:
        names = ", ".join(status["nodes"]) or "none"
        raise Problem(404, "no_node", f"pipeline {status['pipeline']!r} has no node {name!r}", f"it has: {names}")
    return {
        "name": name,
        **facts,
        "inputs": [edge for edge in status["edges"] if edge["to"] == name],
        "outputs": [edge for edge in status["edges"] if edge["from"] == name],
        "cameras": status["cameras"].get(name, {}),
    }
