"""From a lease to the frame that it is about: a view of the slot, checked before and after the work."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from detektr.descriptor import unpack_descriptor
from detektr.errors import OverwrittenError
from detektr.frame import Frame, UInt8Array
from detektr.memory.announcement import Lease
from detektr.memory.ring import RingReader, open_ring
from detektr.memory.run_folder import RunFolder


class FrameReader:
    """From a lease to the frame it is about, with the checks before and after.

    The rings that frames were read from lately stay mapped, once each; those whose owner has left are let go.
    """

    def __init__(self, folder: RunFolder) -> None:
        """Map nothing yet."""
        self._folder = folder
        self._rings: dict[tuple[str, int, int], tuple[RingReader, dict[int, UInt8Array]]] = {}

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

    def _open_ring(self, node: str, run: int, epoch: int) -> tuple[RingReader, dict[int, UInt8Array]]:
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
