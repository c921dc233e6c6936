"""What was agreed for the nodes and edges of a run: from its record, or from what lies in shared memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from detektr.ledger import EdgeLedger, merge
from detektr.memory.status_block_reader import NodeSnapshot


@dataclass(frozen=True)
class NodeTerms:
    """What was agreed for a node."""

    kind: str = ""
    replicas: int = 1
    is_optional: bool = False
    timeout_ms: int = 0
    """How long one frame may take; 0: any time."""
    camera: str = ""
    """Of a capture: its camera."""
    replicas_max: int = 1
    """How many replicas an operator may ask for."""


@dataclass(frozen=True)
class EdgeTerms:
    """What was agreed for an edge."""

    when_full: str = "drop-oldest"
    mark: int = 0
    is_lossy: bool = False
    """Whether the file asks for the newest frames only, or makes the consumer optional: frames may be lost here."""
    retries: bool = False


_OUTSIDE = EdgeTerms(is_lossy=True)


@dataclass(frozen=True)
class Terms:
    """What was agreed for a run."""

    pipeline: str
    nodes: Mapping[str, NodeTerms]
    edges: Mapping[tuple[str, str], EdgeTerms]

    def node(self, name: str) -> NodeTerms:
        """Return a node's; that of a consumer outside the file where it is none of the file."""
        return self.nodes.get(name, NodeTerms("guest"))

    def edge(self, edge: tuple[str, str]) -> EdgeTerms:
        """Return an edge's; one to a consumer outside the file may lose frames, and holds up nobody."""
        return self.edges.get(edge, _OUTSIDE)


def terms_of_record(record: Mapping[str, Any]) -> Terms:
    """Return what the record of a run says."""
    return Terms(
        record["pipeline"],
        {
            name: NodeTerms(
                one["kind"],
                one["replicas"],
                one["optional"],
                one["timeout_ms"],
                one["camera"],
                one.get("max_replicas", one["replicas"]),
            )
            for name, one in record.get("nodes", {}).items()
        },
        {
            (one["from"], one["to"]): EdgeTerms(one["when_full"], one["high_water_mark"], one["lossy"], one["retries"])
            for one in record.get("edges", [])
        },
    )


def terms_of_memory(pipeline: str, ledgers: Iterable[EdgeLedger], snapshots: Iterable[NodeSnapshot]) -> Terms:
    """Return what lies in shared memory, as of nodes that were started alone."""
    nodes: dict[str, NodeTerms] = {}
    for snapshot in snapshots:
        known = nodes.get(snapshot.node)
        nodes[snapshot.node] = NodeTerms(snapshot.kind, 1 if known is None else known.replicas + 1)
    edges = {(edge.producer, edge.consumer): EdgeTerms(edge.when_full, edge.mark) for edge in merge(ledgers)}
    return Terms(pipeline, nodes, edges)
