"""Graphs in a line: options of nodes, the graph that follows from them, and what is refused of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detektr.config.document import Fault, read_document
from detektr.config.graph.checks import build_graph
from detektr.config.graph.topology import Graph
from detektr.config.schema import read_options
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


def own(producer: str, **terms: Any) -> EdgeInput:
    return EdgeInput(from_=producer, **terms)


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


def told(text: str) -> list[str]:
    """Return what is refused of a file, each with its line, as `validate` prints it."""
    document = read_document(text, {})
    reading = read_options(document)
    options = reading.options
    _, faults = build_graph(
        options.nodes, document.line, broken=reading.broken, unsure=reading.unsure, memory=options.memory
    )
    found = sorted([*reading.faults, *faults], key=lambda fault: fault.line)
    return [f"{fault.line}: {fault.text}" for fault in found]


def only(faults: list[Fault]) -> Fault:
    assert len(faults) == 1, faults
    return faults[0]
