"""A processor: the user's code on each frame, in place, and its events to whoever reads them."""

from __future__ import annotations

import functools
import os
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import ClassVar

import numpy as np

from detektr.descriptor import unpack_descriptor
from detektr.errors import OverwrittenError
from detektr.frame import Bytes, Frame
from detektr.memory import layout
from detektr.memory.folder import RunFolder
from detektr.memory.journal_reader import Lease
from detektr.memory.ring import RingReader, open_ring
from detektr.nodes.control import ControlLine
from detektr.nodes.dead_letter import save_event
from detektr.nodes.event_stream import EventStream, identify_event, unpack_event
from detektr.nodes.guests import Producer
from detektr.nodes.intake import Intake
from detektr.nodes.node import TICK_NS
from detektr.nodes.options import ProcessorOptions
from detektr.nodes.spec import NodeSpec
from detektr.nodes.worker import WorkerNode

ALIVE_EVERY_NS = 10_000_000  # at most so often it is said that we live, however short a frame's time is
GUEST_EVENTS = 1024  # kept for guests: a few MiB, and only once one comes


class FrameReader:
    """From a lease to the frame it is about, with the checks before and after.

    The rings that frames were read from lately stay mapped, once each; those whose owner has left are let go.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Map nothing yet."""
        self._folder = folder
        self._rings: dict[tuple[str, int, int], tuple[RingReader, dict[int, Bytes]]] = {}

    def open(self, lease: Lease) -> tuple[Frame, Callable[[], bool]]:
        """Return the frame of a lease, a view of its slot, and a function that tells whether it is still that frame.

        Raises:
            OverwrittenError: the slot holds something else.
            WireError: the announcement is not one of ours.
        """
        descriptor = unpack_descriptor(lease.payload)
        where = descriptor.node, descriptor.run, descriptor.epoch
        ring, slots = self._rings.get(where) or self._open_ring(*where)
        slot, generation = descriptor.slot, descriptor.generation
        if not ring.holds(slot, generation):
            raise OverwrittenError(f"slot {slot} was written again")
        pixels = slots.get(slot)
        if pixels is None:
            pixels = slots[slot] = np.frombuffer(ring.memory(slot), np.uint8)
        frame = Frame(descriptor, ring.facts.picture, pixels, lease.delivery, ring.facts.time_base)
        return frame, functools.partial(ring.holds, slot, generation)

    def drop_gone(self) -> None:
        """Unmap the rings that are gone, as their memory is nobody else's until then; with no frame open."""
        for key, (ring, slots) in list(self._rings.items()):
            if ring.is_unlinked:
                slots.clear()  # each holds the mapping
                ring.close()
                del self._rings[key]

    def close(self) -> None:
        """Unmap the rings."""
        for ring, slots in self._rings.values():
            slots.clear()
            ring.close()
        self._rings.clear()

    def _open_ring(self, node: str, run: int, epoch: int) -> tuple[RingReader, dict[int, Bytes]]:
        """Map the ring of one epoch of a capture; beside it the slots of it that were looked at so far, as arrays.

        Raises:
            OverwrittenError: there is none: its capture began anew.
        """
        ring = open_ring(self._folder.ring(node, epoch))
        if ring is not None and ring.facts.run != run:
            ring.close()
            ring = None
        if ring is None:
            raise OverwrittenError(f"ring {epoch} of {node} is gone")
        known = self._rings[node, run, epoch] = ring, {}
        return known


class ProcessorNode(WorkerNode):
    """One replica of a processor."""

    kind: ClassVar[str] = "processor"
    method: ClassVar[str] = "process"

    def __init__(self, spec: NodeSpec, control: ControlLine | None = None) -> None:
        """See `Node`."""
        super().__init__(spec, control)
        self._frames = FrameReader(self.folder)
        self._unsent: deque[bytes] = deque()  # of the frame worked on last, that wait for room
        self._emitting: tuple[Lease, Intake] | None = None  # whose they are: it is held until they are out
        assert isinstance(spec.options, ProcessorOptions)
        self._alive_every_ns = max(ALIVE_EVERY_NS, min(TICK_NS, spec.options.timeout_ns // 4))
        self._alive_ns = 0

    def producer(self, spec: NodeSpec) -> Producer:
        """Return what we are to those who read our events."""
        options = spec.options
        assert isinstance(options, ProcessorOptions)
        return replace(
            super().producer(spec),
            payload_bytes=options.event_bytes,
            guest_frames=GUEST_EVENTS,
            guest_policy="block",
        )

    def prepare(self) -> None:
        """Import the user's code, and go on counting events where a predecessor left off."""
        super().prepare()
        run = self.page[layout.PAGE_WORD_RUN] or int.from_bytes(os.urandom(4), "big") | 1
        self.page[layout.PAGE_WORD_RUN] = run
        edges = self.outlet.fanout.edges.values()
        # An edge that was adopted has the room of its predecessor's `event_bytes`.
        room = min((edge.journal.payload_bytes_max for edge in edges), default=self.outlet.producer.payload_bytes)
        self._events_out = EventStream(self.spec.node, self.spec.replica, run, room)
        # The furthest: the frame that a predecessor died on is worked on again, so an edge that it did not come to
        # misses nothing; below the furthest, another frame's events would be taken for ones that are known.
        self._events_out.sequence = max((edge.journal.seen(self._events_out.key) for edge in edges), default=0)

    def state(self) -> tuple[str, str]:
        """How the node is, and why; asked at each tick, which is when rings that are gone are let go too."""
        self._frames.drop_gone()
        return super().state()

    def step(self, now_ns: int) -> bool:
        """Offer the events that waited for room, then work on what is there."""
        has_emitted = bool(self._unsent) and self._emit()
        if not self.may_work() and now_ns - self._alive_ns > self._alive_every_ns:
            self._alive_ns = now_ns
            for intake in self.intakes:  # it is not for want of progress of ours that its leases last
                intake.note_alive()
        return super().step(now_ns) or has_emitted

    def tick_ns(self) -> int:
        """Return when to look next: often enough to say in time that we live."""
        return min(super().tick_ns(), self._alive_every_ns)

    def has_work(self) -> bool:
        """Whether leases wait to be worked on, or events for room that there is by now."""
        return self._has_room() if self._unsent else super().has_work()

    def may_work(self) -> bool:
        """Whether the last frame's events are out, and the first of the next one's would find room."""
        return not self._unsent and self._has_room()

    def is_done(self) -> bool:
        """Not before the last frame's events are out."""
        return not self._unsent and super().is_done()

    def describe(self, lease: Lease) -> str:
        """Return the frame's id."""
        return unpack_descriptor(lease.payload).id

    def work(self, lease: Lease, intake: Intake) -> None:
        """Let the user's code see the frame; its events are offered only if the frame was what it was to the end."""
        frame, is_intact = self._frames.open(lease)
        try:
            result = self._call(frame)
            packed = self._events_out.pack(frame, result) if result is not None else ()
        finally:
            frame.close()
        if not is_intact():
            raise OverwrittenError("the slot was written again while it was worked on")
        if not intake.still_holds(lease):
            raise OverwrittenError("the lease was over before the work was done")
        self._unsent.extend(packed)

    def hand_on(self, lease: Lease, intake: Intake) -> None:
        """Offer the frame's events, and give it back when all are out."""
        self._emitting = lease, intake
        self._emit()

    def _has_room(self) -> bool:
        fanout = self.outlet.fanout
        return not fanout.edges or fanout.has_room(0)

    def _emit(self) -> bool:
        """Offer the last frame's events as far as there is room, and give it back when all are out; False: no room."""
        assert self._emitting is not None
        (lease, intake), stream, unsent = self._emitting, self._events_out, self._unsent
        has_moved = False
        while unsent and self._has_room():
            has_moved = True
            if not intake.still_holds(lease):  # another attempt gives all of them
                unsent.clear()
                self.page[layout.PAGE_WORD_REFUSED] += 1
                intake.let_go(lease)
                return True
            sequence, stream.sequence = stream.sequence, stream.sequence + 1
            self.outlet.fanout.offer(0, stream.key, sequence, lease.captured_ns, unsent.popleft())
        if not unsent:
            super().hand_on(lease, intake)
        return has_moved

    def identify(self, payload: bytes) -> str:
        """Return the id of the frame that an event is about."""
        return identify_event(payload)

    def save_letter(self, payload: bytes, why: str) -> str:
        """Keep an event that its sink could not take."""
        return save_event(self.spec.pipeline, self.page.path.stem, unpack_event(payload), why)

    def close(self) -> None:
        """Leave, then unmap the rings."""
        super().close()
        self._frames.close()
