"""The graph of a pipeline, and the sizes of its edges and rings; refuses graphs in which frames pile up.

How much a node holds follows from what is below it. An edge queues at most `mark` frames for each input of its
producer, and leases at most `window_total` more. What a buffer holds it has leased from its own producer, so its window
there is the most frames of one input that its edges hold together: with drop-oldest and block the queues of all edges
hold the same newest frames (the longest counts), with drop-newest, and where an edge takes only some of the frames
(`fps`, `cameras`), each may hold others (they add up); leases add up always. A capture's slots follow by the same sum.
A worker's window counts for each of its inputs, since their producers lease without knowing of each other. A
processor's replicas each have an edge of their own to every reader, with one queue (`parts` edges, one lane each): mark
and window hold for each part.

A processor that others read frames from is a relay. What it has passed on, its edges of frames hold, so its producer
leases it that many frames beside its window. Edges below a relay keep a tombstone for each frame that their producer
still holds: at most as many as it is ever leased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from detektr.config.document import Fault
from detektr.config.suggestions import listed, nearest
from detektr.config.topology import Graph, GraphEdge, GraphNode
from detektr.memory.layout import EDGE_SEEN_MAX, STATUS_INPUTS_MAX
from detektr.options import (
    BufferOptions,
    CaptureOptions,
    NodeOptions,
    ProcessorOptions,
    SinkOptions,
    WhenFull,
    edge_inputs,
    inputs_of,
)
from detektr.registry.node_kinds import NODE_KINDS
from detektr.source_uri import is_live

RELAY_MARK = 2  # frames of a processor that wait for a reader: each holds a slot, and a capture queues for all below it
SPARE_FRAMES = 4  # being written, published and not yet offered, on their way back, released and not yet seen
SLOTS_MAX = 65536
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
) -> tuple[Graph | None, list[Fault]]:
    """Order the nodes, size the edges and rings, and find every fault of the graph.

    Args:
        nodes: options by name, in the file's order.
        line_of: the line of a key, given its path (`"nodes", "camera", "input"`).
        broken: nodes with faults of their own; nothing is said of sizes that follow from them.
        unsure: names of the file whose kind or input is not known; what they read may be what others miss.
    Returns:
        The graph, None where it has faults; and the faults.
    """
    shape = _Shape(nodes, line_of, frozenset(unsure))
    order = shape.check()
    if order is None:
        return None, shape.faults
    graph = _sized(nodes, order, shape.reads)
    _check_sizes(graph, nodes, line_of, shape.faults, frozenset(broken) | shape.refused)
    return (None if shape.faults or broken or unsure else graph), shape.faults


def mermaid(graph: Graph) -> str:
    """Draw the graph as a Mermaid flowchart: kinds as shapes, edges with their policy and mark."""
    numbers = {name: f"n{index}" for index, name in enumerate(graph.nodes)}
    lines = ["flowchart LR"]
    for name, node in graph.nodes.items():
        left, right = NODE_KINDS[node.kind].shape
        count = f" x{node.replicas}" if node.replicas > 1 else f", {node.slots} slots" if node.slots else ""
        lines.append(f'    {numbers[name]}{left}"{name}<br/>{node.kind}{count}"{right}')
    for edge in graph.edges:
        lines.append(f'    {numbers[edge.producer]} -->|"{edge.terms}"| {numbers[edge.consumer]}')
    return "\n".join(lines) + "\n"


class _Shape:
    """Who reads from whom, and what is wrong with it."""

    def __init__(self, nodes: Mapping[str, NodeOptions], line_of: Callable[..., int], unsure: frozenset[str]) -> None:
        self.nodes = nodes
        self.line_of = line_of
        self.unsure = unsure
        self.faults: list[Fault] = []
        self.refused: frozenset[str] = frozenset()
        self.reads: dict[str, list[str]] = {}  # only what exists and may be read

    def check(self) -> list[str] | None:
        """Return the nodes, producers first; None where the graph cannot be sized."""
        for name, node in self.nodes.items():
            self.reads[name] = [] if name in self.unsure else self._inputs(name, node)
        order = self._order()
        if self.unsure or not self.nodes:  # whatever seems to be missing may be what a broken node meant
            return order
        if not any(isinstance(node, CaptureOptions) for node in self.nodes.values()):
            what, hint = "a pipeline without a capture", "add a node `{kind: capture, source: ...}`"
            self.faults.append(Fault(self.line_of("nodes"), what, "at least one capture", hint))
        read = {source for name, node in self.nodes.items() for source in inputs_of(node) if source != name}
        for name, node in self.nodes.items():
            if isinstance(node, CaptureOptions | BufferOptions) and name not in read:
                self._dead_end(name, node.kind)
        self._find_branches(order or [])
        return order

    def _find_branches(self, order: list[str]) -> None:
        """Fault nodes that would pass the same frame on twice, as it comes to them over two branches."""
        captures: dict[str, set[str]] = {}
        relays = {source for name in order if self.nodes[name].kind != "sink" for source in self.reads[name]}
        for name in order:
            node, found = self.nodes[name], set[str]()
            for index, source in enumerate(self.reads[name]):
                twice = sorted(found & captures[source])
                if twice and (isinstance(node, BufferOptions) or name in relays):
                    what = f"{node.kind} {name!r} gets the frames of {listed(twice)} twice: by {source!r} too"
                    hint = "read one of them, or let a node that nobody reads frames from read both"
                    self._fault(("nodes", name, "input", index), what, "one way for each frame that is passed on", hint)
                    self.refused |= {name}
                found |= captures[source]
            captures[name] = {name} if isinstance(node, CaptureOptions) else found

    def _inputs(self, name: str, node: NodeOptions) -> list[str]:
        """Return the inputs that exist and may be read."""
        good: list[str] = []
        inputs = inputs_of(node)
        allowed = NODE_KINDS[node.kind].may_read
        kinds = " or ".join(f"a {kind}" for kind in allowed)
        if allowed and not inputs:
            fit = [other for other, node in self.nodes.items() if node.kind in allowed]
            what = f"node {name!r} reads from nothing (`input` is an empty list)"
            hint = f"name one: {listed(fit)}" if fit else f"add {kinds}"
            self.faults.append(Fault(self.line_of("nodes", name, "input"), what, kinds, hint))
        for index, source in enumerate(inputs):
            path = ("nodes", name, "input", index)
            if source in inputs[:index]:
                self._fault(path, f"node {name!r} reads twice from {source!r}", "each input once", "remove one")
            elif source == name:
                self._fault(path, f"node {name!r} reads from itself", f"another node, {kinds}", "name that node")
            elif source not in self.nodes and source not in self.unsure:
                self._missing(path, name, source)
            elif source in self.nodes and self.nodes[source].kind not in allowed:
                kind = self.nodes[source].kind
                hint = self._hint(node.kind, kind, source)
                self._fault(path, f"{node.kind} {name!r} reads from the {kind} {source!r}", kinds, hint)
            elif source in self.nodes:
                good.append(source)
        if len(good) < len(inputs):
            self.refused |= {name}
        return good

    def _hint(self, reader: str, kind: str, source: str) -> str:
        allowed = NODE_KINDS[reader].may_read
        if allowed == ("processor",):
            feeders = [name for name, node in self.nodes.items() if node.kind in allowed]
            return f"read a processor ({listed(feeders)})" if feeders else "put a processor between them"
        return "a sink ends its branch: read a capture, buffer or processor"

    def _missing(self, path: tuple[str | int, ...], name: str, source: str) -> None:
        near = nearest(source, (other for other in self.nodes if other != name))
        names = [*self.nodes, *self.unsure]
        hint = f"write `{near}`" if near else "correct the name, or add that node"
        what = f"node {name!r} reads from {source!r:.60}, which is not in this file"
        self._fault(path, what, f"one of its nodes ({', '.join(dict.fromkeys(names))})", hint)

    def _fault(self, path: tuple[str | int, ...], what: str, expected: str, hint: str) -> None:
        self.faults.append(Fault(self.line_of(*path), what, expected, hint))

    def _dead_end(self, name: str, kind: str) -> None:
        what = f"nobody reads from the {kind} {name!r}: its frames would pile up with nobody to take them (a dead end)"
        hint = f"add a processor with `input: {name}`, or remove {name!r}"
        self.faults.append(Fault(self.line_of("nodes", name), what, "at least one reader", hint))

    def _order(self) -> list[str] | None:
        """Sort producers before consumers, else in the file's order; fault each cycle once."""
        order: list[str] = []
        waiting = dict(self.reads)
        while waiting:
            ready = next((name for name, reads in waiting.items() if not any(read in waiting for read in reads)), None)
            if ready is None:
                break
            order.append(ready)
            del waiting[ready]
        if not waiting:
            return order
        seen: set[str] = set()
        for start in waiting:
            walk: list[str] = []
            name = start
            while name not in seen:
                seen.add(name)
                walk.append(name)
                name = next(read for read in self.reads[name] if read in waiting)
            if name in walk:
                cycle = walk[walk.index(name) :][::-1]
                first = min(cycle, key=lambda other: list(self.nodes).index(other))
                turned = cycle[cycle.index(first) :] + cycle[: cycle.index(first)]
                what = f"a cycle: {' -> '.join([*turned, first])}"
                hint = f"let {first!r} read from a capture, or remove one of these inputs"
                self._fault(("nodes", first, "input"), what, "frames that flow one way", hint)
        return None


def _sized(nodes: Mapping[str, NodeOptions], order: list[str], reads: Mapping[str, list[str]]) -> Graph:
    """Size every node and edge, from the last consumer up."""
    outputs: dict[str, list[str]] = {name: [] for name in order}
    for name in order:
        for source in reads[name]:
            outputs[source].append(name)
    held: dict[str, int] = {}
    edges: dict[str, list[GraphEdge]] = {}
    for name in reversed(order):
        node = nodes[name]
        edges[name] = [_edge(name, node, consumer, nodes[consumer], held) for consumer in outputs[name]]
        if isinstance(node, CaptureOptions | BufferOptions):
            held[name] = _held(edges[name]) + node.guests + SPARE_FRAMES
        elif isinstance(node, ProcessorOptions):
            held[name] = _held([edge for edge in edges[name] if nodes[edge.consumer].kind != "sink"])
    facts = {}
    for name in order:
        node = nodes[name]
        facts[name] = GraphNode(
            name=name,
            kind=node.kind,
            inputs=tuple(reads[name]),
            outputs=tuple(outputs[name]),
            replicas=node.replicas if isinstance(node, ProcessorOptions) else 1,
            is_live=isinstance(node, CaptureOptions) and is_live(node.source),
            when_full=None if isinstance(node, SinkOptions) else _when_full(node),
            guests=node.guests if isinstance(node, CaptureOptions | BufferOptions) else 0,
            held=held.get(name, 0),
            slots=(node.slots or held[name]) if isinstance(node, CaptureOptions) else None,
        )
    graph = Graph(facts, tuple(edge for name in order for edge in edges[name]))
    return replace(graph, edges=tuple(replace(edge, tombstones=_tombstones(graph, edge)) for edge in graph.edges))


def _tombstones(graph: Graph, edge: GraphEdge) -> int:
    """Return the most frames that an edge's producer is leased, where these come in any order; else 0."""
    is_of_frames = graph.nodes[edge.consumer].kind != "sink"
    if not is_of_frames or not any(graph.nodes[name].kind == "processor" for name in graph.above(edge.producer)):
        return 0
    return sum(above.parts * above.limit for above in graph.edges_to(edge.producer))


def _edge(name: str, node: NodeOptions, consumer: str, reader: NodeOptions, held: Mapping[str, int]) -> GraphEdge:
    assert not isinstance(node, SinkOptions) and not isinstance(reader, CaptureOptions)
    own = next(edge for edge in edge_inputs(reader) if edge.from_ == name)
    is_relay = isinstance(node, ProcessorOptions) and not isinstance(reader, SinkOptions)
    usual = RELAY_MARK if is_relay else node.high_water_mark
    mark = usual if own.high_water_mark is None else own.high_water_mark
    low = node.low_water_mark if isinstance(node, BufferOptions) else None
    max_age_ns = node.max_age_ns if isinstance(node, BufferOptions) else None
    when_full = own.when_full or _when_full(node)
    # Nobody waits for an optional consumer: the newest frames are kept for it, and all others go on.
    is_refused = reader.optional and when_full == "block"
    return GraphEdge(
        producer=name,
        consumer=consumer,
        when_full="drop-oldest" if is_refused else when_full,
        is_optional=reader.optional,
        mark=mark,
        low=mark - 1 if low is None else min(low, mark - 1),
        max_age_ns=own.max_age_ns or max_age_ns,
        fps=own.fps,
        cameras=own.camera_names,
        is_policy_open=own.when_full is None and node.when_full is None and not reader.optional,
        window=held[consumer] if isinstance(reader, BufferOptions) else reader.window,
        replicas=reader.replicas if isinstance(reader, ProcessorOptions) else 1,
        inputs=max(1, len(inputs_of(node))) if isinstance(node, BufferOptions) else 1,
        parts=node.replicas if isinstance(node, ProcessorOptions) else 1,
        passed_max=held[consumer] if isinstance(reader, ProcessorOptions) else 0,
        only_results=own.only == "results",
    )


def _when_full(node: CaptureOptions | BufferOptions | ProcessorOptions) -> WhenFull:
    if node.when_full is not None:
        return node.when_full
    return "drop-oldest" if isinstance(node, CaptureOptions) and is_live(node.source) else "block"


def _held(edges: list[GraphEdge]) -> int:
    """Return the most frames of one input that these edges of one producer hold together."""
    own = sum(edge.mark for edge in edges if edge.has_own_frames)
    shared = max((edge.mark for edge in edges if not edge.has_own_frames), default=0)
    return own + shared + sum(edge.window_total for edge in edges)


def _check_sizes(
    graph: Graph,
    nodes: Mapping[str, NodeOptions],
    line_of: Callable[..., int],
    faults: list[Fault],
    broken: frozenset[str],
) -> None:
    for name, node in graph.nodes.items():
        readers = sum(graph.nodes[consumer].replicas for consumer in node.outputs)
        if readers > REPLICAS_MAX:
            what = f"{readers} replicas read from {name!r}"
            hint = f"use fewer `replicas`, or another buffer beside {name!r}"
            faults.append(Fault(line_of("nodes", name), what, f"at most {REPLICAS_MAX} on one producer", hint))
        inputs = sum(edge.parts for edge in graph.edges_to(name))
        if inputs > INPUTS_MAX:
            what = f"{node.kind} {name!r} reads from {inputs} processes"
            hint = f"let some of them go through another {node.kind}" if node.kind == "buffer" else "use two of them"
            faults.append(Fault(line_of("nodes", name, "input"), what, f"at most {INPUTS_MAX}", hint))
        above = graph.above(name) if node.kind == "buffer" else ()
        cameras = sum(graph.nodes[other].kind == "capture" for other in above)
        if cameras > CAMERAS_MAX:
            what = f"the frames of {cameras} captures come through buffer {name!r}"
            hint = "give some of them a buffer, and consumers, of their own"
            faults.append(Fault(line_of("nodes", name, "input"), what, f"at most {CAMERAS_MAX}", hint))
        options = nodes[name]
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
        if options.optional and own.when_full == "block":
            what = f"node {name!r} is `optional`, and its edge from {own.from_!r} says `when_full: block`"
            hint = "write drop-oldest or drop-newest, or remove `optional`"
            faults.append(Fault(line_of(*path, "when_full"), what, "an edge that nobody waits for", hint))
        if own.only is not None and (producer.kind != "processor" or isinstance(options, SinkOptions)):
            what = f"node {name!r} asks for `only: {own.only}` of the {producer.kind} {own.from_!r}"
            hint = "write it where a processor's frames are read, or leave it out"
            faults.append(Fault(line_of(*path, "only"), what, "frames of a processor, which returns results", hint))
        if own.fps is not None and producer.replicas > 1:
            what = f"node {name!r} asks for `fps: {own.fps:g}` of {own.from_!r}, which has {producer.replicas} replicas"
            hint = f"write `fps` on the input of {own.from_!r}, or one replica there"
            faults.append(Fault(line_of(*path, "fps"), what, "one process, which sees all frames", hint))
        cameras = [
            found.camera or other
            for other in graph.nodes
            if other in graph.above(own.from_) and isinstance(found := nodes[other], CaptureOptions)
        ]
        for camera in own.camera_names:
            if camera not in cameras:
                near = nearest(camera, cameras)
                what = f"node {name!r} asks for camera {camera!r}, of which no frames come through {own.from_!r}"
                hint = f"write `{near}`" if near else "correct the name, or leave `cameras` out"
                faults.append(Fault(line_of(*path, "cameras"), what, listed(cameras), hint))
