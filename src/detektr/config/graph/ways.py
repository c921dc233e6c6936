"""The ways of frames through a graph to the nodes that order or join them, and where those ways part. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detektr.options import CaptureOptions, NodeOptions, ProcessorOptions, SinkOptions, edge_inputs, wants_newest
from detektr.plugins import is_known_stateful


class Ways:
    """Which nodes gather frames, and which edges lead to them."""

    def __init__(self, nodes: Mapping[str, NodeOptions], order: Sequence[str], reads: Mapping[str, list[str]]) -> None:
        """Take a graph.

        Args:
            nodes: options by name.
            order: their names, producers before consumers.
            reads: what each node reads.
        """
        self._order, self._reads = tuple(order), reads
        self.outputs: dict[str, list[str]] = {name: [] for name in order}  # of frames
        for name in order:
            for source in reads[name]:
                if not isinstance(nodes[name], SinkOptions):
                    self.outputs[source].append(name)
        processors = {name: node for name, node in nodes.items() if isinstance(node, ProcessorOptions)}
        self._joins = {name for name, node in processors.items() if node.join is not None}
        self._mixed = set[str]()  # nodes whose frames came through a processor
        for name in order:
            if any([source in processors or source in self._mixed for source in reads[name]]):
                self._mixed.add(name)
        twice = met_twice(nodes, order, reads)  # a frame that comes again, by another input, has no place in an order
        self._ordered = {
            name
            for name, node in processors.items()
            if node.order is not None
            or (
                name in self._mixed
                and is_partitioned(node)
                and (node.join is not None or not twice[name])
                and not wants_newest(node)
            )
        }
        gatherers = self._joins | self._ordered
        self._ahead: dict[str, set[str]] = {}  # gatherers below each node, itself included
        for name in reversed(order):
            own = {name} & gatherers
            self._ahead[name] = own.union(*[self._ahead[consumer] for consumer in self.outputs[name]])
        self._forks = {name: self._joins_forked(name) for name in order}
        self._forked_above: dict[str, set[str]] = {}  # forks above each node whose branches are joined below it
        for name in order:
            found: set[str] = set()
            for source in reads[name]:
                found |= self._forked_above[source] | ({source} if self._forks[source] & self._ahead[name] else set())
            self._forked_above[name] = {fork for fork in found if self._forks[fork] & self._ahead[name]}

    def is_gatherer(self, name: str) -> bool:
        """Whether a node orders or joins frames, and so holds some back."""
        return name in self._joins or name in self._ordered

    def is_ordered(self, name: str) -> bool:
        """Whether each camera's frames are to come to a node in order, and do not without more."""
        return name in self._ordered

    def is_mixed(self, name: str) -> bool:
        """Whether a node's frames came through a processor, which may have finished them in another order."""
        return name in self._mixed

    def in_words(self, name: str) -> str:
        """Return how a node gathers frames; empty: it takes them as they come."""
        words = ["joined"] if name in self._joins else []
        return " and ".join(words + (["in order"] if name in self._ordered else []))

    def gatherers(self, consumer: str) -> set[str]:
        """Return the nodes that gather frames, of those that a consumer leads to; itself, if it is one."""
        return self._ahead[consumer]

    def joins(self, consumer: str) -> set[str]:
        """Return those of them that join branches."""
        return self._ahead[consumer] & self._joins

    def keeps_settled(self, producer: str, consumer: str) -> bool:
        """Whether an edge must keep what became of its frames: branches that part there or above are joined below."""
        ahead = self._ahead[consumer]
        forks = self._forked_above[producer] | {producer}
        return any([self._forks[fork] & ahead for fork in forks])

    def forks_above(self, name: str) -> list[tuple[str, str]]:
        """Return the edges above a node on which branches part that are joined below it: producer and consumer."""
        return [
            (fork, consumer)
            for fork in self._order
            if fork in self._forked_above[name]
            for consumer in self.outputs[fork]
            if self._ahead[consumer] & self._forks[fork]
        ]

    def edges_to(self, gatherer: str) -> list[tuple[str, str]]:
        """Return all edges on the ways to a node that gathers frames: producer and consumer, from above."""
        return [
            (producer, consumer)
            for producer in self._order
            for consumer in self.outputs[producer]
            if consumer == gatherer or (gatherer in self._ahead[consumer] and self._reaches(consumer, gatherer))
        ]

    def _reaches(self, name: str, gatherer: str) -> bool:
        return name == gatherer or any([self._reaches(consumer, gatherer) for consumer in self.outputs[name]])

    def _joins_forked(self, name: str) -> set[str]:
        """Return the joins to which several edges of a node lead."""
        found: set[str] = set()
        for join in self._ahead[name] & self._joins - {name}:
            if sum([join in self._ahead[consumer] for consumer in self.outputs[name]]) > 1:
                found.add(join)
        return found


def is_partitioned(options: ProcessorOptions) -> bool:
    """Whether each camera's frames go to one replica, as far as can be said without importing the user's code."""
    is_gatherer = options.order is not None or options.join is not None
    if is_gatherer and options.replicas_max > 1:  # partners must meet, and the next frame be where the last one was
        return True
    return options.partition_by == "camera" or is_known_stateful("processors", options.use)


def met_twice(
    nodes: Mapping[str, NodeOptions], order: Sequence[str], reads: Mapping[str, list[str]]
) -> dict[str, set[str]]:
    """Return of each node the captures whose frames come to it by several inputs; `cameras` of an input is minded.

    Args:
        nodes: options by name.
        order: their names, producers before consumers.
        reads: what each node reads.
    """
    come: dict[str, set[str]] = {}
    found: dict[str, set[str]] = {}
    for name in order:
        node = nodes[name]
        wanted = {edge.from_: edge.camera_names for edge in edge_inputs(node)}
        come[name], found[name] = ({name} if isinstance(node, CaptureOptions) else set()), set()
        for source in reads[name]:
            passing = {one for one in come[source] if not wanted[source] or _camera(nodes[one], one) in wanted[source]}
            found[name] |= come[name] & passing
            come[name] |= passing
    return found


def _camera(node: NodeOptions, name: str) -> str:
    return node.camera or name if isinstance(node, CaptureOptions) else name
