"""One second of a run as rows: what each edge and each node counted so far, and how it was. Pure."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from detektr.ledger import LEFT_OUT, EdgeLedger, add_counts, merge
from detektr.memory.status_block import AGE_BUCKETS_NS
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.redaction import disarm

NS_PER_MS = 1_000_000
SHARE_LATE = 0.95  # of the frames of a second, so many were no older than `age_p95_ms`


class EdgeRow(NamedTuple):
    """An edge at one moment. Counts go on from the begin of the run; seconds, and losses by camera, are those of the
    row's time; the others are the worst of it."""

    offered: int = 0
    delivered: int = 0
    dead_lettered: int = 0
    redelivered: int = 0
    refused: int = 0
    dropped: Mapping[str, int] = MappingProxyType({})
    """By reason, without reasons that did not occur."""
    queued: int = 0
    in_flight: int = 0
    oldest_ms: int = 0
    """Age of the oldest queued frame, counted from its capture."""
    full_s: int = 0
    """Seconds in which its producer waited for room on it, at their end."""
    stalled_s: int = 0
    """Seconds in which frames waited and nobody took them, at their end."""
    unserved_s: int = 0
    """Seconds at whose end no consumer was attached."""
    lost_by_camera: Mapping[str, int] = MappingProxyType({})
    """Frames dropped in the row's time alone, by camera, where an edge has several."""

    def joined(self, later: EdgeRow) -> EdgeRow:
        """Return one row for the times of both."""
        return EdgeRow(
            later.offered,
            later.delivered,
            later.dead_lettered,
            later.redelivered,
            later.refused,
            later.dropped,
            max(self.queued, later.queued),
            max(self.in_flight, later.in_flight),
            max(self.oldest_ms, later.oldest_ms),
            self.full_s + later.full_s,
            self.stalled_s + later.stalled_s,
            self.unserved_s + later.unserved_s,
            add_counts(self.lost_by_camera, later.lost_by_camera),
        )


class NodeRow(NamedTuple):
    """A node, all its processes together, at one moment. Counts go on from the begin of the run."""

    frames: int = 0
    failures: int = 0
    worked: int = 0
    """Frames on which the user's code has worked to an end."""
    busy_ms: int = 0
    """Time that it took for them."""
    reconnects: int = 0
    restarts: int = 0
    left_out: Mapping[str, int] = MappingProxyType({})
    """Pictures of its source that never became frames, by reason."""
    state: str = "running"
    """At the end of the row's time."""
    working_ms: int = 0
    """How long the longest work that was in progress had taken, at the row's worst."""
    age_p95_ms: int = 0
    """Age of frames when the work on them was done: 95 of 100 were no older; 74 s stand for all that is older."""
    silent_ms: int = 0
    """Time since its last frame, at the row's worst."""

    def joined(self, later: NodeRow) -> NodeRow:
        """Return one row for the times of both."""
        return NodeRow(
            later.frames,
            later.failures,
            later.worked,
            later.busy_ms,
            later.reconnects,
            later.restarts,
            later.left_out,
            later.state,
            max(self.working_ms, later.working_ms),
            max(self.age_p95_ms, later.age_p95_ms),
            max(self.silent_ms, later.silent_ms),
        )


@dataclass(frozen=True)
class Sample:
    """All edges and nodes of a run at one moment."""

    utc_s: int
    edges: Mapping[tuple[str, str], EdgeRow]
    """By producer and consumer."""
    nodes: Mapping[str, NodeRow]
    why: Mapping[str, str] = field(default_factory=dict)
    """Why a node is in its state, where there is something to say."""


class Sampler:
    """Turns looks at a run into samples; remembers of the last one what only ever adds up."""

    def __init__(self) -> None:
        """Begin without a look."""
        self._ages: dict[str, tuple[int, ...]] = {}
        self._cameras: dict[tuple[str, str], dict[str, int]] = {}
        self._failures: dict[str, int] = {}

    def sample(
        self,
        nodes: Mapping[str, Mapping[str, Any]],
        ledgers: Iterable[EdgeLedger],
        snapshots: Iterable[NodeSnapshot],
        *,
        monotonic_ns: int,
        utc_ns: int,
    ) -> Sample:
        """Return a sample of this moment.

        Args:
            nodes: each node's state, as from `status.describe_nodes`.
            ledgers: of all edges.
            snapshots: status blocks of all processes.
            monotonic_ns: now.
            utc_ns: now, on the wall clock.
        """
        by_node: dict[str, list[NodeSnapshot]] = {name: [] for name in nodes}
        for snapshot in snapshots:
            if snapshot.node in by_node:
                by_node[snapshot.node].append(snapshot)
        edges = {
            (edge.producer, edge.consumer): _edge_row(edge, self._lost_by_camera(edge), monotonic_ns)
            for edge in merge(ledgers)
        }
        rows = {}
        for name, found in by_node.items():
            counts = [snapshot.age_counts for snapshot in found if snapshot.age_counts]
            ages = tuple(map(sum, zip(*counts, strict=True)))
            before = self._ages.get(name, ())
            fresh = tuple(map(int.__sub__, ages, before)) if len(before) == len(ages) else ages
            self._ages[name] = ages
            rows[name] = _node_row(nodes[name], found, fresh, monotonic_ns, utc_ns)
        whys = {name: str(node["why"]) for name, node in nodes.items() if node["why"]}
        for name, found in by_node.items():
            fault = disarm(next((snapshot.last_fault for snapshot in found if snapshot.last_fault), ""))
            if name not in whys and fault and rows[name].failures > self._failures.get(name, rows[name].failures):
                whys[name] = fault
            self._failures[name] = rows[name].failures
        return Sample(utc_ns // 10**9, edges, rows, whys)

    def _lost_by_camera(self, edge: EdgeLedger) -> dict[str, int]:
        """Return the frames of each camera that an edge has dropped since the last look."""
        counts = {camera: sum(dropped.values()) for camera, dropped in edge.dropped_by_camera.items()}
        before = self._cameras.get((edge.producer, edge.consumer), counts)  # of a first look nothing is known
        self._cameras[edge.producer, edge.consumer] = counts
        return {camera: lost for camera, count in counts.items() if (lost := count - before.get(camera, 0)) > 0}


def _edge_row(edge: EdgeLedger, lost_by_camera: Mapping[str, int], monotonic_ns: int) -> EdgeRow:
    return EdgeRow(
        edge.offered,
        edge.delivered,
        edge.dead_lettered,
        edge.redelivered,
        edge.refused,
        {reason: count for reason, count in edge.dropped.items() if count},
        edge.queued,
        edge.in_flight,
        max(0, monotonic_ns - edge.oldest_ns) // NS_PER_MS if edge.oldest_ns else 0,
        int(edge.full_since_ns != 0),
        int(edge.is_stalled),
        int(edge.attached == 0),
        lost_by_camera,
    )


def _node_row(
    node: Mapping[str, Any], found: list[NodeSnapshot], ages: tuple[int, ...], monotonic_ns: int, utc_ns: int
) -> NodeRow:
    live = [snapshot for snapshot in found if snapshot.is_alive]
    begun_ns = [snapshot.working_since_ns for snapshot in live if snapshot.working_since_ns]
    last_utc_ns = max((snapshot.last_frame_utc_ns for snapshot in found), default=0)
    return NodeRow(
        sum(snapshot.frames for snapshot in found),
        sum(snapshot.failures for snapshot in found),
        sum(snapshot.worked for snapshot in found),
        sum(snapshot.busy_ns for snapshot in found) // NS_PER_MS,
        sum(snapshot.reconnects for snapshot in found),
        int(node["restarts"]),
        {reason: node[reason] for reason in LEFT_OUT if node.get(reason)},
        str(node["state"]),
        max(0, monotonic_ns - min(begun_ns)) // NS_PER_MS if begun_ns else 0,
        _age_ms(ages),
        max(0, utc_ns - last_utc_ns) // NS_PER_MS if last_utc_ns else 0,
    )


def _age_ms(counts: tuple[int, ...]) -> int:
    """Return the age that `SHARE_LATE` of the frames did not exceed, by the buckets of a status block."""
    total, sums = 0, []
    for count in counts:
        total += count
        sums.append(total)
    if not total:
        return 0
    place = bisect.bisect_left(sums, SHARE_LATE * total)
    return AGE_BUCKETS_NS[min(place, len(AGE_BUCKETS_NS) - 1)] // NS_PER_MS
