"""From a pipeline's graph to the processes that carry it out: one spec per node and replica, consumers first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from detektr.config.topology import Graph, GraphEdge
from detektr.descriptor import DESCRIPTOR_BYTES_MAX
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.subscriber import Upstream
from detektr.nodes.spec import NodeSpec
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    Lane,
    NodeOptions,
    ProcessorOptions,
    SinkOptions,
    WorkerOptions,
)
from detektr.results import NODE_BYTES, TAIL_BYTES


def plan_processes(
    pipeline: str,
    graph: Graph,
    options: Mapping[str, NodeOptions],
    folder: Path,
    *,
    secrets: tuple[str, ...] = (),
    is_audited: bool = False,
    announce: Lane = "zmq",
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
        edges = {edge.consumer: _edge_options(graph, edge, options, announce) for edge in graph.edges_from(name)}
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
                    folder=str(folder),
                    secrets=secrets,
                    sharers=sharers if isinstance(options[name], WorkerOptions) else 1,
                    is_audited=is_audited,
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


def payload_bytes(graph: Graph, edge: GraphEdge, options: Mapping[str, NodeOptions]) -> int:
    """Return the room for what an edge announces: an event, or a frame with the results of the nodes on its way."""
    producer = options[edge.producer]
    if isinstance(options[edge.consumer], SinkOptions) and isinstance(producer, ProcessorOptions):
        return producer.event_bytes
    on_the_way = [found for name in graph.above(edge.producer) if isinstance(found := options[name], ProcessorOptions)]
    room = sum(node.event_bytes + NODE_BYTES for node in on_the_way)
    return DESCRIPTOR_BYTES_MAX + (room + TAIL_BYTES if on_the_way else 0)


def _edge_options(graph: Graph, edge: GraphEdge, options: Mapping[str, NodeOptions], announce: Lane) -> EdgeOptions:
    consumer = options[edge.consumer]
    worker = consumer if isinstance(consumer, WorkerOptions) else None
    return EdgeOptions(
        mark=edge.mark,
        low=edge.low,
        when_full=edge.when_full,
        inputs=edge.inputs,
        window_total=edge.window_total,
        payload_bytes=payload_bytes(graph, edge, options),
        max_deliveries=worker.max_deliveries if worker else 1,
        timeout_ns=worker.timeout_ns if worker else None,
        is_optional=edge.is_optional,
        drain_ns=consumer.drain_ns if edge.is_optional else 0,
        max_age_ns=edge.max_age_ns,
        fps=edge.fps,
        cameras=edge.cameras,
        is_policy_open=edge.is_policy_open,
        lane=_lane(consumer, announce),
        passed_max=edge.passed_max,
        relays_to=graph.readers(edge.consumer) if isinstance(consumer, ProcessorOptions) else (),
        tombstones=edge.tombstones,
        only_results=edge.only_results,
    )
