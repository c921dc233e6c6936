"""A processor runs the user's code on each frame, in place, and offers its events to sinks.

A processor that others read frames from is a relay: it passes the frame on, with what the code returned, once the
frame's events are out, and holds its lease until the readers are done.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from detektr.descriptor import stream_key, unpack_descriptor
from detektr.edge.edge_options import FrameOutcome
from detektr.edge.ephemeral import Producer
from detektr.edge.gathering.gate import Gate
from detektr.edge.gathering.known_above import KnownAbove
from detektr.edge.gathering.outlook import Outlook
from detektr.edge.gathering_subscriber import GatheringSubscriber
from detektr.edge.partition.map_reader import MapReader
from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import OverwrittenError, WireError
from detektr.frame import Frame
from detektr.memory.announcement import Announcement, Lease
from detektr.nodes.control import ControlLine
from detektr.nodes.relay import Relay
from detektr.nodes.spec import NodeSpec
from detektr.nodes.working.event_stream import EventStream, identify_event, is_event
from detektr.nodes.working.frame_reader import FrameReader
from detektr.nodes.working.worker import WorkerNode
from detektr.options import ProcessorOptions, inputs_of, wants_newest
from detektr.process.fault_text import fault_text
from detektr.registry.stateful import is_stateful
from detektr.results import pass_on
from detektr.wire.message import Resend

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
        self._relay: Relay | None = None
        self._gate: Gate | None = None
        self._passing: bytes | None = None  # the last frame's announcement, which waits for its events or for room
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
        options = self.spec.options
        is_gathering = bool(self.spec.ways) and options.replicas_max > 1
        keeps_state = is_stateful(self._user, options.use)
        self.is_stateful = is_gathering or options.partition_by == "camera" or keeps_state
        for subscriber in self.subscribers:
            subscriber.is_stateful = self.is_stateful
        if keeps_state and self.spec.is_mixed and not self.spec.is_ordered:
            _log.warning(
                "%s keeps state of each camera, and processors before it may finish a camera's frames in another order;"
                " write %s at node %s, and they come in the order of their capture",
                options.use,
                "`order: camera` in place of `fresh`" if wants_newest(options) else "`order: camera`",
                self.spec.node,
            )
        run = self.status_block.take_run()
        edges = self.publisher.fanout.edges.values()
        # An edge that was adopted has the room of its predecessor's `event_bytes`.
        room = min((edge.journal.payload_bytes_max for edge in edges), default=self.publisher.producer.payload_bytes)
        self._events_out = EventStream(self.spec.node, self.spec.replica, run, room, self.method)
        # The furthest: the frame on which a predecessor died is worked on again, so an edge that it had not reached
        # misses nothing. Below the furthest, another frame's events would be taken for known ones.
        self._events_out.sequence = max((edge.journal.seen(self._events_out.key) for edge in edges), default=0)
        if self.spec.forks:
            self._above = KnownAbove(self.folder, self.spec.forks)
            self.publisher.relayed.above = self._above.names
        if self.publisher.relayed.edges:
            self._relay = Relay(self.publisher.relayed, self.subscribers, has_work=True)
        if self.spec.ways:
            self._gate = self._open_gate()
            for subscriber in self.subscribers:
                if isinstance(subscriber, GatheringSubscriber):
                    subscriber.open_gate(self._gate)

    def _open_gate(self) -> Gate:
        """Return what orders or joins the frames of our inputs."""
        spec, options = self.spec, self.spec.options
        camera_map = MapReader(self.folder, spec.node, (), options.replicas) if options.replicas_max > 1 else None
        return Gate(
            Outlook(self.folder, spec.node, spec.ways),
            self.status_block,
            spec.replica,
            camera_map,
            inputs_of(options) if options.join else (),
            is_ordered=spec.is_ordered,
            is_passed_on=None if self._relay is None else self._relay.knows,
        )

    def state(self) -> tuple[str, str]:
        """Return the node's state, and why. Asked at each tick, so what is over is let go of here too."""
        self._frames.drop_gone()
        self._frames.look()
        if self._gate is not None:
            self._gate.look_at_map()
        if self._relay is not None:
            self._relay.sweep(is_due=True)
        return super().state()

    def step(self, now_ns: int) -> bool:
        """Offer events that wait for room, then work on leases."""
        if self._relay is not None:
            self._relay.sweep(is_due=False)
        has_emitted = self._is_emitting and self._emit()
        is_holding = self._look_at_gate()
        if is_holding or not self.may_work():
            self.note_alive(now_ns)
        return super().step(now_ns) or has_emitted

    def _look_at_gate(self) -> bool:
        """Let through what may begin, where frames are ordered or joined; whether some are held back."""
        gate = self._gate
        if gate is None:
            return False
        gate.look()
        return gate.is_holding

    def tick_ns(self) -> int:
        """Return when to look next: often enough to send a sign of life in time."""
        return min(super().tick_ns(), self.alive_every_ns)

    def has_work(self) -> bool:
        """Whether leases wait to be worked on, or there is room by now for events that wait."""
        if self._must_look_at_gate:
            return True
        return self._may_emit() if self._is_emitting else super().has_work()

    @property
    def _must_look_at_gate(self) -> bool:
        """Whether frames were put aside since our last look at the gate, and nobody knows that we wait for others."""
        return self._gate is not None and self._gate.must_look

    def may_work(self) -> bool:
        """Whether nobody has paused us, the last frame is out, and the next one would find room."""
        return not self.is_paused and not self._is_emitting and self._has_room() and self._may_pass_on()

    def is_blocked(self) -> bool:
        """Whether there is no room for results, or a producer before us waits for what we have passed on."""
        if self._relay is None:
            return super().is_blocked()
        return super().is_blocked() or any([subscriber.is_awaited for subscriber in self.subscribers])

    def is_done(self) -> bool:
        """See `Node`; but not before the last frame's events are out."""
        return not self._is_emitting and super().is_done()

    def may_leave_inputs(self) -> bool:
        """See `WorkerNode`; what we have passed on stays leased to us until its readers are done."""
        return self._relay is None and self._gate is None and not self._is_emitting

    def settle(self, names: list[tuple[int, int]]) -> None:
        """Release the frames that all their readers are done with; `names` are events, which nobody waits for."""
        if self._relay is not None:
            self._relay.settle()

    def done_frames(self, entry: int) -> list[tuple[int, int]]:
        """Return the frames of an input that all their readers are done with, and that may come again."""
        return [] if self._relay is None else self._relay.done(entry)

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
            packed = self.events_of(frame, result)
            passing = None if self._relay is None else self._announcement(lease, frame, result)
        finally:
            frame.close()
        if not is_intact():
            raise OverwrittenError(
                f"the slot of {self.describe(lease)} was written again while {self.method}() read it"
            )
        if not subscriber.is_wanted(lease):
            raise OverwrittenError(f"the lease of {self.describe(lease)} was over before {self.method}() returned")
        self._unsent.extend(packed)
        self._passing = passing

    def hand_on(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Offer the frame's events, and release the frame when all are out."""
        self._emitting = lease, subscriber
        self._emit()

    def _has_room(self) -> bool:
        fanout = self.publisher.fanout
        return not fanout.edges or fanout.has_room(0)

    @property
    def _is_emitting(self) -> bool:
        """Whether something of the last frame waits for room."""
        return bool(self._unsent) or self._passing is not None

    def _may_emit(self) -> bool:
        """Whether there is room for what waits."""
        if self._unsent or self._relay is None or self._emitting is None:
            return self._has_room()
        return self._relay.has_room(self._emitting[1].entry)

    def _may_pass_on(self) -> bool:
        """Whether a frame of any input could be passed on now; where nobody reads our frames, always."""
        relay = self._relay
        if relay is not None:
            for subscriber in self.subscribers:  # a reader's queues may be one for each input's cameras
                if not relay.has_room(subscriber.entry):
                    return False
        return True

    def events_of(self, frame: Frame, result: object) -> Sequence[bytes]:
        """Return a result's events, packed; none where they go on with the frame, and no sink reads them as well.

        Raises:
            ResultError: the result is none.
        """
        is_read = self._relay is None or bool(self.publisher.fanout.edges)
        return self._events_out.pack(frame, result) if result is not None and is_read else ()

    def _announcement(self, lease: Lease, frame: Frame, result: object) -> bytes:
        """Return the announcement of a frame, with what the code has returned for it."""
        returned = self._events_out.pack_results(result)
        return pass_on(lease.payload, frame.packed_results, self.spec.node, returned, frame.delivery)

    def _keeps(self, subscriber: EdgeSubscriber, lease: Lease) -> bool:
        """Whether a frame was passed on already, its lease having ended just then; this one then stands for that."""
        if self._relay is None or not self._relay.knows(lease.name):
            return False
        self._relay.keep(subscriber.entry, lease.name)
        return True

    def _work_on(self, subscriber: EdgeSubscriber, lease: Lease, now_ns: int) -> int:
        return time.monotonic_ns() if self._keeps(subscriber, lease) else super()._work_on(subscriber, lease, now_ns)

    def _emit(self) -> bool:
        """Offer the last frame's events while there is room, then the frame itself; release it when all are out.

        Returns:
            Whether there was room for something.
        """
        assert self._emitting is not None
        (lease, subscriber), stream, unsent = self._emitting, self._events_out, self._unsent
        has_moved = False
        while unsent and self._has_room():
            has_moved = True
            if not subscriber.is_wanted(lease):  # another attempt emits all of them
                self._refuse_result(lease, subscriber)
                return True
            sequence, stream.sequence = stream.sequence, stream.sequence + 1
            self.publisher.fanout.fan_out(0, Announcement(stream.key, sequence, lease.captured_ns, unsent.popleft()))
        if unsent:
            return has_moved
        if self._relay is None:
            super().hand_on(lease, subscriber)
            return has_moved
        assert self._passing is not None
        if not self._relay.has_room(subscriber.entry):
            return has_moved
        if not subscriber.is_wanted(lease):
            self._refuse_result(lease, subscriber)
            return True
        announcement = Announcement(lease.key, lease.sequence, lease.captured_ns, self._passing)
        self._passing = None
        now_ns = time.monotonic_ns()
        self._relay.pass_on(subscriber.entry, announcement, now_ns)
        self.status_block.count_frame(now_ns - lease.captured_ns, time.time_ns())
        return True

    def _refuse_result(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Throw away what was not out yet of a frame whose lease is over: another attempt emits all of it."""
        self._unsent.clear()
        self._passing = None
        self.status_block.count_refused()
        subscriber.refuse(lease)

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
        """Count the attempt also at a frame that was not all out."""
        if self._working is not None:
            super().died(why)
        elif self._is_emitting and self._emitting is not None:
            lease, subscriber = self._emitting
            subscriber.fail((lease.key, lease.sequence), why)

    def _leave(self) -> None:
        """Leave, then unmap the rings."""
        super()._leave()
        self._frames.close()
        if self._gate is not None:
            self._gate.close()
