"""The graph of a pipeline: who reads whom, sized by `sizing`; refuses graphs in which frames pile up or do not fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from detektr import plugins
from detektr.config.document import Fault
from detektr.config.graph.shape import Shape
from detektr.config.graph.sizing import SLOTS_MAX, least_bytes, size_graph
from detektr.config.graph.topology import Graph, GraphNode
from detektr.config.suggestions import listed, nearest
from detektr.memory.layout import EDGE_SEEN_MAX, STATUS_INPUTS_MAX
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    EdgeInput,
    NodeOptions,
    ProcessorOptions,
    PullOptions,
    SinkOptions,
    WorkerOptions,
    edge_inputs,
)
from detektr.registry.node_kinds import NODE_KINDS

MIB = 1 << 20
INPUTS_MAX = STATUS_INPUTS_MAX  # of one process; a processor's replicas count each
RESULTS_BYTES_MAX = 8 << 20  # of all nodes on a frame's way; a message takes twice as much
CAMERAS_MAX = EDGE_SEEN_MAX  # of which one edge knows how far it has read each
REPLICAS_MAX = 128  # of one producer: each is a peer to poll and a process to watch


def build_graph(
    nodes: Mapping[str, NodeOptions],
    line_of: Callable[..., int] = lambda *path: 1,
    *,
    broken: Iterable[str] = (),
    unsure: Iterable[str] = (),
    memory: str | None = None,
) -> tuple[Graph | None, list[Fault]]:
    """Order the nodes, size the edges and rings, and find every fault of the graph.

    Args:
        nodes: options by name, in the file's order.
        line_of: the line of a key, given its path (`"nodes", "camera", "input"`).
        broken: nodes with faults of their own; nothing is said of sizes that follow from them.
        unsure: names of the file whose kind or input is not known; what they read may be what others miss.
        memory: of each camera that says nothing of its own; None: nobody wrote one.
    Returns:
        The graph, None where it has faults; and the faults.
    """
    shape = Shape(nodes, line_of, frozenset(unsure))
    order = shape.check()
    if order is None:
        return None, shape.faults
    graph = size_graph(nodes, order, shape.reads, memory)
    _check_sizes(graph, nodes, line_of, shape.faults, frozenset(broken) | shape.refused, memory)
    return (None if shape.faults or broken or unsure else graph), shape.faults


def mermaid(graph: Graph) -> str:
    """Draw the graph as a Mermaid flowchart: kinds as shapes, edges with their policy and mark."""
    numbers = {name: f"n{index}" for index, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for name, node in graph.nodes.items():
        left, right = NODE_KINDS[node.kind].shape
        count = f" x{node.replicas}" if node.replicas > 1 else f", {node.slots} slots" if node.slots else ""
        count += f", at most x{node.replicas_max}" if node.replicas_max > node.replicas else ""
        lines.append(f'    {numbers[name]}{left}"{name}<br/>{node.kind}{count}"{right}')
    for edge in graph.edges:
        lines.append(f'    {numbers[edge.producer]} -->|"{edge.terms}"| {numbers[edge.consumer]}')
    return "\n".join(lines) + "\n"


def _check_sizes(
    graph: Graph,
    nodes: Mapping[str, NodeOptions],
    line_of: Callable[..., int],
    faults: list[Fault],
    broken: frozenset[str],
    memory: str | None,
) -> None:
    told: set[tuple[str | int, ...]] = set()
    for name, node in graph.nodes.items():
        readers = sum(graph.nodes[consumer].replicas_max for consumer in node.outputs)
        if readers > REPLICAS_MAX:
            what = f"{readers} replicas read from {name!r}"
            hint = f"use fewer `replicas` (or `max_replicas`), or another buffer beside {name!r}"
            faults.append(Fault(line_of("nodes", name), what, f"at most {REPLICAS_MAX} readers of one producer", hint))
        inputs = sum(edge.parts for edge in graph.edges_to(name))
        if inputs > INPUTS_MAX:
            what = f"{node.kind} {name!r} reads from {inputs} processes"
            hint = f"let some of them go through another {node.kind}" if node.kind == "buffer" else "use two of them"
            faults.append(Fault(line_of("nodes", name, "input"), what, f"at most {INPUTS_MAX}", hint))
        above = graph.above(name) if node.kind == "buffer" else ()
        cameras = sum(graph.nodes[other].kind == "capture" for other in above)
        if cameras > CAMERAS_MAX:
            what = f"the frames of {cameras} captures come through buffer {name!r}"
            hint = "let some of them have another buffer with consumers of its own"
            faults.append(Fault(line_of("nodes", name, "input"), what, f"at most {CAMERAS_MAX}", hint))
        options = nodes[name]
        _check_batch(graph, options, name, line_of, faults)
        way = [] if node.kind == "sink" else [nodes[other] for other in graph.above(name) - {name}]
        room = sum(one.event_bytes for one in way if isinstance(one, ProcessorOptions))
        if room > RESULTS_BYTES_MAX:
            what = f"frames come to {name!r} with results of up to {room} bytes"
            hint = "lower `event_bytes` of the processors before it"
            faults.append(Fault(line_of("nodes", name, "input"), what, f"at most {RESULTS_BYTES_MAX}", hint))
        _check_edges(graph, nodes, name, line_of, faults)
        if not isinstance(options, CaptureOptions) or graph.below(name) & broken:
            continue
        if node.held > SLOTS_MAX:
            what = f"capture {name!r} needs {node.held} slots for the marks and windows below it"
            hint = "lower `high_water_mark`, `window` or `replicas` below it"
            faults.append(Fault(line_of("nodes", name), what, f"at most {SLOTS_MAX}", hint))
        elif options.slots is not None and options.slots < node.held:
            what = f"capture {name!r} has {options.slots} slots"
            expected = f"at least {node.held} (marks, windows and `guests` below it)"
            hint = f"write `slots: {node.held}`, leave it out, or lower marks and windows below it"
            faults.append(Fault(line_of("nodes", name, "slots"), what, expected, hint))
        else:
            _check_memory(graph, nodes, name, line_of, faults, memory, told)


def _several(node: GraphNode) -> str:
    """Say how many processes a node has, or may have."""
    return str(node.replicas) if node.replicas == node.replicas_max else f"up to {node.replicas_max}"


def _check_memory(
    graph: Graph,
    nodes: Mapping[str, NodeOptions],
    camera: str,
    line_of: Callable[..., int],
    faults: list[Fault],
    memory: str | None,
    told: set[tuple[str | int, ...]],
) -> None:
    """Refuse written numbers that need more than the memory that somebody wrote; the largest of them is told."""
    found, options = graph.nodes[camera].memory, nodes[camera]
    if found is None or not isinstance(options, CaptureOptions) or not found.is_limit_written or not found.is_over:
        return
    written = max(_written(graph, nodes, camera), key=lambda one: one[0], default=None)
    if written is None or least_bytes(graph, nodes, camera, memory) > found.limit_bytes:
        return  # frames cannot flow with less, which the plan says
    number, name, key, path = written
    picture = f"{found.picture.width}x{found.picture.height} {found.picture.format}"
    assumed = ", which is assumed" if found.is_assumed else ""
    needed = -(-found.total_bytes // MIB)
    what = (
        f"node {name!r}: with `{key}: {number}` camera {camera!r} needs {needed} MiB"
        f" ({graph.nodes[camera].slots} slots of {picture}{assumed})"
    )
    hint = f"write `memory: {needed}MiB`, or a lower `{key}`, or leave it out: it follows from `memory`"
    hint += "; or write `width`, `height` and `format` of the pictures at the capture" if assumed else ""
    if path not in told:  # each number once, of however many cameras
        told.add(path)
        faults.append(Fault(line_of(*path), what, f"at most `memory: {options.memory or memory}`", hint))


def _written(
    graph: Graph, nodes: Mapping[str, NodeOptions], camera: str
) -> Iterable[tuple[int, str, str, tuple[str | int, ...]]]:
    """Yield the numbers that somebody wrote and a camera's memory follows from: number, node, key, path."""
    for name in graph.nodes:
        if name not in graph.below(camera):
            continue
        options = nodes[name]
        is_list = not isinstance(options, CaptureOptions) and isinstance(options.input, list)
        path: tuple[str | int, ...]
        keys: tuple[str, ...] = (
            ("slots", "high_water_mark", "guests") if isinstance(options, CaptureOptions | BufferOptions) else ()
        )
        keys = ("window",) if isinstance(options, ProcessorOptions) else keys
        for key in keys:
            number = getattr(options, key, None)
            if number is not None:
                yield number, name, key, ("nodes", name, key)
        for index, own in enumerate(edge_inputs(options)):
            if own.high_water_mark is not None and isinstance(nodes.get(own.from_), CaptureOptions | BufferOptions):
                path = ("nodes", name, "input", index) if is_list else ("nodes", name, "input")
                yield own.high_water_mark, name, "high_water_mark", (*path, "high_water_mark")


def _check_batch(
    graph: Graph, options: NodeOptions, name: str, line_of: Callable[..., int], faults: list[Fault]
) -> None:
    """Find a batch that the windows of its node can never fill, or that its code does not take."""
    if not isinstance(options, ProcessorOptions) or options.batch is None:
        return
    if plugins.takes_single_frames(options.use):
        what = f"node {name!r} has a `batch`, but {options.use!r} takes single frames"
        expected = "a class with process_batch(self, frames)"
        faults.append(Fault(line_of("nodes", name, "batch"), what, expected, "remove `batch`, or name such a class"))
    edges = graph.edges_to(name)
    held, size = sum(edge.window * edge.parts for edge in edges), options.batch.size
    if options.window is not None and edges and held < size:
        what = f"node {name!r} holds at most {held} frames at once (`window: {options.window}`), fewer than its batch"
        hint = f"write `window: {-(-size // sum(edge.parts for edge in edges))}`, or leave it out"
        faults.append(Fault(line_of("nodes", name, "window"), what, f"at least {size} frames over all inputs", hint))


def _check_edges(
    graph: Graph, nodes: Mapping[str, NodeOptions], name: str, line_of: Callable[..., int], faults: list[Fault]
) -> None:
    """Find what a node asks of single edges that cannot be."""
    options = nodes[name]
    is_list = not isinstance(options, CaptureOptions) and isinstance(options.input, list)
    for index, own in enumerate(edge_inputs(options)):
        producer = graph.nodes.get(own.from_)
        if producer is None or own.from_ not in graph.nodes[name].inputs:
            continue  # that was told
        path = ("nodes", name, "input", index) if is_list else ("nodes", name, "input")
        _check_fresh(options, own, name, path, line_of, faults)
        if options.optional and own.when_full == "block":
            what = f"node {name!r} is `optional`, but its input {own.from_!r} says `when_full: block`"
            hint = "write drop-oldest or drop-newest, or remove `optional`"
            faults.append(
                Fault(line_of(*path, "when_full"), what, "an edge on which nobody waits for an optional node", hint)
            )
        if own.only is not None and (producer.kind != "processor" or isinstance(options, SinkOptions)):
            what = f"node {name!r} asks for `only: {own.only}` of the {producer.kind} {own.from_!r}"
            hint = "write `only` at an input that is a processor's frames, or leave it out"
            faults.append(Fault(line_of(*path, "only"), what, "frames of a processor, which returns results", hint))
        if own.fps is not None and producer.replicas_max > 1:
            many = _several(producer)
            what = f"node {name!r} asks for `fps: {own.fps:g}` of {own.from_!r}, which has {many} replicas"
            hint = f"write `fps` at the `input` of {own.from_!r}, or give it one replica"
            faults.append(Fault(line_of(*path, "fps"), what, "a producer of one process, which sees all frames", hint))
        cameras = [
            found.camera or other
            for other in graph.nodes
            if other in graph.above(own.from_) and isinstance(found := nodes[other], CaptureOptions)
        ]
        for camera in own.camera_names:
            if camera not in cameras:
                near = nearest(camera, cameras)
                what = f"node {name!r} wants frames of camera {camera!r}, and none come through {own.from_!r}"
                hint = f"write `{near}`" if near else "correct the name, or leave `cameras` out"
                faults.append(Fault(line_of(*path, "cameras"), what, listed(cameras), hint))


def _check_fresh(
    options: NodeOptions,
    own: EdgeInput,
    name: str,
    path: tuple[str | int, ...],
    line_of: Callable[..., int],
    faults: list[Fault],
) -> None:
    """Find what contradicts `fresh`, which says mark, policy and window by itself."""
    if isinstance(options, PullOptions) and own.fresh:
        what = f"node {name!r} asks for `fresh: true` of {own.from_!r}"
        hint = "write `max_age` there in its place: frames wait here until somebody asks for them"
        faults.append(Fault(line_of(*path, "fresh"), what, "a reader that works on frames as they come", hint))
    if isinstance(options, BufferOptions) and own.fresh:
        what = f"buffer {name!r} asks for `fresh: true` of {own.from_!r}"
        hint = f"write it at the processors that read {name!r}, and leave it out here"
        faults.append(Fault(line_of(*path, "fresh"), what, "a reader that works on frames", hint))
    if not own.fresh and not (isinstance(options, ProcessorOptions) and options.fresh):
        return
    said: list[tuple[str, object, tuple[str | int, ...]]] = [
        (key, value, (*path, key))
        for key, value in (("high_water_mark", own.high_water_mark), ("when_full", own.when_full))
        if value is not None
    ]
    if isinstance(options, WorkerOptions) and options.window not in (None, 1):
        said.append(("window", options.window, ("nodes", name, "window")))
    for key, value, where in said:
        what = f"node {name!r} has `{key}: {value}` beside `fresh: true`"
        hint = f"remove `{key}`, or `fresh`"
        faults.append(
            Fault(
                line_of(*where), what, "one frame in work and the newest one waiting, which is what `fresh` means", hint
            )
        )
