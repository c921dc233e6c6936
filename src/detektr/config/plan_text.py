"""The plan of a valid pipeline file, in a few lines of plain text."""

from __future__ import annotations

from detektr.config.load import Pipeline
from detektr.config.plan import plan_processes
from detektr.config.topology import CameraMemory
from detektr.options import CaptureOptions, EdgeInput, edge_inputs

_MIB = 1 << 20
_GUESSED_FPS = 30.0


def describe_plan(pipeline: Pipeline) -> str:
    """Say what a good file asks for: processes, edges, the memory of each camera, edges with own terms."""
    graph, nodes = pipeline.graph, pipeline.options.nodes
    specs = plan_processes(pipeline.options.name, graph, nodes, pipeline.folder, announce=pipeline.options.announce)
    journals = sum(edge.journal_bytes for edge in graph.edges)
    lines = [
        f"{pipeline.path}: good: {len(graph.nodes)} nodes in {len(specs)} processes, {len(graph.edges)} edges,"
        f" {journals / _MIB:.1f} MiB for their queues"
    ]
    for name, options in nodes.items():
        found = graph.nodes.get(name)
        if isinstance(options, CaptureOptions) and found is not None and found.memory is not None:
            lines.append(f"  {name}: {_memory_in_words(found.memory, found.slots or 0, options.fps or _GUESSED_FPS)}")
    for edge in graph.edges:
        if EdgeInput(from_=edge.producer) not in edge_inputs(nodes[edge.consumer]):  # it says more than the name
            lines.append(f"  {edge.consumer} from {edge.producer}: {edge.terms}")
    return "\n".join(lines)


def _memory_in_words(memory: CameraMemory, slots: int, fps: float) -> str:
    """Say how many slots a camera has, what they take of its memory, and how many seconds of frames that is."""
    picture = memory.picture
    words = [
        f"{slots} slots ({slots / fps:.1f} s at {fps:g} frames/s)",
        f"{memory.total_bytes / _MIB:.1f} MiB with its journals",
    ]
    if memory.is_assumed:
        words[-1] += f" if it is {picture.width}x{picture.height} {picture.format} (known when it is opened)"
    if memory.is_over:
        limit = f"{memory.limit_bytes / _MIB:.1f} MiB"
        words.append(
            f"although `memory` says {limit}: with less, frames would not flow"
            if memory.is_limit_written
            else f"more than the {limit} of a file without `memory`: its readers and written numbers need them"
        )
    return ", ".join(words)
