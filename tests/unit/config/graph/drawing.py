"""Graphs in a line: options of nodes, the graph that follows from them, and what is refused of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detektr.config.document import Fault
from detektr.config.graph.checks import build_graph
from detektr.config.graph.topology import Graph
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    EdgeInput,
    NodeOptions,
    ProcessorOptions,
    SinkOptions,
)

Inputs = str | EdgeInput | list[str | EdgeInput]


def capture(source: str = "clip.mp4", **more: Any) -> CaptureOptions:
    return CaptureOptions(source=source, **more)


def buffer(inputs: Inputs, **more: Any) -> BufferOptions:
    return BufferOptions(input=inputs, **more)


def processor(inputs: Inputs, **more: Any) -> ProcessorOptions:
    return ProcessorOptions(input=inputs, use="m:C", **more)


def sink(inputs: Inputs, **more: Any) -> SinkOptions:
    return SinkOptions(input=inputs, use="m:C", **more)


def built(**nodes: NodeOptions) -> Graph:
    graph, faults = build_graph(nodes)
    assert faults == [] and graph is not None
    return graph


def refused(unsure: Sequence[str] = (), broken: Sequence[str] = (), **nodes: NodeOptions) -> list[Fault]:
    lines = {name: index for index, name in enumerate(nodes, start=1)}
    graph, faults = build_graph(
        nodes, lambda *path: lines.get(str(path[1]), 99) if len(path) > 1 else 99, broken=broken, unsure=unsure
    )
    assert graph is None
    return faults


def only(faults: list[Fault]) -> Fault:
    assert len(faults) == 1, faults
    return faults[0]
