"""The plan of a valid pipeline file, in a few lines of plain text."""

from __future__ import annotations

from detektr.config.load import Pipeline
from detektr.config.plan import cameras_of, plan_processes
from detektr.memory.layout import journal_bytes, ring_bytes
from detektr.options import CaptureOptions, EdgeInput, edge_inputs
from detektr.picture import PictureLayout

_MIB = 1 << 20
_GUESS = (1920, 1080)  # what most cameras send; the real size is known when the source is opened


def describe_plan(pipeline: Pipeline) -> str:
    """Say what a good file asks for: processes, edges, the memory of rings and journals, edges with own terms."""
    graph, nodes = pipeline.graph, pipeline.options.nodes
    specs = plan_processes(pipeline.options.name, graph, nodes, pipeline.folder, announce=pipeline.options.announce)
    journals = sum(journal_bytes(edge.cells, edge.payload_bytes) for spec in specs for edge in spec.edges.values())
    lines = [
        f"{pipeline.path}: good: {len(graph.nodes)} nodes in {len(specs)} processes, {len(graph.edges)} edges,"
        f" {journals / _MIB:.1f} MiB for their queues"
    ]
    for name, options in nodes.items():
        if isinstance(options, CaptureOptions):
            slots = graph.nodes[name].slots or 0
            known = (options.width, options.height) if options.width and options.height else None
            picture = PictureLayout(options.format or "yuv420p", *(known or _GUESS))
            where = (
                ""
                if known and options.format
                else f" if it is {picture.width}x{picture.height} {picture.format} (known when it is opened)"
            )
            lines.append(f"  {name}: {slots} slots, {ring_bytes(slots, picture.nbytes) / _MIB:.1f} MiB{where}")
    for name in dict.fromkeys(edge.consumer for edge in graph.edges if edge.is_partitioned and edge.replicas > 1):
        lines.append(f"  {name}: {_shares(len(cameras_of(name, graph, nodes)), graph.nodes[name].replicas)}")
    for edge in graph.edges:
        if EdgeInput(from_=edge.producer) not in edge_inputs(nodes[edge.consumer]):  # it says more than the name
            lines.append(f"  {edge.consumer} from {edge.producer}: {edge.terms}")
    return "\n".join(lines)


def _shares(cameras: int, replicas: int) -> str:
    """Say how replicas that keep state share the cameras."""
    told = f"each camera's frames go to one of its {replicas} replicas"
    idle = replicas - cameras
    if idle <= 0:
        return told
    count = "1 camera" if cameras == 1 else f"{cameras} cameras"
    return f"{told}; it has {count}, so {idle} of them {'waits' if idle == 1 else 'wait'} in reserve"
