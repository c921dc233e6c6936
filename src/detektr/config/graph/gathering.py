"""What the edges on the ways to a node need that orders or joins frames: room for what it holds back. Pure.

What is held back has its slots already: it is leased on the last edge above whose frames come in order, or held by the
other branches. So this adds cells of journals and credit, no pictures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from detektr.config.graph.topology import GraphEdge
from detektr.config.graph.ways import Ways
from detektr.options import BufferOptions, NodeOptions, ProcessorOptions, SinkOptions


class Gathering:
    """The room on each edge of one graph."""

    def __init__(
        self,
        nodes: Mapping[str, NodeOptions],
        reads: Mapping[str, list[str]],
        ways: Ways,
        cameras: Mapping[str, tuple[str, ...]],
        relays: Mapping[str, set[str]],
    ) -> None:
        """Take a graph.

        Args:
            nodes: options by name.
            reads: what each node reads.
            ways: to the nodes that order or join frames.
            cameras: captures above each node, itself included.
            relays: processors among each node and those above it.
        """
        self._nodes, self._reads, self.ways, self._cameras, self._relays = nodes, reads, ways, cameras, relays

    def reserve(self, name: str, consumer: str) -> int:
        """Return the leases for the oldest frames, on an edge of frames below which some are held back."""
        is_of_worker = isinstance(self._nodes[consumer], ProcessorOptions)
        return len(self._cameras[name]) if is_of_worker and self.ways.gatherers(consumer) else 0

    def with_room(self, edge: GraphEdge, beside: list[GraphEdge], limit: int) -> GraphEdge:
        """Return an edge with room for what is held back below it, so that this never keeps an earlier frame away.

        What is held back has its slots already: it is leased on the last edge above whose frames come in order.

        Args:
            edge: of frames or events.
            beside: all edges of its producer.
            limit: most frames that the producer is ever leased.
        """
        name, consumer = edge.producer, edge.consumer
        gatherers = self.ways.gatherers(consumer) if self._is_of_frames(consumer) else set()
        if not gatherers:
            return edge
        if self._relays[name]:
            room = limit
        else:  # a join holds what its other branches hold
            joins = self.ways.joins(consumer) & {consumer}
            others = [one for one in beside if one is not edge and self._is_of_frames(one.consumer)]
            partners = [one for one in others if joins & self.ways.gatherers(one.consumer)]
            room = edge.window + sum([one.mark_of_input + one.window_total for one in partners]) if partners else 0
        holds = consumer in gatherers or isinstance(self._nodes[consumer], BufferOptions)
        passes = isinstance(self._nodes[consumer], ProcessorOptions) and bool(gatherers - {consumer})
        return replace(
            edge,
            held_back=max(0, room - edge.window) if holds else 0,
            passed_max=max(edge.passed_max, room) if passes and self._relays[name] else edge.passed_max,
        )

    def keeping(self, edge: GraphEdge, limit: int, held: Mapping[str, int]) -> GraphEdge:
        """Return an edge with room for the names that it keeps of settled frames.

        Args:
            edge: of frames or events.
            limit: most frames that its producer is ever leased.
            held: most frames of one input that each node holds.
        """
        name, consumer = edge.producer, edge.consumer
        if not self._is_of_frames(consumer):
            return edge
        forks = {fork for fork, _ in self.ways.forks_above(name)}
        known = sum([held[fork] * max(1, len(self._reads[fork])) + 1 for fork in forks])
        if self._relays[name]:
            return replace(edge, tombstones=limit + known)
        if not self.ways.keeps_settled(name, consumer):
            return edge
        return replace(edge, keeps_settled=known or held[name] * max(1, len(self._reads[name])) + 1)

    def _is_of_frames(self, consumer: str) -> bool:
        return not isinstance(self._nodes[consumer], SinkOptions)
