"""Ledgers and status blocks as Prometheus metrics; the only module that knows prometheus_client."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from detektr.ledger import DROP_REASONS, EdgeLedger, merge
from detektr.memory.run_folder import shm_root
from detektr.memory.status_block import AGE_BUCKETS_NS, STATES
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.memory.user_metrics import UserMetrics
from detektr.process.fault_text import fault_line
from detektr.telemetry.endpoint import Answer, Endpoint
from detektr.telemetry.user_families import UserFamilies

EXPORTED_STATES = (*STATES, "restarting", "hanging", "suspended")  # the last three a process cannot say of itself
# Whole octaves (0.4 ms to 0.8 s), then every second one (to 52 s): enough for a quantile, a third of the series.
AGE_STEPS = (4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 30, 34, 38)
_AGE_LABELS = tuple(str(AGE_BUCKETS_NS[step] / 1e9) for step in AGE_STEPS)
_WHOLE = ("pipeline",)  # labels of what is of no edge and no node
_log = logging.getLogger("detektr.metrics")


@dataclass(frozen=True)
class NodeSupervision:
    """The supervisor's view of one node, all its replicas together."""

    restarts: int = 0
    state: str = "starting"
    replicas: int | None = None
    """How many processes it is to have; those with higher numbers leave, or have left. None: not known."""

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> NodeSupervision:
        """Return what is known of a node, as a status has it."""
        return cls(node["restarts"], node["state"], node.get("replicas"))


RunSample = tuple[list[EdgeLedger], list[NodeSnapshot]]
_T = TypeVar("_T", EdgeLedger, NodeSnapshot)
_Row = tuple[str, str, Callable[[_T], float]]  # name, help text, value
_EDGE_COUNTERS: list[_Row[EdgeLedger]] = [
    ("offered", "Frames, or events for a sink, that the producer offered to the edge.", lambda edge: edge.offered),
    ("delivered", "Frames that a replica finished and released.", lambda edge: edge.delivered),
    ("dead_lettered", "Frames that the edge gave up as dead letters.", lambda edge: edge.dead_lettered),
    ("redelivered", "Leases beyond the first of a frame.", lambda edge: edge.redelivered),
    ("refused", "Results and releases that came too late and were thrown away.", lambda edge: edge.refused),
]
_EDGE_GAUGES: list[_Row[EdgeLedger]] = [
    ("queued", "Frames that wait for a replica.", lambda edge: edge.queued),
    ("in_flight", "Frames that are leased to replicas.", lambda edge: edge.in_flight),
    ("high_water_mark", "Most frames that the edge queues.", lambda edge: edge.mark),
    ("consumers", "Replicas that are attached.", lambda edge: edge.attached),
    ("stalled", "1 if frames wait and no consumer is attached.", lambda edge: int(edge.is_stalled)),
    ("unaccounted", "Frames missing in the ledger; if not 0, detektr has a defect.", lambda edge: edge.unaccounted),
]
_NODE_COUNTERS: list[_Row[NodeSnapshot]] = [
    ("frames", "Frames captured, passed on or processed; events, if it is a sink.", lambda snapshot: snapshot.frames),
    ("worked", "Attempts on which your code worked until it returned or raised.", lambda snapshot: snapshot.worked),
    ("busy_seconds", "Time that your code took for these attempts.", lambda snapshot: snapshot.busy_ns / 1e9),
    ("failures", "Attempts on which your code raised an exception.", lambda snapshot: snapshot.failures),
    ("refused", "Results thrown away because the lease or the slot was lost.", lambda snapshot: snapshot.refused),
    ("wire_errors", "Messages that the process refused as not valid.", lambda snapshot: snapshot.wire_errors),
    ("reconnects", "Times that the capture opened its source again.", lambda snapshot: snapshot.reconnects),
    ("thinned", "Pictures left out by `fps` or `decode`.", lambda snapshot: snapshot.thinned),
    ("corrupt", "Pictures left out because they were damaged.", lambda snapshot: snapshot.corrupt),
    ("stale", "Pictures left out because they were an old backlog.", lambda snapshot: snapshot.stale),
    ("paused", "Pictures left out while an operator had paused the capture.", lambda snapshot: snapshot.paused),
    (
        "trail_lost",
        "Audit records lost because they waited for too long to be stored.",
        lambda snapshot: snapshot.trail_lost,
    ),
]


class PipelineCollector(Collector):
    """Turns one reading of a pipeline into metrics at each scrape; keeps nothing in between.

    All values of a scrape come from one call of `read`, so that the ledger of each edge adds up in it.
    """

    def __init__(
        self,
        read: Callable[[], RunSample],
        pipeline: str,
        supervision: Callable[[], Mapping[str, NodeSupervision]] = dict,
        user_metrics: Callable[[], list[UserMetrics]] = list,
    ) -> None:
        """Take the functions to ask at each scrape; `supervision` is by node, and may leave out unknown nodes."""
        self._read = read
        self._pipeline = pipeline
        self._supervision = supervision
        self._user_metrics = user_metrics
        self._user_families = UserFamilies(pipeline)

    def describe(self) -> Iterable[Metric]:
        """Promise nothing at registration: the pipeline may not be there yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of one reading."""
        ledgers, found = self._read()
        supervision = self._supervision()
        # A label set may stand in a scrape only once.
        snapshots = {(snapshot.node, snapshot.replica): snapshot for snapshot in found}
        yield from self._edge_metrics(merge(ledgers), list(snapshots.values()))
        yield from self._process_metrics(list(snapshots.values()), supervision)
        yield from self._node_metrics(list(snapshots.values()), supervision)
        if snapshots:
            yield from self._shm_metrics()
        yield from self._user_families.collect(self._user_metrics())

    def health(self) -> tuple[bool, dict[str, object]]:
        """Return whether all is well, and the faults: stalled edges and failed nodes."""
        ledgers, snapshots = self._read()
        states = _states(snapshots, self._supervision())
        stalled = [edge for edge in merge(ledgers) if edge.is_stalled]
        failed = [node for node, state in states.items() if state == "failed"]
        return not stalled and not failed, {
            "pipeline": self._pipeline,
            "healthy": not stalled and not failed,
            "stalled": [{"from": edge.producer, "to": edge.consumer, "queued": edge.queued} for edge in stalled],
            "failed": failed,
        }

    def _edge_metrics(self, edges: list[EdgeLedger], snapshots: list[NodeSnapshot]) -> Iterator[Metric]:
        labels = ["pipeline", "from", "to"]
        keyed = [([self._pipeline, edge.producer, edge.consumer], edge) for edge in edges]
        yield from _families(CounterMetricFamily, "detektr_edge_", _EDGE_COUNTERS, labels, keyed)
        # Each drop is in one series: that of its camera, or the one without a camera, which is there from the first.
        dropped = CounterMetricFamily("detektr_edge_dropped", "Frames dropped.")
        for edge in edges:
            for reason in dict.fromkeys((*DROP_REASONS, *edge.dropped)):
                key = {
                    **dict(zip(labels, (self._pipeline, edge.producer, edge.consumer), strict=True)),
                    "reason": reason,
                }
                counts = {
                    camera: counts[reason] for camera, counts in edge.dropped_by_camera.items() if reason in counts
                }
                dropped.add_sample(f"{dropped.name}_total", key, edge.dropped.get(reason, 0) - sum(counts.values()))
                for camera, count in counts.items():
                    dropped.add_sample(f"{dropped.name}_total", {**key, "camera": camera}, count)
        yield dropped
        text = "Leases announced to consumers, by how: in ZeroMQ messages (zmq) or in shared memory (shm)."
        announced = CounterMetricFamily("detektr_edge_announced", text, labels=[*labels, "lane"])
        for edge in edges:
            announced.add_metric([self._pipeline, edge.producer, edge.consumer, edge.lane], edge.announced)
        yield announced
        yield from _families(GaugeMetricFamily, "detektr_edge_", _EDGE_GAUGES, labels, keyed)
        oldest = GaugeMetricFamily(
            "detektr_edge_oldest_age_seconds",
            "Age of the oldest queued frame since its capture; 0 if none is queued.",
            labels=labels,
        )
        now_ns = time.monotonic_ns()
        for names, edge in keyed:
            oldest.add_metric(names, max(0, now_ns - edge.oldest_ns) / 1e9 if edge.oldest_ns else 0.0)
        yield oldest
        # By the names of the system that this one replaces: the same counts, of the edges from buffers.
        buffers = {snapshot.node for snapshot in snapshots if snapshot.kind == "buffer"}
        rows: list[_Row[EdgeLedger]] = [
            ("frames_consumed", "Frames of a buffer that a consumer finished.", lambda edge: edge.delivered),
            ("frames_dropped", "Frames of a buffer that were dropped.", lambda edge: sum(edge.dropped.values())),
        ]
        of_buffers = [(key, edge) for key, edge in keyed if edge.producer in buffers]
        yield from _families(CounterMetricFamily, "frame_buffer_consumer_", rows, labels, of_buffers)

    def _process_metrics(
        self, snapshots: list[NodeSnapshot], supervision: Mapping[str, NodeSupervision]
    ) -> Iterator[Metric]:
        labels = ["pipeline", "node", "replica"]
        keyed = [(self._process_key(snapshot), snapshot) for snapshot in snapshots]
        yield from _families(CounterMetricFamily, "detektr_node_", _NODE_COUNTERS, labels, keyed)
        up = GaugeMetricFamily("detektr_node_up", "1 if the process is alive.", labels=labels)
        last = GaugeMetricFamily(
            "detektr_node_last_frame_timestamp_seconds", "Wall-clock time of the last frame.", labels=labels
        )
        age = HistogramMetricFamily(
            "detektr_frame_age_seconds", "Time from capture until the node was done with a frame.", labels=labels
        )
        slots = GaugeMetricFamily(
            "detektr_ring_slots", "Slots of the ring, by state: free or used.", labels=[*labels, "state"]
        )
        shm = GaugeMetricFamily("detektr_shm_bytes", "Bytes of shared memory that the ring takes.", labels=labels)
        for key, snapshot in keyed:
            if snapshot.is_alive or not _has_left(snapshot, supervision):
                up.add_metric(key, int(snapshot.is_alive))
            if snapshot.last_frame_utc_ns:
                last.add_metric(key, snapshot.last_frame_utc_ns / 1e9)
            if snapshot.age_counts:
                age.add_metric(key, age_buckets(snapshot.age_counts), snapshot.age_sum_ns / 1e9)
            if snapshot.slots_total:
                slots.add_metric([*key, "free"], snapshot.slots_free)
                slots.add_metric([*key, "used"], snapshot.slots_total - snapshot.slots_free)
                shm.add_metric(key, snapshot.ring_bytes)
        yield from (up, last, age, slots, shm)

    def _shm_metrics(self) -> Iterator[Metric]:
        """Yield the size of the file system in memory, and what is free of it; nothing where it is gone."""
        with contextlib.suppress(OSError):
            stat = os.statvfs(shm_root().parent)
            sizes = GaugeMetricFamily(
                "detektr_shm_size_bytes", "Size of the file system that holds shared memory.", labels=_WHOLE
            )
            frees = GaugeMetricFamily(
                "detektr_shm_free_bytes", "Free bytes on the file system that holds shared memory.", labels=_WHOLE
            )
            sizes.add_metric([self._pipeline], stat.f_blocks * stat.f_frsize)
            frees.add_metric([self._pipeline], stat.f_bavail * stat.f_frsize)
            yield from (sizes, frees)

    def _node_metrics(
        self, snapshots: list[NodeSnapshot], supervision: Mapping[str, NodeSupervision]
    ) -> Iterator[Metric]:
        restarts = CounterMetricFamily(
            "detektr_node_restarts", "Times that the supervisor started the node again.", labels=["pipeline", "node"]
        )
        replicas = GaugeMetricFamily(
            "detektr_node_replicas", "Replicas that the node is to have now.", labels=["pipeline", "node"]
        )
        for node, known in supervision.items():
            restarts.add_metric([self._pipeline, node], known.restarts)
            if known.replicas is not None:
                replicas.add_metric([self._pipeline, node], known.replicas)
        state = GaugeMetricFamily(
            "detektr_node_state",
            "1 for the state that the node is in, 0 for the others.",
            labels=["pipeline", "node", "state"],
        )
        for node, current in _states(snapshots, supervision).items():
            for each in dict.fromkeys((*EXPORTED_STATES, current)):
                state.add_metric([self._pipeline, node, each], int(each == current))
        yield from (restarts, replicas, state)

    def _process_key(self, snapshot: NodeSnapshot) -> list[str]:
        return [self._pipeline, snapshot.node, str(snapshot.replica)]


def _families(
    family: type[CounterMetricFamily] | type[GaugeMetricFamily],
    prefix: str,
    rows: Iterable[_Row[_T]],
    labels: list[str],
    keyed: list[tuple[list[str], _T]],
) -> Iterator[Metric]:
    """Yield a family a row, with the value of each thing under its key."""
    for name, text, value in rows:
        metric = family(prefix + name, text, labels=labels)
        for key, thing in keyed:
            metric.add_metric(key, value(thing))
        yield metric


def _has_left(snapshot: NodeSnapshot, supervision: Mapping[str, NodeSupervision]) -> bool:
    """Whether a process is gone because its node was scaled down; its counts stay, since counters never fall."""
    known = supervision.get(snapshot.node)
    return known is not None and known.replicas is not None and snapshot.replica >= known.replicas


def _states(snapshots: Iterable[NodeSnapshot], supervision: Mapping[str, NodeSupervision]) -> dict[str, str]:
    """Return each node's state: as the supervisor says or, without one, that of its first replica."""
    states = {node: known.state for node, known in supervision.items()}
    for snapshot in sorted(snapshots, key=lambda snapshot: snapshot.replica):
        states.setdefault(snapshot.node, snapshot.state)
    return states


def age_buckets(age_counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Merge a status block's age counts into the cumulative buckets of the histogram, the last one `+Inf`."""
    thinned = [(label, float(sum(age_counts[: step + 1]))) for label, step in zip(_AGE_LABELS, AGE_STEPS, strict=True)]
    return [*thinned, ("+Inf", float(sum(age_counts)))]


class MetricsServer:
    """The HTTP endpoint of one collector: GET /metrics and GET /healthz."""

    def __init__(self, collector: PipelineCollector, host: str, port: int) -> None:
        """Begin to listen.

        Raises:
            RefusedError: the port is in use or not allowed, or the host is not one of this machine.
        """
        self._collector = collector
        self._endpoint = Endpoint(self._answer, host, port)

    @property
    def port(self) -> int:
        """The port it listens on: the one asked for, or where that was 0, the one it was given."""
        return self._endpoint.port

    def close(self) -> None:
        """Stop listening and end all connections."""
        self._endpoint.close()

    def _answer(self, path: str, accept: str) -> Answer:
        try:
            if path == "/metrics":
                return Answer(200, *expose(self._collector, accept))
            if path == "/healthz":
                is_healthy, facts = self._collector.health()
                return Answer(200 if is_healthy else 503, "application/json", json.dumps(facts).encode() + b"\n")
        except Exception as fault:  # a scrape must not end the endpoint; the next one may find the pipeline whole
            _log.warning("metrics: %s could not be answered: %s", path, fault_line(fault))
            return Answer(500, "text/plain; charset=utf-8", f"cannot be read now: {fault_line(fault)}\n".encode())
        return Answer(404, "text/plain; charset=utf-8", b"not here; this endpoint has /metrics and /healthz\n")


def expose(collector: PipelineCollector, accept: str) -> tuple[str, bytes]:
    """Return the metrics of this moment: their content type, and the text.

    Args:
        collector: reads them.
        accept: the header Accept of who asks.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(collector)
    encode, content_type = choose_encoder(accept)
    return content_type, encode(registry)


def serve_metrics(collector: PipelineCollector, host: str, port: int) -> MetricsServer:
    """Serve a pipeline's metrics over HTTP until the server is closed.

    Args:
        collector: answers each scrape.
        host: address of this machine to listen on.
        port: 1 to 65535, or 0 for any free one.
    Raises:
        RefusedError: the port is in use or not allowed, or the host is not one of this machine.
    """
    return MetricsServer(collector, host, port)
