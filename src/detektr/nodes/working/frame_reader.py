"""Opens the frame of a lease: a view of its slot in the ring, checked before and after the work."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from detektr.descriptor import unpack_passed_on
from detektr.errors import OverwrittenError
from detektr.frame import Frame, UInt8Array
from detektr.memory.announcement import Lease
from detektr.memory.ring import RingReader, open_ring
from detektr.memory.run_folder import RunFolder
from detektr.nodes.working.first_frames import FirstFrames


class FrameReader:
    """Opens the frames of leases. Each ring that was read from stays mapped, until its owner has removed it."""

    def __init__(self, folder: RunFolder, node: str) -> None:
        """Map nothing yet.

        Args:
            folder: the run's.
            node: whose process this is.
        """
        self._folder, self._first = folder, FirstFrames(folder, node)
        self._rings: dict[tuple[str, int, int], tuple[RingReader, dict[int, UInt8Array]]] = {}

    def open(self, lease: Lease) -> tuple[Frame, Callable[[], bool]]:
        """Return the frame of a lease, a view of its slot, and a function that tells whether it is still that frame.

        Raises:
            OverwrittenError: the slot holds something else.
            WireError: the announcement is not one of ours.
        """
        descriptor, delivery, results, missing = unpack_passed_on(lease.payload)
        where = descriptor.node, descriptor.run, descriptor.epoch
        ring, slots = self._rings.get(where) or self._open_ring(*where)
        slot, generation = descriptor.slot, descriptor.generation
        if not ring.holds(slot, generation):
            raise OverwrittenError(f"slot {slot} was written again")
        pixels = slots.get(slot)
        if pixels is None:
            pixels = slots[slot] = np.frombuffer(ring.memory(slot), np.uint8)
        delivery += lease.delivery - 1  # attempts of nodes before ours count as well
        facts, is_first = ring.facts, self._first.is_first(lease.key, descriptor.camera)
        frame = Frame(
            descriptor,
            facts.picture,
            pixels,
            delivery,
            facts.time_base,
            is_first_here=is_first,
            results=results,
            missing=missing,
        )
        return frame, functools.partial(ring.holds, slot, generation)

    def note_begun(self, lease: Lease, frame: Frame) -> None:
        """Note that this process has begun with a frame's camera: its later frames are not the first here."""
        self._first.note_begun(lease.key, frame.camera)

    def look(self) -> None:
        """Look whether a supervisor keeps a map of cameras; once a second or so."""
        self._first.look()

    def drop_gone(self) -> None:
        """Unmap rings that their owner has removed: only that frees their memory. No frame may be open."""
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
        self._first.close()

    def _open_ring(self, node: str, run: int, epoch: int) -> tuple[RingReader, dict[int, UInt8Array]]:
        """Map the ring of one epoch of a capture; returns it with its slots that were read so far, as arrays.

        Raises:
            OverwrittenError: the ring is gone, as its capture has begun another.
        """
        ring = open_ring(self._folder.ring(node, epoch))
        if ring is not None and ring.facts.run != run:
            ring.close()
            ring = None
        if ring is None:
            raise OverwrittenError(f"ring {epoch} of {node} is gone")
        known = self._rings[node, run, epoch] = ring, {}
        return known
