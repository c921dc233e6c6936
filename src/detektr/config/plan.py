"""From a pipeline's graph to the processes that carry it out: one spec per node and replica, consumers first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from detektr.config.graph.topology import Graph, GraphEdge
from detektr.config.graph.ways import Ways
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.gathering.ways import WayEdge
from detektr.edge.upstream import Upstream
from detektr.nodes.spec import NodeSpec
from detektr.options import (
    DEAD_LETTER_BYTES,
    BufferOptions,
    CaptureOptions,
    Lane,
    NodeOptions,
    ProcessorOptions,
    PullOptions,
    SinkOptions,
    WorkerOptions,
)


def plan_processes(
    pipeline: str,
    graph: Graph,
    options: Mapping[str, NodeOptions],
    folder: Path,
    *,
    secrets: tuple[str, ...] = (),
    is_audited: bool = False,
    trail_share: int | None = None,
    announce: Lane = "zmq",
    dead_letter_bytes: int = DEAD_LETTER_BYTES,
    is_supervised: bool = True,
) -> list[NodeSpec]:
    """Return one spec per process, in the order in which they are started: consumers before their producers.

    Of a node that may be scaled there are as many as it may ever have; a run begins with the first of them.
    """
    specs = []
    works = {name: _work(options[name]) for name in graph.nodes}
    ways = Ways(options, list(graph.nodes), {name: list(node.inputs) for name, node in graph.nodes.items()})
    for name in reversed(list(graph.nodes)):
        node = graph.nodes[name]
        upstreams = tuple(
            Upstream(
                producer=edge.producer,
                producer_replica=part,
                consumer=name,
                window=edge.window + edge.held_back,
                is_durable=isinstance(options[name], BufferOptions | PullOptions),
                lane=_lane(options[name], announce),
                passed_max=edge.passed_max,
                is_gathering=ways.is_gatherer(name),
            )
            for edge in graph.edges_to(name)
            for part in range(graph.parts(edge.producer, is_supervised=is_supervised))
        )
        edges = {edge.consumer: _edge_options(graph, edge, options, announce, ways) for edge in graph.edges_from(name)}
        sharers = sum(graph.nodes[other].replicas for other, work in works.items() if work == works[name])
        for replica in range(graph.parts(name, is_supervised=is_supervised)):
            specs.append(
                NodeSpec(
                    pipeline=pipeline,
                    node=name,
                    replica=replica,
                    options=options[name],
                    upstreams=upstreams,
                    edges=edges,
                    slots=node.slots or 0,
                    ring_bytes=0 if node.memory is None else node.memory.ring_bytes,
                    mark=node.mark,
                    guests=node.guests,
                    is_on_demand=node.is_on_demand,
                    folder=str(folder),
                    secrets=secrets,
                    sharers=sharers if isinstance(options[name], WorkerOptions) else 1,
                    is_audited=is_audited,
                    trail_share=trail_share,
                    dead_letter_bytes=dead_letter_bytes,
                    is_ordered=ways.is_ordered(name),
                    is_mixed=ways.is_mixed(name),
                    ways=_ways_to(name, graph, options, ways),
                    forks=tuple(_way_edge(graph, *edge) for edge in ways.forks_above(name)),
                )
            )
    return specs


def _work(options: NodeOptions) -> NodeOptions:
    """Return what tells a node's work from another's: nodes of one `per_camera` do the same, for a camera each."""
    is_per_camera = isinstance(options, WorkerOptions) and options.per_camera
    return replace(options, input="any") if isinstance(options, WorkerOptions) and is_per_camera else options


def _lane(consumer: NodeOptions, announce: Lane) -> Lane:
    """Return how a consumer is told of frames: as it says, else as the pipeline does."""
    return announce if isinstance(consumer, CaptureOptions) else consumer.announce or announce


def _edge_options(
    graph: Graph, edge: GraphEdge, options: Mapping[str, NodeOptions], announce: Lane, ways: Ways
) -> EdgeOptions:
    consumer = options[edge.consumer]
    worker = consumer if isinstance(consumer, WorkerOptions) else None
    is_retried = isinstance(consumer, SinkOptions) and consumer.retry is not None
    gatherers = [] if isinstance(consumer, SinkOptions) else sorted(ways.gatherers(edge.consumer))
    return EdgeOptions(
        mark=edge.mark,
        low=edge.low,
        when_full=edge.when_full,
        inputs=edge.inputs,
        window_total=edge.window_total,
        payload_bytes=edge.payload_bytes,
        max_deliveries=worker.max_deliveries if worker else 1,
        timeout_ns=worker.timeout_ns if worker and not is_retried else None,
        is_retried=is_retried,
        is_optional=edge.is_optional,
        drain_ns=consumer.drain_ns if edge.is_optional else 0,
        max_age_ns=edge.max_age_ns,
        fps=edge.fps,
        cameras=edge.cameras,
        has_one_camera=isinstance(options[edge.producer], CaptureOptions),
        is_policy_open=edge.is_policy_open,
        lane=_lane(consumer, announce),
        is_partitioned=edge.is_partitioned,
        replicas=graph.nodes[edge.consumer].replicas,
        all_cameras=cameras_of(edge.consumer, graph, options),
        streams=edge.streams,
        passed_max=edge.passed_max,
        relays_to=graph.readers(edge.consumer) if isinstance(consumer, ProcessorOptions) else (),
        tombstones=edge.tombstones,
        keeps_settled=edge.keeps_settled,
        only_results=edge.only_results,
        gatherers=tuple(f"{name}.{replica}" for name in gatherers for replica in range(graph.nodes[name].replicas_max)),
        is_joined=not isinstance(consumer, SinkOptions) and ways.keeps_settled(edge.producer, edge.consumer),
        is_gathering=ways.is_gatherer(edge.consumer),
        reserve=edge.reserve,
    )


def _ways_to(name: str, graph: Graph, options: Mapping[str, NodeOptions], ways: Ways) -> tuple[WayEdge, ...]:
    """Return the edges on the ways to a node that gathers frames; none to another."""
    if not ways.is_gatherer(name):
        return ()
    found = []
    for producer, consumer in ways.edges_to(name):
        capture = producer if isinstance(options[producer], CaptureOptions) else ""
        is_in_order = not any([graph.nodes[other].kind == "processor" for other in graph.above(producer)])
        is_last = is_in_order and graph.nodes[consumer].kind == "processor"
        found.append(replace(_way_edge(graph, producer, consumer), capture=capture, is_last_in_order=is_last))
    return tuple(found)


def _way_edge(graph: Graph, producer: str, consumer: str) -> WayEdge:
    return WayEdge(producer, graph.nodes[producer].replicas_max, consumer)


def cameras_of(consumer: str, graph: Graph, options: Mapping[str, NodeOptions]) -> tuple[str, ...]:
    """Return the cameras whose frames come to a node, in the file's order."""
    edges = [(edge, graph.above(edge.producer)) for edge in graph.edges_to(consumer)]
    found = []
    for name, node in options.items():
        if isinstance(node, CaptureOptions):
            camera = node.camera or name
            if any(name in above and (not edge.cameras or camera in edge.cameras) for edge, above in edges):
                found.append(camera)
    return tuple(dict.fromkeys(found))
