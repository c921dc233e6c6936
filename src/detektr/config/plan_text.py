"""The plan of a valid pipeline file, in a few lines of plain text.

The rate of a stream is known where its capture says `fps`. An edge on the way may lower it (`fps`, `cameras`), and a
processor is taken to emit one event for each frame.
"""

from __future__ import annotations

from collections.abc import Mapping

from detektr.config.graph.topology import CameraMemory, Graph, GraphEdge, GraphNode
from detektr.config.load import Pipeline
from detektr.config.pipeline_options import PipelineOptions
from detektr.config.plan import cameras_of, plan_processes
from detektr.memory.layout import cell_words
from detektr.options import CaptureOptions, EdgeInput, NodeOptions, ProcessorOptions, SinkOptions, edge_inputs
from detektr.telemetry.trail.bounds import ROW_BYTES

_MIB = 1 << 20
_GIB = 1 << 30
_WORD_BYTES = 8
_PAST = {
    "block": "{producer} waits",
    "drop-oldest": "the oldest are dropped",
    "drop-newest": "the newest are dropped",
}
_GUESSED_FPS = 30.0


def describe_plan(pipeline: Pipeline) -> str:
    """Say what a good file asks for: processes, edges, the memory of each camera, edges with own terms."""
    graph, nodes = pipeline.graph, pipeline.options.nodes
    specs = plan_processes(pipeline.options.name, graph, nodes, pipeline.folder, announce=pipeline.options.announce)
    journals = sum(edge.journal_bytes for edge in graph.edges)
    begun = sum(node.replicas for node in graph.nodes.values())
    most = f" (at most {len(specs)})" if len(specs) > begun else ""
    lines = [
        f"{pipeline.path}: good: {len(graph.nodes)} nodes in {begun} processes{most}, {len(graph.edges)} edges,"
        f" {journals / _MIB:.1f} MiB for their queues"
    ]
    for name, options in nodes.items():
        found = graph.nodes.get(name)
        if isinstance(options, CaptureOptions) and found is not None and found.memory is not None:
            lines.append(f"  {name}: {_memory_in_words(found.memory, found.slots or 0, options.fps or _GUESSED_FPS)}")
    for name in dict.fromkeys(edge.consumer for edge in graph.edges if edge.is_partitioned and edge.replicas > 1):
        lines.append(f"  {name}: {_shares(len(cameras_of(name, graph, nodes)), graph.nodes[name])}")
    for edge in graph.edges:
        if EdgeInput(from_=edge.producer) not in edge_inputs(nodes[edge.consumer]):  # it says more than the name
            lines.append(f"  {edge.consumer} from {edge.producer}: {edge.terms}")
    return "\n".join([*lines, *describe_outages(graph, nodes), *describe_trail(graph, pipeline.options)])


def _memory_in_words(memory: CameraMemory, slots: int, fps: float) -> str:
    """Say how many slots a camera has, what they take of its memory, and how many seconds of frames that is."""
    picture = memory.picture
    words = [
        f"{slots} slots ({slots / fps:.1f} s at {fps:g} frames/s)",
        f"{memory.total_bytes / _MIB:.1f} MiB with its journals",
    ]
    if memory.is_assumed:
        words[-1] += f" if its pictures are {picture.width}x{picture.height} {picture.format}"
    if memory.is_over:
        limit = f"{memory.limit_bytes / _MIB:.1f} MiB"
        words.append(
            f"although `memory` says {limit}: with less, frames would not flow"
            if memory.is_limit_written
            else f"above the {limit} that a camera has where nothing is said: its readers need so many slots"
        )
    hint = "; which they are shows when it is opened: with `width` and `height` the plan is exact"
    return ", ".join(words) + (hint if memory.is_assumed else "")


def _shares(cameras: int, node: GraphNode) -> str:
    """Say how replicas that keep state share the cameras."""
    several = f"{node.replicas} to {node.replicas_max}" if node.replicas_max > node.replicas else f"{node.replicas}"
    told = f"each camera's frames go to one of its {several} replicas"
    idle = node.replicas_max - cameras
    if idle <= 0:
        return told
    count = "1 camera" if cameras == 1 else f"{cameras} cameras"
    return f"{told}; it has {count}, so {idle} of them {'waits' if idle == 1 else 'wait'} in reserve"


def describe_outages(graph: Graph, nodes: Mapping[str, NodeOptions]) -> list[str]:
    """Return a line for each edge to a sink with `retry`.

    Args:
        graph: sized.
        nodes: options by name.
    """
    rates = camera_rates(graph, nodes)
    lines = []
    for edge in graph.edges:
        sink, processor = nodes[edge.consumer], nodes[edge.producer]
        if not isinstance(sink, SinkOptions) or sink.retry is None or not isinstance(processor, ProcessorOptions):
            continue
        mark, nbytes = edge.mark * edge.parts, edge.mark * edge.parts * cell_words(processor.event_bytes) * _WORD_BYTES
        rate = edge_rate(edge, rates[edge.producer])
        span = (
            "for how long is not known, as no `fps` of a capture says the rate"
            if rate is None
            else f"{mark / rate:.0f} s at {rate:g} frames/s with one event each"
        )
        past = _PAST[edge.when_full].format(producer=edge.producer)
        lines.append(
            f"  {edge.consumer} can be down while {mark} events of {edge.producer} wait ({span}), in"
            f" {nbytes / _MIB:.1f} MiB; then {past} ({edge.when_full})"
        )
    return lines


def describe_trail(graph: Graph, options: PipelineOptions) -> list[str]:
    """Return a line that says for how long the audit trail has room, at the rates of the sources.

    Args:
        graph: sized.
        options: of the pipeline.
    """
    audit = options.audit
    if audit.share is None:
        return []
    size = f"`most` {audit.bytes_max / _GIB:g} GiB"
    if audit.share == 0:
        return [f"  audit: frames that are lost, a row a second for each reason and edge; kept {audit.keep}, at {size}"]
    guessed = {name: _GUESSED_FPS if rate is None else rate for name, rate in _capture_rates(options.nodes).items()}
    rates = camera_rates(graph, options.nodes, guessed)
    rows = sum(edge_rate(edge, rates[edge.producer]) or 0.0 for edge in graph.edges) * audit.share / (1 << 32)
    if rows == 0:
        return []
    hours = audit.bytes_max / ROW_BYTES[audit.store] / rows / 3600
    is_guessed = None in _capture_rates(options.nodes).values()
    told = f" (where no `fps` is said, {_GUESSED_FPS:g} frames/s)" if is_guessed else ""
    is_enough = hours * 3600 >= audit.keep_s
    room = f"are enough for the {audit.keep} of `keep`" if is_enough else f"hold {hours:.1f} hours, not {audit.keep}"
    return [f"  audit: {audit.frames} of the frames, {rows:.0f} rows/s{told}: {size} {room}"]


def _capture_rates(nodes: Mapping[str, NodeOptions]) -> dict[str, float | None]:
    return {name: options.fps for name, options in nodes.items() if isinstance(options, CaptureOptions)}


def camera_rates(
    graph: Graph, nodes: Mapping[str, NodeOptions], known: Mapping[str, float] | None = None
) -> dict[str, dict[str, float | None]]:
    """Return, by node, how many frames a second of each camera it takes or makes; None: not known.

    Args:
        graph: which node reads which.
        nodes: options by name.
        known: rates of captures; None: as their options say.
    """
    rates: dict[str, dict[str, float | None]] = {}
    for name in graph.nodes:  # producers before consumers
        options = nodes[name]
        if isinstance(options, CaptureOptions):
            rates[name] = {options.camera or name: options.fps if known is None else known[name]}
            continue
        rates[name] = {}
        for edge in graph.edges_to(name):
            rates[name].update(_passing(edge, rates[edge.producer]))
    return rates


def edge_rate(edge: GraphEdge, rates: Mapping[str, float | None]) -> float | None:
    """Return how many frames a second an edge takes of all cameras together; None: not known, or none.

    Args:
        edge: which.
        rates: of its producer, by camera.
    """
    total = 0.0
    for rate in _passing(edge, rates).values():
        if rate is None:
            return None
        total += rate
    return total or None


def _passing(edge: GraphEdge, rates: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return the rates of the cameras that an edge takes, thinned as it says."""
    passing: dict[str, float | None] = {}
    for camera, rate in rates.items():
        if not edge.cameras or camera in edge.cameras:
            rate = None if edge.only_results else rate
            passing[camera] = rate if edge.fps is None else edge.fps if rate is None else min(rate, edge.fps)
    return passing
