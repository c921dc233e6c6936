"""How many frames each node and edge may hold, and so the slots of each ring. Pure.

What a file writes is kept. Marks and guests that nobody wrote follow from the memory of a camera (`memory`, ring and
journals together): all of them stand on one level, see `rung`, which is as high as the memory of each camera above
allows. The walk goes from the last consumer up. An edge queues at most `mark` frames for each input of its producer,
and leases at most `window_total` more; `frames_held` says how many frames of one input a node may hold because of its
edges. That is a buffer's window on each edge that it reads, and the slots of a capture's ring, so that a ring has a
slot for each frame that anybody may hold and some to spare, and no frame waits for a slot that never becomes free.

With drop-oldest and block the queues of all edges of one producer hold the same newest frames (the longest counts),
with drop-newest, and where an edge takes only some of the frames (`fps`, `cameras`), each may hold others (they add
up); leases add up always. The queues of ephemeral consumers hold the newest frames too, so `guests` counts what they
hold beyond the longest queue. A worker's window counts for each of its inputs, since their producers lease without
knowing of each other. A processor's replicas each have an edge of their own to every reader, with one queue (`parts`
edges): mark and window hold for each part.

A processor that others read frames from is a relay: what it has passed on its edges of frames hold, so its producer
leases it that many frames (`passed_max`) beside its window. Edges below a relay keep a tombstone for each frame that
their producer still holds: at most as many as it is ever leased. Where frames are held back below (`order`, `join`),
edges have room for all that can be held, and keep a lease for the oldest frame of each camera; see `gathering`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from detektr.config.graph.gathering import Gathering
from detektr.config.graph.topology import CameraMemory, Graph, GraphEdge, GraphNode
from detektr.config.graph.ways import Ways, is_partitioned
from detektr.descriptor import DESCRIPTOR_BYTES_MAX
from detektr.memory.layout import ring_bytes
from detektr.options import (
    WINDOW,
    BufferOptions,
    CaptureOptions,
    EdgeInput,
    NodeOptions,
    ProcessorOptions,
    PullOptions,
    SinkOptions,
    WhenFull,
    WorkerOptions,
    edge_inputs,
    inputs_of,
    worker_window,
)
from detektr.picture import PictureLayout
from detektr.quantity import size_bytes
from detektr.results import MISSING_BYTES, MISSING_NODE_BYTES, NODE_BYTES, TAIL_BYTES
from detektr.source_uri import is_live

MEMORY_BYTES = 64 << 20  # of a camera, unless the file says `memory`
ASSUMED_SIZE = (1920, 1080)  # what most cameras send; the real size is known when the source is opened
ASSUMED_FORMAT = "yuv420p"
SLOTS_MAX = 65536
SPARE_FRAMES = 4  # of a capture: being written, published and not yet offered
BUFFER_SPARE = 2  # of a buffer: taken and not yet offered, settled and not yet reclaimed by its producer
BUFFER_MARK = 2  # for a buffer, which takes frames as they come; they wait behind it
FRAMES_MARK = 2  # for frames of a processor: each holds a slot, and a capture queues for all below it
MARK_ENOUGH = 4  # a longer queue only makes pictures older (1 s at 10 a second), unless somebody gave memory for it
GUEST_FRAMES = 2  # for one `detektr.attach`, and one frame that is on its way
GUESTS_ENOUGH = 8
LEAST, WITH_GUESTS, ENOUGH = 0, 1, MARK_ENOUGH + GUESTS_ENOUGH - GUEST_FRAMES  # levels


def rung(level: int) -> tuple[int, int]:
    """Return the mark and the guests that nobody wrote at one level; both grow with it.

    Level 0 is the least with which frames flow, level 1 has room for one ephemeral consumer. Then the marks grow to
    `MARK_ENOUGH`, the guests to `GUESTS_ENOUGH` (level `ENOUGH`), and from there on the marks alone.
    """
    if level <= LEAST:
        return 1, 0
    guests = min(GUESTS_ENOUGH, GUEST_FRAMES + max(0, level - MARK_ENOUGH))
    return min(level, MARK_ENOUGH) + max(0, level - ENOUGH), guests


def size_graph(
    nodes: Mapping[str, NodeOptions],
    order: list[str],
    reads: Mapping[str, list[str]],
    memory: str | None = None,
) -> Graph:
    """Size every node and edge.

    Args:
        nodes: options by name.
        order: their names, producers before consumers.
        reads: what each node reads.
        memory: of each camera, as the pipeline says; None: nothing said.
    """
    outputs: dict[str, list[str]] = {name: [] for name in order}
    for name in order:
        for source in reads[name]:
            outputs[source].append(name)
    walk = _Walk(nodes, order, reads, outputs, memory)
    cameras = [name for name in order if isinstance(nodes[name], CaptureOptions)]
    levels: dict[str, int] = {}
    known: dict[int, Graph] = {}
    for camera in cameras:
        highest = _highest_level(camera, walk, known)
        for name in walk.below[camera]:
            levels[name] = min(levels.get(name, highest), highest)
    return walk.sized(dict.fromkeys(order, LEAST) | levels)


def least_bytes(graph: Graph, nodes: Mapping[str, NodeOptions], camera: str, memory: str | None) -> int:
    """Return the least memory with which a camera's frames flow, whatever numbers the file writes."""
    bare = {name: _bare(options) for name, options in nodes.items()}
    order = list(graph.nodes)
    reads = {name: list(graph.nodes[name].inputs) for name in order}
    walk = _Walk(bare, order, reads, {name: list(graph.nodes[name].outputs) for name in order}, memory)
    found = walk.sized(dict.fromkeys(order, LEAST)).nodes[camera].memory
    assert found is not None, "only captures are cameras"
    return found.total_bytes


def frames_held(node: NodeOptions, edges: list[GraphEdge], *, guests: int, is_on_demand: bool) -> int:
    """Return the most frames of one input that a node holds because of its own edges, which are sized.

    Args:
        node: its options.
        edges: of frames, those that it produces for.
        guests: frames that ephemeral consumers may hold beyond what its own consumers queue.
        is_on_demand: whether it makes no frame before all its edges have room.
    """
    own = sum(edge.mark_of_input for edge in edges if edge.has_own_frames)
    shared = max((edge.mark_of_input for edge in edges if not edge.has_own_frames), default=0)
    spare = SPARE_FRAMES if isinstance(node, CaptureOptions) else BUFFER_SPARE
    spare = 0 if is_on_demand or isinstance(node, WorkerOptions | PullOptions) else spare
    return own + shared + sum(edge.window_total for edge in edges) + guests + spare


def default_policy(node: NodeOptions) -> WhenFull:
    """Return what a node does at its mark, for edges that say nothing of their own."""
    assert not isinstance(node, SinkOptions | PullOptions)
    if node.when_full is not None:
        return node.when_full
    return "drop-oldest" if isinstance(node, CaptureOptions) and is_live(node.source) else "block"


@dataclass(frozen=True)
class _Limit:
    """What the sizes below one camera follow from."""

    nbytes: int
    is_written: bool
    slots: int | None

    @property
    def levels(self) -> tuple[int, int]:
        """The lowest level and the highest one that are tried."""
        is_given = self.is_written or self.slots is not None  # else room for an ephemeral consumer is never missing
        return (LEAST if is_given else WITH_GUESTS), (SLOTS_MAX if self.is_written else ENOUGH)


class _Walk:
    """One graph, to be sized at any levels."""

    def __init__(
        self,
        nodes: Mapping[str, NodeOptions],
        order: list[str],
        reads: Mapping[str, list[str]],
        outputs: Mapping[str, list[str]],
        memory: str | None,
    ) -> None:
        self.nodes, self.order, self.reads, self.outputs = nodes, order, reads, outputs
        self.below: dict[str, set[str]] = {}
        for name in reversed(order):
            self.below[name] = {name}.union(*(self.below[consumer] for consumer in outputs[name]))
        self.cameras: dict[str, tuple[str, ...]] = {}  # above each node, itself included
        for name in order:
            above = dict.fromkeys(camera for source in reads[name] for camera in self.cameras[source])
            self.cameras[name] = (name,) if isinstance(nodes[name], CaptureOptions) else tuple(above)
        self.relays: dict[str, set[str]] = {}  # processors among each node and those above it
        for name in order:
            own = {name} if isinstance(nodes[name], ProcessorOptions) else set()
            self.relays[name] = own.union(*(self.relays[source] for source in reads[name]))
        self.limits = {
            name: _limit(options, memory) for name, options in nodes.items() if isinstance(options, CaptureOptions)
        }
        self.gathering = Gathering(nodes, reads, Ways(nodes, order, reads), self.cameras, self.relays)
        self.on_demand: set[str] = set()
        for name in reversed(order):
            consumers = outputs[name]
            if (
                consumers
                and isinstance(nodes[name], CaptureOptions | BufferOptions)
                and all(consumer in self.on_demand or self._waits_fresh(name, consumer) for consumer in consumers)
                and self._may_wait(name)
            ):
                self.on_demand.add(name)

    def sized(self, levels: Mapping[str, int]) -> Graph:
        """Size every node and edge, the numbers that nobody wrote by the level of their node."""
        held: dict[str, int] = {}
        edges: dict[str, list[GraphEdge]] = {}
        for name in reversed(self.order):
            edges[name] = [self._edge(name, consumer, levels[name], held) for consumer in self.outputs[name]]
            held[name] = frames_held(
                self.nodes[name],
                [edge for edge in edges[name] if self._is_of_frames(edge.consumer)],
                guests=self._guests(name, levels[name]),
                is_on_demand=name in self.on_demand,
            )
        limits = dict.fromkeys(self.order, 0)  # most frames that one process of each node is ever leased
        for name in self.order:
            edges[name] = [self.gathering.with_room(edge, edges[name], limits[name]) for edge in edges[name]]
            for edge in edges[name]:
                limits[edge.consumer] += edge.parts * (edge.limit + edge.reserve)
        for name in self.order:
            edges[name] = [self.gathering.keeping(edge, limits[name], held) for edge in edges[name]]
        journals = dict.fromkeys(self.limits, 0.0)
        for name in self.order:
            shared = sum(edge.journal_bytes for edge in edges[name]) / max(1, len(self.cameras[name]))
            for camera in self.cameras[name]:
                journals[camera] += shared
        facts = {name: self._node(name, levels[name], held[name], edges[name], journals) for name in self.order}
        return Graph(facts, tuple(edge for name in self.order for edge in edges[name]))

    def _node(
        self, name: str, level: int, held: int, edges: list[GraphEdge], journals: Mapping[str, float]
    ) -> GraphNode:
        options = self.nodes[name]
        is_producer = isinstance(options, CaptureOptions | BufferOptions)
        written = options.high_water_mark if isinstance(options, CaptureOptions | BufferOptions) else None
        queued = written or max((edge.mark for edge in edges), default=1)
        slots = (options.slots or held) if isinstance(options, CaptureOptions) else None
        return GraphNode(
            name=name,
            kind=options.kind,
            inputs=tuple(self.reads[name]),
            outputs=tuple(self.outputs[name]),
            replicas=options.replicas if isinstance(options, ProcessorOptions) else 1,
            replicas_max=options.replicas_max if isinstance(options, ProcessorOptions) else 1,
            is_live=isinstance(options, CaptureOptions) and is_live(options.source),
            when_full=None if isinstance(options, SinkOptions | PullOptions) else default_policy(options),
            mark=queued if is_producer else 0,
            guests=self._guests(name, level),
            is_on_demand=name in self.on_demand,
            held=held,
            slots=slots,
            memory=None if slots is None else self._memory(name, slots, journals[name]),
        )

    def _memory(self, camera: str, slots: int, journals: float) -> CameraMemory:
        options, limit = self.nodes[camera], self.limits[camera]
        assert isinstance(options, CaptureOptions)
        is_sized = options.width is not None and options.height is not None
        width, height = (options.width, options.height) if options.width and options.height else ASSUMED_SIZE
        picture = PictureLayout(options.format or ASSUMED_FORMAT, width, height)
        return CameraMemory(
            picture=picture,
            is_assumed=not is_sized or options.format is None,
            ring_bytes=ring_bytes(slots, picture.nbytes),
            journal_bytes=round(journals),
            limit_bytes=limit.nbytes,
            is_limit_written=limit.is_written,
        )

    def _guests(self, name: str, level: int) -> int:
        options = self.nodes[name]
        if not isinstance(options, CaptureOptions | BufferOptions):
            return 0
        return rung(level)[1] if options.guests is None else options.guests

    def _edge(self, name: str, consumer: str, level: int, held: Mapping[str, int]) -> GraphEdge:
        node, reader = self.nodes[name], self.nodes[consumer]
        assert not isinstance(node, SinkOptions | PullOptions) and not isinstance(reader, CaptureOptions)
        own = self._own(name, consumer)
        is_fresh = _is_fresh(own, reader)
        mark = self._edge_mark(name, consumer, own, level)
        low = node.low_water_mark if isinstance(node, BufferOptions) else None
        return GraphEdge(
            producer=name,
            consumer=consumer,
            when_full=self._policy(name, consumer),
            is_optional=reader.optional,
            mark=mark,
            low=mark - 1 if low is None else min(low, mark - 1),
            max_age_ns=own.max_age_ns or (node.max_age_ns if isinstance(node, BufferOptions) else None),
            fps=own.fps,
            cameras=own.camera_names,
            is_partitioned=isinstance(reader, ProcessorOptions) and is_partitioned(reader),
            streams=len(self.cameras[name]) if isinstance(reader, ProcessorOptions) else 0,
            streams_of_input=max((len(self.cameras[source]) for source in self.reads[name]), default=1),
            is_policy_open=own.when_full is None and node.when_full is None and not reader.optional,
            is_fresh=is_fresh,
            window=1 if is_fresh else held[consumer] if isinstance(reader, BufferOptions) else worker_window(reader),
            replicas=reader.replicas_max if isinstance(reader, ProcessorOptions) else 1,
            inputs=max(1, len(inputs_of(node))) if isinstance(node, BufferOptions) else 1,
            parts=node.replicas_max if isinstance(node, ProcessorOptions) else 1,
            payload_bytes=self._payload_bytes(name, consumer),
            passed_max=0 if isinstance(reader, BufferOptions) else held[consumer],
            only_results=own.only == "results",
            reserve=self.gathering.reserve(name, consumer),
            gathering=self.gathering.ways.in_words(consumer),
        )

    def _is_of_frames(self, consumer: str) -> bool:
        return not isinstance(self.nodes[consumer], SinkOptions)

    def _payload_bytes(self, name: str, consumer: str) -> int:
        """Return the room for what an edge announces: an event, or a frame with the results of nodes on its way."""
        node = self.nodes[name]
        if isinstance(node, ProcessorOptions) and not self._is_of_frames(consumer):
            return node.event_bytes
        found = [relay for other in self.relays[name] if isinstance(relay := self.nodes[other], ProcessorOptions)]
        room = sum(relay.event_bytes + NODE_BYTES for relay in found)
        joined = [relay for relay in found if relay.join is not None]
        missing = sum([MISSING_BYTES + MISSING_NODE_BYTES * len(inputs_of(relay)) for relay in joined])
        return DESCRIPTOR_BYTES_MAX + (room + TAIL_BYTES + missing if found else 0)

    def _edge_mark(self, name: str, consumer: str, own: EdgeInput, level: int) -> int:
        node, reader = self.nodes[name], self.nodes[consumer]
        assert not isinstance(node, SinkOptions | PullOptions)
        if own.high_water_mark is not None:
            return own.high_water_mark
        if _is_fresh(own, reader):
            return 1
        if isinstance(node, ProcessorOptions) and self._is_of_frames(consumer):
            return min(FRAMES_MARK, rung(level)[0])
        if isinstance(reader, BufferOptions) and node.high_water_mark is None:
            return 1 if consumer in self.on_demand else BUFFER_MARK
        return _mark(node, level)

    def _policy(self, name: str, consumer: str) -> WhenFull:
        node, reader, own = self.nodes[name], self.nodes[consumer], self._own(name, consumer)
        found = own.when_full or default_policy(node)
        if own.when_full is None and _is_fresh(own, reader):
            found = "block" if self._is_of_frames(consumer) and self._may_wait(name) else "drop-oldest"
        # Nobody waits for an optional consumer: the newest frames are kept for it, and all others go on.
        return "drop-oldest" if reader.optional and found == "block" else found

    def _own(self, name: str, consumer: str) -> EdgeInput:
        return next(edge for edge in edge_inputs(self.nodes[consumer]) if edge.from_ == name)

    def _waits_fresh(self, name: str, consumer: str) -> bool:
        """Whether an edge keeps one frame and makes its producer wait."""
        is_fresh = _is_fresh(self._own(name, consumer), self.nodes[consumer])
        return is_fresh and self._policy(name, consumer) == "block"

    def _may_wait(self, name: str) -> bool:
        """Whether a node's frames come from files at full speed only, which wait where others go on."""
        captures = [self.nodes[camera] for camera in self.cameras[name]]
        return all(
            isinstance(one, CaptureOptions) and default_policy(one) == "block" and not one.realtime for one in captures
        )


def _highest_level(camera: str, walk: _Walk, known: dict[int, Graph]) -> int:
    """Return the highest level at which a camera's frames fit, if all nodes stand on it; the lowest where none does."""
    limit = walk.limits[camera]

    def fits(level: int) -> bool:
        if level not in known:
            known[level] = walk.sized(dict.fromkeys(walk.order, level))
        node = known[level].nodes[camera]
        if limit.slots is not None:
            return node.held <= limit.slots
        return node.memory is not None and node.memory.total_bytes <= limit.nbytes and node.held <= SLOTS_MAX

    low, high = limit.levels
    if fits(high):
        return high
    while high - low > 1:  # fits(low), or nothing does; not fits(high)
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _limit(options: CaptureOptions, memory: str | None) -> _Limit:
    said = options.memory or memory
    return _Limit(MEMORY_BYTES if said is None else size_bytes(said), said is not None, options.slots)


def _mark(node: CaptureOptions | BufferOptions | ProcessorOptions, level: int) -> int:
    """Return the mark of a node's edges that say nothing of their own."""
    if node.high_water_mark is not None:
        return node.high_water_mark
    low = node.low_water_mark if isinstance(node, BufferOptions) else None
    return max(rung(level)[0], 0 if low is None else low + 1)


def _is_fresh(own: EdgeInput, reader: NodeOptions) -> bool:
    return own.fresh or (isinstance(reader, ProcessorOptions) and reader.fresh)


def _bare(options: NodeOptions) -> NodeOptions:
    """Return options without the numbers from which memory follows."""
    if isinstance(options, CaptureOptions):
        return replace(options, high_water_mark=None, guests=None, slots=None)
    inputs: list[str | EdgeInput] = [replace(edge, high_water_mark=None) for edge in edge_inputs(options)]
    if isinstance(options, BufferOptions):
        return replace(options, input=inputs, high_water_mark=None, low_water_mark=None, guests=None)
    return replace(options, input=inputs, window=min(WINDOW, worker_window(options)))
