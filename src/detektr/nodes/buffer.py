"""A buffer holds leases, never pixels; it releases them upstream when its own edges have settled their frames."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from detektr.edge.ephemeral import Producer
from detektr.nodes.control import ControlLine
from detektr.nodes.node import Node
from detektr.nodes.spec import NodeSpec
from detektr.options import BufferOptions


class BufferNode(Node[BufferOptions]):
    """Moves frames from its inputs to its edges. The number of a subscriber is the input index of its frames."""

    kind: ClassVar[str] = "buffer"

    def __init__(self, spec: NodeSpec[BufferOptions], control: ControlLine | None = None) -> None:
        """See `Node`."""
        super().__init__(spec, control)
        self._input_of: dict[tuple[int, int], int] = {}
        self._first_input = self._moved = 0

    def producer(self) -> Producer:
        """Return how ephemeral consumers may read us; their edges get the policy of ours."""
        options = self.spec.options
        return replace(
            super().producer(),
            ephemeral_frames=self.spec.guests,
            ephemeral_mark=self.spec.mark,
            ephemeral_policy=options.when_full,
            max_age_ns=options.max_age_ns,
            inputs=max(1, len(self.spec.upstreams)),
        )

    def prepare(self) -> None:
        """Make or adopt the edges; frames in their journals are still leased from upstream."""
        super().prepare()
        self.publisher.fanout.catch_up()
        for edge in self.publisher.fanout.edges.values():
            for cell in edge.holds():
                input_index = min(cell.input_index, len(self.subscribers) - 1)
                self._input_of[cell.key, cell.sequence] = input_index
                self.subscribers[input_index].held[cell.key, cell.sequence] = None

    def step(self, now_ns: int) -> bool:
        """Offer the frames that have arrived, inputs in turn, as long as the edges have room."""
        if self.is_stopping and not self.is_final:
            return False  # frames that are not taken yet go back upstream when we leave
        fanout, inputs = self.publisher.fanout, len(self.subscribers)
        moved = 0
        for turn in range(inputs):
            input_index = (self._first_input + turn) % inputs
            subscriber = self.subscribers[input_index]
            leases = subscriber.leases
            while leases and fanout.has_room(input_index):
                lease = leases.popleft()
                name = lease.key, lease.sequence
                if name not in self._input_of:  # else: leased once more, and still held from before
                    if subscriber.give_back_too_old(lease, now_ns):
                        continue
                    self._input_of[name] = input_index
                    fanout.fan_out(input_index, lease, now_ns)
                moved += 1
        self._first_input = (self._first_input + 1) % inputs
        self._moved = moved
        return moved > 0

    def has_work(self) -> bool:
        """Whether frames have arrived that the edges now have room for."""
        if self.is_stopping and not self.is_final:
            return False
        fanout = self.publisher.fanout
        return any(
            [
                subscriber.leases and fanout.has_room(input_index)
                for input_index, subscriber in enumerate(self.subscribers)
            ]
        )

    def settle(self, names: list[tuple[int, int]]) -> None:
        """Count the frames offered, and release settled ones upstream."""
        if self._moved:
            self.status_block.add_frames(self._moved)
            self._moved = 0
        for name in names:
            input_index = self._input_of.pop(name, None)
            if input_index is not None:
                self.subscribers[input_index].finish(name)

    def seen_streams(self) -> list[tuple[int, int]]:
        """Return per stream the first sequence that some edge was not offered."""
        return list(self.publisher.fanout.seen_all().items())

    def is_done(self) -> bool:
        """Done when every input has ended (or only we stop) and the edges are empty."""
        is_restarting = self.is_stopping and not self.is_final
        return (is_restarting or all(subscriber.is_ended for subscriber in self.subscribers)) and self.try_end()
