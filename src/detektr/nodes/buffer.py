"""A buffer holds leases, never pixels; it releases them upstream when its own edges have settled their frames."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import ClassVar

from detektr.descriptor import DESCRIPTOR_BYTES_MAX
from detektr.edge.ephemeral import Producer
from detektr.edge.fanout import Fanout
from detektr.edge.gathering.known_above import KnownAbove
from detektr.errors import WireError
from detektr.events import OperatorActed
from detektr.nodes.control import ControlLine
from detektr.nodes.node import Node
from detektr.nodes.relay import Relay
from detektr.nodes.spec import NodeSpec
from detektr.options import BufferOptions
from detektr.wire.message import Clear, Cleared

_log = logging.getLogger(__name__)


class BufferNode(Node[BufferOptions]):
    """Moves frames from its inputs to its edges. The number of a subscriber is the input index of its frames."""

    kind: ClassVar[str] = "buffer"

    def __init__(self, spec: NodeSpec[BufferOptions], control: ControlLine | None = None) -> None:
        """See `Node`."""
        super().__init__(spec, control)
        self._input_of: dict[tuple[int, int], int] = {}
        self._relay: Relay | None = None  # below a processor: frames come in any order, and are known by name
        self._tombstones = max((edge.tombstones for edge in spec.edges.values()), default=0)
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
            payload_bytes=max((edge.payload_bytes for edge in self.spec.edges.values()), default=DESCRIPTOR_BYTES_MAX),
            tombstones=max((edge.tombstones for edge in self.spec.edges.values()), default=0),
        )

    def prepare(self) -> None:
        """Make or adopt the edges; frames in their journals are still leased from upstream."""
        super().prepare()
        if self.spec.forks:
            above = KnownAbove(self.folder, self.spec.forks)
            self._frames.above = above.names
        if self._tombstones:
            self._relay = Relay(self.publisher.relayed, self.subscribers, has_work=False)
            return
        self.publisher.fanout.catch_up()
        for edge in self.publisher.fanout.edges.values():
            for cell in edge.holds():
                input_index = min(cell.input_index, len(self.subscribers) - 1)
                self._input_of[cell.key, cell.sequence] = input_index
                self.subscribers[input_index].held[cell.key, cell.sequence] = None

    def step(self, now_ns: int) -> bool:
        """Offer the frames that have arrived, inputs in turn, as long as the edges have room."""
        if self.is_paused or (self.is_stopping and not self.is_final):
            return False  # frames that are not taken yet wait, or go back upstream when we leave
        if self._relay is not None:
            self._relay.sweep(is_due=False)
        else:
            self.publisher.fanout.sweep(is_due=False)
        fanout, inputs = self._frames, len(self.subscribers)
        moved = 0
        for turn in range(inputs):
            input_index = (self._first_input + turn) % inputs
            subscriber = self.subscribers[input_index]
            leases = subscriber.leases
            while leases and fanout.has_room(input_index):
                lease = leases.popleft()
                name = lease.key, lease.sequence
                if self._relay is not None:
                    if self._relay.knows(name):
                        self._relay.keep(input_index, name)
                    elif not subscriber.give_back_too_old(lease, now_ns):
                        self._relay.pass_on(input_index, lease, now_ns)
                elif name not in self._input_of:  # else: leased once more, and still held from before
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
        if self.is_paused or (self.is_stopping and not self.is_final):
            return False
        fanout = self._frames
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
        if self._relay is not None:
            self._relay.settle()
        for name in names:
            input_index = self._input_of.pop(name, None)
            if input_index is not None:
                self.subscribers[input_index].finish(name)

    def clear(self, message: Clear) -> None:
        """See `Node.clear`."""
        asker, _, number = message.replica.rpartition(".")
        if not asker or not number.isdigit():
            raise WireError(f"Clear.replica {message.replica!r} is not a node and a number, as in motion.0")
        known = self.publisher.edges
        for consumer in message.consumers:
            if consumer not in known:
                raise WireError(f"{self.spec.node} has no edge to {consumer}")
        counts = [(consumer, known[consumer].clear_queue()) for consumer in message.consumers or tuple(known)]
        answer = Cleared(message.request, tuple(counts))
        inbox, bell = self.folder.inbox(asker, int(number)), self.folder.doorbell(asker, int(number))
        outbox = self.link.open_outbox(inbox, bell)
        outbox.try_send(answer)
        outbox.ring()
        outbox.close(linger_ms=500)
        dropped = {consumer: count for consumer, count in answer.counts if count}
        _log.warning("an operator has cleared the queues; dropped frames (reason: cleared): %s", dropped or "none")
        edges = tuple([f"{self.spec.node}->{consumer}" for consumer, _ in answer.counts])
        self.report(OperatorActed(self.spec.node, "clear", edges))

    def seen_streams(self) -> list[tuple[int, int]]:
        """Return per stream the first sequence that some edge was not offered."""
        return [] if self._relay is not None else list(self.publisher.fanout.seen_all().items())

    def done_frames(self, entry: int) -> list[tuple[int, int]]:
        """Return the frames of an input that our edges know by name and are done with."""
        return [] if self._relay is None else self._relay.done(entry)

    def state(self) -> tuple[str, str]:
        """Return the node's state, and why. Asked at each tick, so names are forgotten here too."""
        if self._relay is not None:
            self._relay.sweep(is_due=True)
        else:
            self.publisher.fanout.sweep(is_due=True)
        return super().state()

    @property
    def _frames(self) -> Fanout:
        return self.publisher.relayed if self._tombstones else self.publisher.fanout

    def is_done(self) -> bool:
        """Done when every input has ended (or only we stop) and the edges are empty."""
        is_restarting = self.is_stopping and not self.is_final
        return (is_restarting or all(subscriber.is_ended for subscriber in self.subscribers)) and self.try_end()
