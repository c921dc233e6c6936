"""A processor runs the user's code on each frame, in place, and offers its events to sinks."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace
from typing import ClassVar

from detektr.descriptor import stream_key, unpack_descriptor
from detektr.edge.edge_options import FrameOutcome
from detektr.edge.ephemeral import Producer
from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import OverwrittenError, WireError
from detektr.memory.announcement import Announcement, Lease
from detektr.nodes.control import ControlLine
from detektr.nodes.node import TICK_NS
from detektr.nodes.spec import NodeSpec
from detektr.nodes.working.event_stream import EventStream, identify_event, is_event
from detektr.nodes.working.frame_reader import FrameReader
from detektr.nodes.working.worker import WorkerNode
from detektr.options import ProcessorOptions
from detektr.process.fault_text import fault_text
from detektr.registry.user_code import is_stateful
from detektr.wire.message import Resend

ALIVE_EVERY_NS = 10_000_000  # signs of life are sent at most this often, however short the time-out of a frame
RESENT_MAX = 4096  # remembered, should one be asked for again because its mark was late
EPHEMERAL_EVENTS = 1024  # for ephemeral consumers: a few MiB, taken when one attaches
_log = logging.getLogger(__name__)


class ProcessorNode(WorkerNode[ProcessorOptions]):
    """One replica of a processor."""

    kind: ClassVar[str] = "processor"
    method: ClassVar[str] = "process"

    def __init__(self, spec: NodeSpec[ProcessorOptions], control: ControlLine | None = None) -> None:
        """See `Node`."""
        super().__init__(spec, control)
        self._frames = FrameReader(self.folder, spec.node)
        self._unsent: deque[bytes] = deque()  # events of the last frame that wait for room
        self._emitting: tuple[Lease, EdgeSubscriber] | None = None  # the last frame, held until its events are out
        self._alive_every_ns = max(ALIVE_EVERY_NS, min(TICK_NS, spec.options.timeout_ns // 4))
        self._alive_ns = 0
        self._resent: deque[str] = deque(maxlen=RESENT_MAX)  # dead letters that were offered in this life

    def producer(self) -> Producer:
        """Return how ephemeral consumers may read our events."""
        options = self.spec.options
        return replace(
            super().producer(),
            payload_bytes=options.event_bytes,
            ephemeral_frames=EPHEMERAL_EVENTS,
            ephemeral_mark=options.high_water_mark,
            ephemeral_policy="block",
        )

    def prepare(self) -> None:
        """Import the user's code, and number events on from where a predecessor stopped."""
        super().prepare()
        self.is_stateful = self.spec.options.partition_by == "camera" or is_stateful(self._user, self.spec.options.use)
        for subscriber in self.subscribers:
            subscriber.is_stateful = self.is_stateful
        run = self.status_block.take_run()
        edges = self.publisher.fanout.edges.values()
        # An edge that was adopted has the room of its predecessor's `event_bytes`.
        room = min((edge.journal.payload_bytes_max for edge in edges), default=self.publisher.producer.payload_bytes)
        self._events_out = EventStream(self.spec.node, self.spec.replica, run, room, self.method)
        # The furthest: the frame on which a predecessor died is worked on again, so an edge that it had not reached
        # misses nothing. Below the furthest, another frame's events would be taken for known ones.
        self._events_out.sequence = max((edge.journal.seen(self._events_out.key) for edge in edges), default=0)

    def state(self) -> tuple[str, str]:
        """Return the node's state, and why. Asked at each tick, so rings that are gone are unmapped here too."""
        self._frames.drop_gone()
        self._frames.look()
        return super().state()

    def step(self, now_ns: int) -> bool:
        """Offer events that wait for room, then work on leases."""
        has_emitted = bool(self._unsent) and self._emit()
        if not self.may_work():
            self._note_alive(now_ns)
        return super().step(now_ns) or has_emitted

    def tick_ns(self) -> int:
        """Return when to look next: often enough to send a sign of life in time."""
        return min(super().tick_ns(), self._alive_every_ns)

    def has_work(self) -> bool:
        """Whether leases wait to be worked on, or there is room by now for events that wait."""
        return self._has_room() if self._unsent else super().has_work()

    def may_work(self) -> bool:
        """Whether the last frame's events are out, and the first of the next one's would find room."""
        return not self._unsent and self._has_room()

    def is_done(self) -> bool:
        """See `Node`; but not before the last frame's events are out."""
        return not self._unsent and super().is_done()

    def describe(self, lease: Lease) -> str:
        """Return the frame's id."""
        return unpack_descriptor(lease.payload).id

    def work(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Run the user's code on the frame; offer its events only if the slot still holds the frame afterwards."""
        frame, is_intact = self._frames.open(lease)
        try:
            result = self._call(frame)
            if frame.is_first_here:
                self._frames.note_begun(lease, frame)
            packed = self._events_out.pack(frame, result) if result is not None else ()
        finally:
            frame.close()
        if not is_intact():
            raise OverwrittenError(
                f"the slot of {self.describe(lease)} was written again while {self.method}() read it"
            )
        if not subscriber.still_holds(lease):
            raise OverwrittenError(f"the lease of {self.describe(lease)} was over before {self.method}() returned")
        self._unsent.extend(packed)

    def hand_on(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Offer the frame's events, and release the frame when all are out."""
        self._emitting = lease, subscriber
        self._emit()

    def _note_alive(self, now_ns: int) -> None:
        """Send a sign of life, not too often: a lack of room, not of progress, keeps our leases."""
        if now_ns - self._alive_ns > self._alive_every_ns:
            self._alive_ns = now_ns
            for subscriber in self.subscribers:
                subscriber.note_alive()

    def _has_room(self) -> bool:
        fanout = self.publisher.fanout
        return not fanout.edges or fanout.has_room(0)

    def _emit(self) -> bool:
        """Offer the last frame's events while there is room; release the frame when all are out; False: no room."""
        assert self._emitting is not None
        (lease, subscriber), stream, unsent = self._emitting, self._events_out, self._unsent
        has_moved = False
        while unsent and self._has_room():
            has_moved = True
            if not subscriber.still_holds(lease):  # another attempt emits all of them
                unsent.clear()
                self.status_block.count_refused()
                subscriber.let_go(lease)
                return True
            sequence, stream.sequence = stream.sequence, stream.sequence + 1
            self.publisher.fanout.fan_out(0, Announcement(stream.key, sequence, lease.captured_ns, unsent.popleft()))
        if not unsent:
            super().hand_on(lease, subscriber)
        return has_moved

    def identify(self, payload: bytes) -> str:
        """Return the id of the frame that an event is about."""
        return identify_event(payload)

    def save_dead_letter(self, consumer: str, outcome: FrameOutcome) -> str:
        """Save an event that its sink could not take."""
        return self.dead_letters.save_event(consumer, outcome, identify_event(outcome.payload))

    def resend(self, message: Resend, now_ns: int) -> None:
        """Offer the event of a dead letter to its sink alone, behind what waits there, and mark the letter as resent.

        Without room nothing happens: whoever resends waits for the mark, and asks again.

        Raises:
            WireError: there is no such sink, or it is given up, or that is no event, or too long for its edge.
        """
        edge = self.publisher.fanout.edges.get(message.consumer)
        if edge is None or edge.options.is_ephemeral or edge.is_given_up:
            raise WireError(f"{self.spec.node} has no sink {message.consumer} that could take a Resend")
        if not is_event(message.event):
            raise WireError(f"Resend.event of {len(message.event)} bytes is not a packed event")
        if message.letter not in self._resent:
            if edge.backlog.is_full(0) or not edge.has_room(0):
                return
            stream = f"{self.status_block.path.stem}~resent"
            key = stream_key(stream, self.status_block.take_run())
            event = Announcement(key, edge.journal.seen(key), now_ns, message.event)
            self.publisher.fanout.offer_to(edge, event, now_ns)
            self._resent.append(message.letter)
        try:
            self.dead_letters.spool.mark_resent(message.letter)
        except OSError as fault:
            _log.error("dead letter %s was resent, and cannot be marked so: %s", message.letter, fault_text(fault))

    def died(self, why: str) -> None:
        """Count the attempt also at a frame whose events were not all out."""
        if self._working is not None:
            super().died(why)
        elif self._unsent and self._emitting is not None:
            lease, subscriber = self._emitting
            subscriber.fail((lease.key, lease.sequence), why)

    def _leave(self) -> None:
        """Leave, then unmap the rings."""
        super()._leave()
        self._frames.close()
