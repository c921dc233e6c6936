"""From a pipeline's graph to the processes that carry it out: one spec per node and replica, consumers first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from detektr.config.topology import Graph, GraphEdge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.upstream import Upstream
from detektr.nodes.spec import NodeSpec
from detektr.options import (
    DEAD_LETTER_BYTES,
    BufferOptions,
    CaptureOptions,
    Lane,
    NodeOptions,
    ProcessorOptions,
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
    announce: Lane = "zmq",
    dead_letter_bytes: int = DEAD_LETTER_BYTES,
) -> list[NodeSpec]:
    """Return one spec per process, in the order in which they are started: consumers before their producers."""
    specs = []
    works = {name: _work(options[name]) for name in graph.nodes}
    for name in reversed(list(graph.nodes)):
        node = graph.nodes[name]
        upstreams = tuple(
            Upstream(
                producer=edge.producer,
                producer_replica=part,
                consumer=name,
                window=edge.window,
                is_durable=isinstance(options[name], BufferOptions),
                lane=_lane(options[name], announce),
                passed_max=edge.passed_max,
            )
            for edge in graph.edges_to(name)
            for part in range(edge.parts)
        )
        edges = {
            edge.consumer: _edge_options(graph, edge, options, announce, cameras_of(edge.consumer, graph, options))
            for edge in graph.edges_from(name)
        }
        sharers = sum(graph.nodes[other].replicas for other, work in works.items() if work == works[name])
        for replica in range(node.replicas):
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
                    dead_letter_bytes=dead_letter_bytes,
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
    graph: Graph, edge: GraphEdge, options: Mapping[str, NodeOptions], announce: Lane, all_cameras: tuple[str, ...]
) -> EdgeOptions:
    consumer = options[edge.consumer]
    worker = consumer if isinstance(consumer, WorkerOptions) else None
    is_retried = isinstance(consumer, SinkOptions) and consumer.retry is not None
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
        replicas=edge.replicas,
        all_cameras=all_cameras,
        streams=edge.streams,
        passed_max=edge.passed_max,
        relays_to=graph.readers(edge.consumer) if isinstance(consumer, ProcessorOptions) else (),
        tombstones=edge.tombstones,
        only_results=edge.only_results,
    )


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
