"""Writes a node's pictures into rings of shared memory: each frame gets a number, a slot and a descriptor.

A ring holds pictures of one size, format and time base: an epoch. Pictures of another kind begin the next epoch, and
the old ring stays until its last frame is settled. A `FrameWriter` belongs to the one thread that writes. Its `rings`
know which slots are still needed; they belong to the thread that owns the node's edges.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detektr.descriptor import DescriptorPacker
from detektr.errors import NoRoomError
from detektr.memory.ring import RingFacts, RingWriter
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock
from detektr.nodes.capturing.media_clock import MediaClock
from detektr.options import SECOND_NS
from detektr.picture import WritablePicture

UNMAPPED_WITHIN_S = 3.0  # within this time, readers notice that a ring is gone and unmap it
_log = logging.getLogger(__name__)


@dataclass
class WrittenFrame:
    """A numbered frame; without a payload: so many `frames` for which there was no slot."""

    sequence: int
    """If there are several: the last one's."""
    epoch: int
    slot: int
    captured_ns: int
    payload: bytes
    """What is announced."""
    frames: int = 1


class FrameWriter:
    """Numbers the frames of one node, and writes them into slots; it goes on where a dead predecessor stopped."""

    def __init__(
        self,
        node: str,
        camera: str,
        run_id: int,
        slots: int,
        folder: RunFolder,
        status_block: StatusBlock,
        *,
        planned_bytes: int = 0,
    ) -> None:
        """Prepare to write; the first picture will begin an epoch.

        Args:
            node: whose frames these are.
            camera: its name in the frames' ids.
            run_id: the run that sequences are counted in.
            slots: how many each ring has.
            folder: where the rings lie.
            status_block: keeps the epoch and the next sequence over restarts.
            planned_bytes: of a ring, as the file was planned; a larger one is told. 0: nothing was planned.
        """
        self._planned_bytes = planned_bytes
        self.rings = RingTable(node, folder)
        self._node, self._camera, self._run_id = node, camera, run_id
        self._slots = slots
        self._status_block = status_block
        self._sequence = status_block.next_sequence
        self._clock = MediaClock(*status_block.media_clock)
        self._is_break = False  # the next picture begins another time line
        self._ring: RingWriter | None = None
        self._packer: DescriptorPacker | None = None  # of the ring
        self._views: dict[int, npt.NDArray[np.uint8]] = {}  # of the ring's slots
        self._is_short = False  # an epoch has begun, and there was no room for its ring yet
        self._only_ring_since_s = 0.0  # since when no older ring takes the memory for it

    @property
    def epoch(self) -> int:
        """Number of the newest epoch; no more frames are written into older rings."""
        return self._status_block.epoch

    def fits(self, picture: WritablePicture) -> bool:
        """Whether the current ring holds pictures of this kind."""
        ring = self._ring
        return ring is not None and (ring.facts.picture, ring.facts.time_base) == (picture.layout, picture.time_base)

    def end_epoch(self) -> None:
        """Let the next picture begin another epoch, even if it is of the same kind: its time line is another one."""
        self._ring = None
        self._is_break = True

    def try_begin_epoch(self, picture: WritablePicture) -> bool:
        """Reserve a ring for pictures of this kind; False: no room beside the old rings yet, and to be tried again.

        Raises:
            NoRoomError: there is no room although no older ring takes any.
        """
        if not self._is_short:
            # First, so that the edges' owner knows that the old ring gets no more frames.
            self._status_block.begin_epoch()
            self._ring = None
            self._views.clear()
        epoch = self.epoch
        facts = RingFacts(self._node, self._camera, self._run_id, epoch, picture.layout, picture.time_base)
        is_only_ring = not self.rings.has_files
        try:
            ring = self.rings.make(facts, self._slots)
        except NoRoomError:
            if is_only_ring and (epoch == 1 or 0 < self._only_ring_since_s < time.monotonic() - UNMAPPED_WITHIN_S):
                raise
            self._only_ring_since_s = (self._only_ring_since_s or time.monotonic()) if is_only_ring else 0.0
            if not self._is_short:
                self._is_short = True
                _log.warning(
                    "shared memory has no room for another ring: waiting until all frames of the old one are released"
                )
            return False
        self._ring, self._is_short, self._only_ring_since_s = ring, False, 0.0
        self._packer = ring.descriptor_packer()
        size, nbytes = picture.layout, ring.nbytes / (1 << 20)
        _log.info(
            "epoch %d: %s %dx%d, %d slots, %.1f MiB", epoch, size.format, size.width, size.height, ring.slots, nbytes
        )
        if 0 < self._planned_bytes < ring.nbytes:
            _log.warning(
                "the ring of %d slots needs %.1f MiB, as the pictures are %s %dx%d; %.1f MiB were planned: write their"
                " width, height and format at this capture, and its marks follow from `memory`",
                ring.slots, nbytes, size.format, size.width, size.height, self._planned_bytes / (1 << 20),
            )  # fmt: skip
        return True

    def try_claim(self) -> int | None:
        """Take a free slot of the current ring; None: there is none."""
        return None if self._ring is None else self._ring.try_claim()

    def write(self, picture: WritablePicture, slot: int | None, now_ns: int, *, is_live: bool = False) -> WrittenFrame:
        """Number a picture, write it into a claimed slot, and publish the slot; without a slot, only number it.

        Args:
            picture: of the kind that the current ring holds.
            slot: claimed by `try_claim`; None: there was none.
            now_ns: monotonic time at which the picture is captured, unless it says itself when it came.
            is_live: whether its source goes on while nobody reads it.
        """
        captured_ns, utc_ns = picture.received_ns or now_ns, picture.utc_ns or time.time_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        ring, payload, epoch = self._ring, b"", self._status_block.epoch
        packer, time_ns = self._packer, self._media_time(picture, captured_ns, is_live=is_live)
        if ring is not None and packer is not None and slot is not None:
            view = self._views.get(slot)
            if view is None:
                view = self._views[slot] = np.frombuffer(ring.memory(slot), np.uint8)
            # Do all that is possible before the copy: it empties the caches, and consumers wait for the steps after it.
            payload = packer.pack(slot, ring.generation(slot), sequence, captured_ns, utc_ns, picture.pts, time_ns)
            picture.write(view)
            ring.publish(slot, sequence)
        self._status_block.set_next_sequence(self._sequence)
        return WrittenFrame(sequence, epoch, -1 if slot is None else slot, captured_ns, payload)

    def _media_time(self, picture: WritablePicture, captured_ns: int, *, is_live: bool) -> int:
        """Return a picture's time on the media's clock, and write down how far that is."""
        pts, time_base, clock, stream_ns = picture.pts, picture.time_base, self._clock, None
        if pts is not None and time_base is not None:
            stream_ns = pts * time_base.numerator * SECOND_NS // time_base.denominator
        time_ns = clock.place(stream_ns, captured_ns, is_break=self._is_break, is_live=is_live)
        self._is_break = False
        self._status_block.set_media_clock(time_ns, clock.stream_ns, captured_ns)
        return time_ns


class RingTable:
    """The rings of one node by epoch, and which of their slots are needed. Only the writing thread calls `make`."""

    def __init__(self, node: str, folder: RunFolder) -> None:
        """Begin without rings; those of a dead predecessor are files until their last frame is released."""
        self._node, self._folder = node, folder
        self._rings: dict[int, RingWriter] = {}
        self._places: dict[int, tuple[int, int]] = {}  # of frames that are needed, by sequence: epoch and slot
        self._needed: dict[int, int] = {}  # how many those are, by epoch

    @property
    def is_empty(self) -> bool:
        """Whether this process has no ring."""
        return not self._rings

    @property
    def has_files(self) -> bool:
        """Whether there is any ring of the node's, also of a predecessor's."""
        return bool(self._folder.rings(self._node))

    def make(self, facts: RingFacts, slots: int) -> RingWriter:
        """Reserve a ring.

        Raises:
            NoRoomError: shared memory has not that much left.
        """
        ring = RingWriter(self._folder.ring(facts.node, facts.epoch), facts, slots)
        self._rings[facts.epoch] = ring
        return ring

    def hold(self, sequence: int, epoch: int, slot: int) -> None:
        """Keep a frame's slot, perhaps in a predecessor's ring, until `release`."""
        if sequence not in self._places:
            self._places[sequence] = epoch, slot
            self._needed[epoch] = self._needed.get(epoch, 0) + 1

    def release(self, sequence: int) -> None:
        """Free a frame's slot; a predecessor's ring is removed with the last frame in it."""
        place = self._places.pop(sequence, None)
        if place is None:
            return
        epoch, slot = place
        self._needed[epoch] -= 1
        ring = self._rings.get(epoch)
        if ring is not None:
            ring.release(slot)
        elif self._needed[epoch] == 0:
            self._folder.ring(self._node, epoch).unlink(missing_ok=True)

    def release_slot(self, epoch: int, slot: int) -> None:
        """Free the slot of a frame that is not held."""
        self._rings[epoch].release(slot)

    def has_only(self, epoch: int) -> bool:
        """Whether the ring of this epoch is the only one of this process."""
        return len(self._rings) == 1 and epoch in self._rings

    def drop_before(self, epoch: int, coming: set[int]) -> bool:
        """Unlink the rings of epochs before this one of which no frame is needed; whether there were any.

        Args:
            epoch: nothing more is written into the rings of those before it.
            coming: epochs of frames that are written and not held yet.
        """
        has_dropped = False
        for past, ring in list(self._rings.items()):
            if past < epoch and past not in coming and not self._needed.get(past):
                del self._rings[past]
                ring.close(unlink=True)
                has_dropped = True
        return has_dropped

    def unlink_unneeded(self) -> None:
        """Unlink a predecessor's rings in which no frame is held; to be called before this process makes any."""
        for epoch, path in self._folder.rings(self._node).items():
            if epoch not in self._needed:
                path.unlink()

    def totals(self) -> tuple[int, int, int]:
        """Return the slots of this process's rings, how many of them are free, and the bytes of shared memory."""
        rings = list(self._rings.values())
        slots, free = sum([ring.slots for ring in rings]), sum([ring.free_slots for ring in rings])
        return slots, free, sum([ring.nbytes for ring in rings])

    def close(self, *, unlink: bool) -> None:
        """Unmap the rings; with `unlink`, remove the names of all rings of the node too."""
        for ring in self._rings.values():
            ring.close(unlink=unlink)
        if unlink:
            for path in self._folder.rings(self._node).values():
                path.unlink()
