"""Nodes and edges of a pipeline, sized: what the graph comes to. Pure values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from detektr.descriptor import DESCRIPTOR_BYTES_MAX
from detektr.memory.layout import journal_bytes
from detektr.options import WhenFull
from detektr.picture import PictureLayout


@dataclass(frozen=True)
class GraphEdge:
    """One producer to one consumer, and what it may hold."""

    producer: str
    consumer: str
    when_full: WhenFull
    mark: int
    """Most frames queued for one lane of one part."""
    low: int
    """After the mark was reached, a lane takes frames again when it holds this many."""
    window: int
    """Most leases of one replica of the consumer, for one lane."""
    replicas: int
    """Most replicas of the consumer."""
    inputs: int
    """Inputs of a buffer that produces; 1 for the other kinds."""
    parts: int
    """Most replicas of the producer, each with an edge of its own."""
    is_optional: bool = False
    """Whether its consumer is one that nobody waits for."""
    max_age_ns: int | None = None
    """Oldest age at which a frame is still worked on; None: any."""
    fps: float | None = None
    """Frames a second of each camera that it takes; None: all."""
    cameras: tuple[str, ...] = ()
    """Cameras whose frames it takes; empty: all."""
    is_partitioned: bool = False
    """Whether each camera's frames go to one replica of the consumer, as far as the file tells."""
    streams: int = 0
    """Captures whose frames may come on it; 0 where they are no frames."""
    streams_of_input: int = 1
    """Captures whose frames may come by one input of the producer, at most."""
    is_policy_open: bool = False
    """Whether its policy follows from its producer's source, which only shows what it is when it is opened."""
    is_fresh: bool = False
    """Whether its consumer wants the newest frame only."""
    payload_bytes: int = DESCRIPTOR_BYTES_MAX
    """Most bytes of what is announced: a frame's descriptor and results, or an event."""
    passed_max: int = 0
    """Of a consumer that is a relay: most frames that one replica has passed on and still holds, beside its window."""
    tombstones: int = 0
    """Most frames that are settled here and that its producer still holds; 0: its frames come in order."""
    only_results: bool = False
    """Whether it takes only frames for which its producer returned something."""
    gathering: str = ""
    """How its consumer gathers frames, in words: in order, joined; empty: it takes them as they come."""
    reserve: int = 0
    """Leases beyond those of the windows, for the oldest frame of each camera, where some node below holds others back
    because of it."""
    held_back: int = 0
    """Of a consumer that holds frames back: most that one replica holds because of that, beside its window."""
    keeps_settled: int = 0
    """Most frames that are settled here while others need them, where branches that part above are joined below."""

    @property
    def has_own_frames(self) -> bool:
        """Whether its queue may hold other frames than the newest ones, which the queues beside it hold too."""
        return self.when_full == "drop-newest" or self.fps is not None or bool(self.cameras) or self.only_results

    @property
    def terms(self) -> str:
        """What was agreed for it, in words."""
        words = ["fresh"] if self.is_fresh else []
        words += [f"{self.when_full} at {self.mark}"]
        words += [] if self.max_age_ns is None else [f"at most {self.max_age_ns / 1e9:g} s old"]
        words += [] if self.fps is None else [f"{self.fps:g} fps"]
        words += [] if not self.cameras else [f"only {', '.join(self.cameras)}"]
        words += ["only with results"] if self.only_results else []
        words += ["by camera"] if self.is_partitioned and self.replicas > 1 else []
        words += [self.gathering] if self.gathering else []
        return ", ".join(words)

    @property
    def mark_of_input(self) -> int:
        """Most frames queued for one input of the producer."""
        return self.mark * self.streams_of_input if self.is_partitioned else self.mark

    @property
    def window_total(self) -> int:
        """Most leases on one part that all replicas hold together."""
        return self.limit * self.replicas + self.reserve

    @property
    def limit(self) -> int:
        """Most leases that one replica of the consumer holds, for one lane, those that it has passed on included."""
        return self.window + self.held_back + self.passed_max

    @property
    def cells(self) -> int:
        """Most frames that one part ever holds, queued and leased, and tombstones."""
        return max(self.inputs, self.streams) * self.mark + self.window_total + self.tombstones + self.keeps_settled

    @property
    def journal_bytes(self) -> int:
        """Shared memory of the journals of all its parts, in bytes."""
        return self.parts * journal_bytes(self.cells, self.payload_bytes)


@dataclass(frozen=True)
class CameraMemory:
    """The shared memory that one camera's frames take, and what it may be."""

    picture: PictureLayout
    """As the file declares it; what it does not declare is assumed."""
    is_assumed: bool
    """Whether some of it is assumed."""
    ring_bytes: int
    journal_bytes: int
    """Its share of the journals of all edges below it."""
    limit_bytes: int
    """What the marks that nobody wrote follow from."""
    is_limit_written: bool
    """Whether the file says `memory`."""

    @property
    def total_bytes(self) -> int:
        """Ring and journals together."""
        return self.ring_bytes + self.journal_bytes

    @property
    def is_over(self) -> bool:
        """Whether it is more than the limit: written numbers, or the least with which frames flow, need it."""
        return self.total_bytes > self.limit_bytes


@dataclass(frozen=True)
class GraphNode:
    """One node's place in the graph."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    replicas: int
    """Processes with which it begins."""
    replicas_max: int = 1
    """Most processes that it may have while it runs."""
    is_live: bool = False
    when_full: WhenFull | None = None
    mark: int = 0
    """Most frames that an ephemeral consumer of it queues."""
    guests: int = 0
    """Frames that ephemeral consumers may hold beyond those that its own consumers queue."""
    is_on_demand: bool = False
    """Whether all that read it want the newest frame only and make it wait: no frame is made before they have room."""
    held: int = 0
    """Most frames of one input that its consumers hold together, ephemeral ones and spare included; of a relay: those
    that it has passed on; 0 for other workers."""
    slots: int | None = None
    """Slots in a capture's ring; None for the other kinds."""
    memory: CameraMemory | None = None
    """The memory of a capture's frames; None for the other kinds."""


@dataclass(frozen=True)
class Graph:
    """A pipeline's nodes, producers before consumers, and its edges in the same order."""

    nodes: Mapping[str, GraphNode]
    edges: tuple[GraphEdge, ...]

    def parts(self, name: str, *, is_supervised: bool) -> int:
        """Return for how many processes of a node there is a place: nobody scales one that no supervisor watches."""
        return self.nodes[name].replicas_max if is_supervised else self.nodes[name].replicas

    def edges_from(self, name: str) -> tuple[GraphEdge, ...]:
        """Return the edges that a node produces for."""
        return tuple(edge for edge in self.edges if edge.producer == name)

    def edges_to(self, name: str) -> tuple[GraphEdge, ...]:
        """Return the edges that a node reads from, in the order of its inputs."""
        return tuple(edge for edge in self.edges if edge.consumer == name)

    def readers(self, name: str) -> tuple[str, ...]:
        """Return the nodes that read frames from a processor: all that read from it but sinks."""
        return tuple(other for other in self.nodes[name].outputs if self.nodes[other].kind != "sink")

    def above(self, name: str) -> set[str]:
        """Return a node and all that it reads from, directly or not."""
        return _reached(name, lambda node: self.nodes[node].inputs)

    def below(self, name: str) -> set[str]:
        """Return a node and all that read from it, directly or not."""
        return _reached(name, lambda node: self.nodes[node].outputs)


def _reached(name: str, next_to: Callable[[str], Iterable[str]]) -> set[str]:
    found, left = {name}, [name]
    while left:
        new = set(next_to(left.pop())) - found
        found |= new
        left += new
    return found
