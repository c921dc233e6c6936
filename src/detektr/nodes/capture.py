"""A capture: a decoder fills slots of a ring, the loop announces them and takes them back."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from detektr.descriptor import stream_key, unpack_descriptor
from detektr.edge.edge_options import ReclaimMode
from detektr.edge.ephemeral import Producer
from detektr.errors import RefusedError
from detektr.memory import layout
from detektr.memory.ring import RingFacts, RingWriter
from detektr.nodes.control import ControlLine
from detektr.nodes.decoder import LONGEST_NS, Decoder, Published
from detektr.nodes.node import Node
from detektr.nodes.spec import NodeSpec
from detektr.options import CaptureOptions, WhenFull
from detektr.source_uri import is_live

LAST_PICTURE_S = 1.0  # for the copy of one picture, at the very end of a drain
_log = logging.getLogger(__name__)


class CaptureNode(Node):
    """The writer of a camera's rings, one epoch after the other."""

    kind: ClassVar[str] = "capture"

    def __init__(self, spec: NodeSpec, control: ControlLine | None = None) -> None:
        """See `Node`; a run's number and its sequences go on where a dead predecessor left them."""
        super().__init__(spec, control)
        assert isinstance(spec.options, CaptureOptions)
        run = self.status_block[layout.STATUS_WORD_RUN] or int.from_bytes(os.urandom(4), "big") | 1
        self.status_block[layout.STATUS_WORD_RUN] = run
        self._key = stream_key(spec.node, run)
        self._rings: dict[int, RingWriter] = {}
        self._slots: dict[int, tuple[int, int]] = {}  # sequence: epoch and slot
        self._left: dict[int, int] = {}  # frames still needed, by epoch
        self._moved = 0  # offered in this step
        self._is_policy_open = spec.options.when_full is None and is_live(spec.options.source)
        self._waiting: Published | None = None  # taken from the decoder; the edges have no room for it
        rings = self._make_ring, self._has_old_rings
        self._decoder = Decoder(
            spec.node, spec.options, Path(spec.folder), self.status_block, run, *rings, self.serve, self.link.wake
        )

    def producer(self, spec: NodeSpec) -> Producer:
        """Return what we are to those who read from us; a camera does not wait for guests, a file does."""
        options = spec.options
        assert isinstance(options, CaptureOptions)
        policy: WhenFull = "drop-oldest" if is_live(options.source) else "block"
        return replace(super().producer(spec), ephemeral_policy=options.when_full or policy)

    def prepare(self) -> None:
        """Adopt what a predecessor left, open the source and, unless it is live or gone on with, reserve its ring.

        Raises:
            DetektrError: the source cannot be read, or there is no room for its ring.
        """
        super().prepare()
        self._adopt()
        self._decoder.start()
        if not self._decoder.is_live and not self._decoder.begin_at:  # a predecessor could read it, and left us rings
            self._decoder.has_first.wait()
            if self._decoder.failure is not None:
                raise self._decoder.failure
            if self._decoder.is_finished and not self._decoder.go.is_set() and not self._rings:
                raise RefusedError(f"source {self.spec.options.source!r} has no picture")  # type: ignore[union-attr]

    def run(self) -> None:
        """Let the frames flow."""
        self._decoder.go.set()
        super().run()
        if self._decoder.failure is not None:
            raise self._decoder.failure

    def step(self, now_ns: int) -> bool:
        """Offer what is published, as far as the edges have room."""
        fanout, decoder = self.publisher.fanout, self._decoder
        decoder.has_readers = bool(fanout.edges)
        if self._is_policy_open and not decoder.is_live:  # what was opened turned out to be a file, which waits
            self._is_policy_open = False
            self.publisher.settle_policy("block")
        moved, waiting = 0, self._waiting
        while True:
            frame = waiting or decoder.take()
            waiting = None
            if frame is None:
                break
            if frame.payload and not fanout.has_room(0):
                if fanout.edges or not decoder.is_live:
                    waiting = frame
                    break
                self._rings[frame.epoch].release(frame.slot)  # live, and the last reader has just left
            elif frame.payload:
                self._slots[frame.sequence] = frame.epoch, frame.slot
                self._left[frame.epoch] = self._left.get(frame.epoch, 0) + 1
                fanout.offer(0, self._key, frame.sequence, frame.captured_ns, frame.payload, now_ns)
                moved += 1
            else:
                fanout.count_dropped(self._key, frame.sequence, frame.frames, "ring_full")
        self._waiting, self._moved = waiting, moved
        return moved > 0

    def has_work(self) -> bool:
        """Whether the decoder published while the loop went to sleep."""
        return (self._waiting is not None or self._decoder.has_published) and self.publisher.fanout.has_room(0)

    def reclaim_mode(self) -> ReclaimMode:
        """All, where the decoder waits for a slot; its own, where its source does not let it wait."""
        if self._decoder.is_waiting:
            return ReclaimMode.BLOCKED
        return ReclaimMode.EAGER if self._decoder.is_ahead else ReclaimMode.LAZY

    def tick_ns(self) -> int:
        """Return when to look next at what nobody rings for: the decoder too, where it holds back what it has."""
        tick_ns, decoder = super().tick_ns(), self._decoder
        return min(tick_ns, LONGEST_NS) if decoder.is_batch and not decoder.is_finished else tick_ns

    def is_ending(self) -> bool:
        """Whether the source has ended, or is not read any more."""
        return self.is_stopping or self._decoder.is_finished

    def settle(self, names: list[tuple[int, int]]) -> None:
        """Count what was offered and give slots back to the writer; a ring of a past epoch goes with its last frame."""
        if self._moved:
            words = self.status_block.words
            words[layout.STATUS_WORD_FRAMES] += self._moved
            words[layout.STATUS_WORD_LAST_FRAME_UTC_NS] = time.time_ns()
        if len(self._rings) > 1 or self.status_block.words[layout.STATUS_WORD_EPOCH] not in self._rings:
            self._drop_old_rings()
        for _, sequence in names:
            place = self._slots.pop(sequence, None)
            if place is None:
                continue
            epoch, slot = place
            self._left[epoch] -= 1
            ring = self._rings.get(epoch)
            if ring is not None:
                ring.release(slot)
            elif self._left[epoch] == 0:  # a predecessor's
                self.folder.ring(self.spec.node, epoch).unlink(missing_ok=True)
        if names or self._moved:
            self._moved = 0
            self._decoder.note_room()

    def state(self) -> tuple[str, str]:
        """How the source is, and whether anybody reads."""
        trouble = self._decoder.trouble
        if trouble is not None:
            return trouble
        if not self.publisher.fanout.edges:
            return "waiting", f"no consumer yet: detektr processor module:Class --input {self.spec.node}"
        return "running", ""

    def stop(self, *, is_final: bool, within_ns: int | None = None) -> None:
        """Read no more; what was published is still delivered."""
        self._decoder.stop()
        super().stop(is_final=is_final, within_ns=within_ns)

    def is_done(self) -> bool:
        """Done when the source has ended, or was stopped, and every frame was taken."""
        if not self._decoder.is_finished and not self.is_stopping:
            return False
        if self.is_stopping and not self._decoder.has_written():
            return False  # it will wake us
        fanout, failure = self.publisher.fanout, self._decoder.failure
        is_unread = not fanout.edges and not self.is_stopping and failure is None
        if is_unread or (fanout.edges and (self._waiting is not None or self._decoder.has_published)):
            return False
        if failure is not None and not self.is_final:
            return fanout.is_empty  # a successor goes on from here, so consumers are not told of an end
        return self.try_end()

    def drop_rest(self, reason: str) -> int:
        """Drop what is queued, what is in flight, and what was captured and never offered."""
        if not self._decoder.has_written(LAST_PICTURE_S):
            _log.warning("the source's memory does not answer: the picture that is read from it is left out")
        dropped, frame = 0, self._waiting or self._decoder.take()
        self._waiting = None
        while frame is not None:
            self.publisher.fanout.count_dropped(self._key, frame.sequence, frame.frames, reason)
            dropped += frame.frames
            frame = self._decoder.take()
        return dropped + super().drop_rest(reason)

    def close(self) -> None:
        """Stop the decoder, leave, and take the rings away unless a supervisor will."""
        self._decoder.stop()
        if self._decoder.thread.is_alive():
            self._decoder.thread.join(timeout=2)
        is_own = self.control is None or self.control.is_cut
        for ring in self._rings.values():
            ring.close(unlink=is_own)
        if is_own:
            for path in self.folder.rings(self.spec.node).values():
                path.unlink()
        super().close()

    def _tick(self, now_ns: int) -> None:
        super()._tick(now_ns)
        rings, words = list(self._rings.values()), self.status_block.words
        words[layout.STATUS_WORD_SLOTS_TOTAL] = sum([ring.slots for ring in rings])
        words[layout.STATUS_WORD_SLOTS_FREE] = sum([ring.free_slots for ring in rings])
        words[layout.STATUS_WORD_RING_BYTES] = sum([ring.nbytes for ring in rings])

    def _make_ring(self, facts: RingFacts) -> RingWriter:
        ring = RingWriter(self.folder.ring(facts.node, facts.epoch), facts, self.spec.slots)
        self._rings[facts.epoch] = ring
        return ring

    def _has_old_rings(self) -> bool:
        return bool(self.folder.rings(self.spec.node))

    def _drop_old_rings(self) -> None:
        """Let go of the rings of past epochs whose frames are all done."""
        current = self.status_block[layout.STATUS_WORD_EPOCH]  # first: of those before it nothing more comes
        coming = {frame.epoch for frame in self._decoder.coming()}
        if self._waiting is not None:
            coming.add(self._waiting.epoch)
        for epoch, ring in list(self._rings.items()):
            if epoch < current and epoch not in coming and not self._left.get(epoch):
                del self._rings[epoch]
                ring.close(unlink=True)
                self._decoder.room.set()

    def _adopt(self) -> None:
        """Keep the rings that hold frames still needed; count what was written and never announced."""
        fanout = self.publisher.fanout
        fanout.catch_up()
        for edge in fanout.edges.values():
            for cell in edge.holds():
                if cell.sequence not in self._slots:
                    descriptor = unpack_descriptor(cell.payload)
                    self._slots[cell.sequence] = descriptor.epoch, descriptor.slot
                    self._left[descriptor.epoch] = self._left.get(descriptor.epoch, 0) + 1
        for epoch, path in self.folder.rings(self.spec.node).items():
            if epoch not in self._left:
                path.unlink()
        following = self.status_block[layout.STATUS_WORD_NEXT_SEQUENCE]
        if following:
            fanout.count_dropped(self._key, following - 1, following, "capture_died")
