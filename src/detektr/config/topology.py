"""Nodes and edges of a pipeline, sized: what the graph comes to. Pure values."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from detektr.options import WhenFull


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
    """Replicas of the consumer."""
    inputs: int
    """Inputs of a buffer that produces; 1 for the other kinds."""
    parts: int
    """Replicas of the producer, each with an edge of its own."""
    is_optional: bool = False
    """Whether its consumer is one that nobody waits for."""
    max_age_ns: int | None = None
    """Oldest age at which a frame is still worked on; None: any."""
    fps: float | None = None
    """Frames a second of each camera that it takes; None: all."""
    cameras: tuple[str, ...] = ()
    """Cameras whose frames it takes; empty: all."""
    is_policy_open: bool = False
    """Whether its policy follows from its producer's source, which only shows what it is when it is opened."""
    passed_max: int = 0
    """Of a consumer that is a relay: most frames that one replica has passed on and still holds, beside its window."""
    tombstones: int = 0
    """Most frames that are settled here and that its producer still holds; 0: its frames come in order."""
    only_results: bool = False
    """Whether it takes only frames for which its producer returned something."""

    @property
    def has_own_frames(self) -> bool:
        """Whether its queue may hold other frames than the newest ones, which the queues beside it hold too."""
        return self.when_full == "drop-newest" or self.fps is not None or bool(self.cameras) or self.only_results

    @property
    def terms(self) -> str:
        """What was agreed for it, in words."""
        words = [f"{self.when_full} at {self.mark}"]
        words += [] if self.max_age_ns is None else [f"at most {self.max_age_ns / 1e9:g} s old"]
        words += [] if self.fps is None else [f"{self.fps:g} fps"]
        words += [] if not self.cameras else [f"only {', '.join(self.cameras)}"]
        words += ["only with results"] if self.only_results else []
        return ", ".join(words)

    @property
    def window_total(self) -> int:
        """Most leases on one part that all replicas hold together."""
        return self.limit * self.replicas

    @property
    def limit(self) -> int:
        """Most leases that one replica of the consumer holds, for one lane, those that it has passed on included."""
        return self.window + self.passed_max

    @property
    def cells(self) -> int:
        """Most frames that one part ever holds, queued and leased, and tombstones."""
        return self.inputs * self.mark + self.window_total + self.tombstones


@dataclass(frozen=True)
class GraphNode:
    """One node's place in the graph."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    replicas: int
    is_live: bool = False
    when_full: WhenFull | None = None
    guests: int = 0
    held: int = 0
    """Most frames of one input that its consumers hold together, ephemeral ones and spare included; of a relay: those
    that it has passed on; 0 for other workers."""
    slots: int | None = None
    """Slots in a capture's ring; None for the other kinds."""


@dataclass(frozen=True)
class Graph:
    """A pipeline's nodes, producers before consumers, and its edges in the same order."""

    nodes: Mapping[str, GraphNode]
    edges: tuple[GraphEdge, ...]

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
