"""A processor runs the user's code on each frame, in place, and offers its events to sinks."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import ClassVar

from detektr.descriptor import unpack_descriptor
from detektr.edge.ephemeral import Producer
from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import OverwrittenError
from detektr.memory.announcement import Announcement, Lease
from detektr.nodes.control import ControlLine
from detektr.nodes.dead_letter import save_event
from detektr.nodes.node import TICK_NS
from detektr.nodes.spec import NodeSpec
from detektr.nodes.working.event_stream import EventStream, identify_event, unpack_event
from detektr.nodes.working.frame_reader import FrameReader
from detektr.nodes.working.worker import WorkerNode
from detektr.options import ProcessorOptions

ALIVE_EVERY_NS = 10_000_000  # signs of life are sent at most this often, however short the time-out of a frame
EPHEMERAL_EVENTS = 1024  # for ephemeral consumers: a few MiB, taken when one attaches


class ProcessorNode(WorkerNode[ProcessorOptions]):
    """One replica of a processor."""

    kind: ClassVar[str] = "processor"
    method: ClassVar[str] = "process"

    def __init__(self, spec: NodeSpec[ProcessorOptions], control: ControlLine | None = None) -> None:
        """See `Node`."""
        super().__init__(spec, control)
        self._frames = FrameReader(self.folder)
        self._unsent: deque[bytes] = deque()  # events of the last frame that wait for room
        self._emitting: tuple[Lease, EdgeSubscriber] | None = None  # the last frame, held until its events are out
        self._alive_every_ns = max(ALIVE_EVERY_NS, min(TICK_NS, spec.options.timeout_ns // 4))
        self._alive_ns = 0

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

    def save_dead_letter(self, payload: bytes, why: str) -> str:
        """Save an event that its sink could not take."""
        return save_event(self.spec.pipeline, self.status_block.path.stem, unpack_event(payload), why)

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
