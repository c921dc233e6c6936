"""Rings: slots of pixels written once by one capture and read in place by everybody else."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgpack

from detektr.descriptor import DescriptorPacker
from detektr.errors import WireError
from detektr.memory import layout
from detektr.memory.layout import RING_SLOT_GENERATION, RING_SLOT_HEADER_WORDS, RING_SLOT_SEQUENCE
from detektr.memory.segment import Segment, create_segment, open_segment
from detektr.picture import PictureLayout

_FIRST_GENERATION = layout.RING_SLOT_HEADERS_BYTE // layout.WORD_BYTES + RING_SLOT_GENERATION
_SEQUENCE = RING_SLOT_SEQUENCE - RING_SLOT_GENERATION  # from a slot's generation
_NO_WORDS = memoryview(b"").cast("Q")


@dataclass(frozen=True)
class RingFacts:
    """Properties that all frames of one ring share."""

    node: str
    camera: str
    run: int
    epoch: int
    picture: PictureLayout
    time_base: Fraction | None


class RingWriter:
    """The capture's end. It claims the slot that was freed last, so that no more slots are in use than needed."""

    def __init__(self, path: Path, facts: RingFacts, slots: int) -> None:
        """Reserve a ring of `slots` slots.

        Raises:
            NoRoomError: shared memory has not that much left.
        """
        self.facts = facts
        self.slots = slots
        nbytes = layout.ring_bytes(slots, facts.picture.nbytes)
        self._segment = create_segment(path, nbytes, self._fill)
        self._words = self._segment.words
        self._stride = layout.whole_pages(facts.picture.nbytes)
        self._first = layout.first_slot_byte(slots)
        self._headers = [
            layout.RING_SLOT_HEADERS_BYTE // layout.WORD_BYTES + slot * RING_SLOT_HEADER_WORDS for slot in range(slots)
        ]
        self._free = list(range(slots - 1, -1, -1))

    @property
    def nbytes(self) -> int:
        """Bytes of shared memory that the ring holds."""
        return len(self._segment.bytes)

    @property
    def free_slots(self) -> int:
        """Slots that can be claimed now."""
        return len(self._free)

    def descriptor_packer(self) -> DescriptorPacker:
        """Return the packer for the descriptors of this ring's frames."""
        facts, picture = self.facts, self.facts.picture
        return DescriptorPacker(
            facts.node,
            facts.camera,
            facts.run,
            facts.epoch,
            pixel_format=picture.format,
            width=picture.width,
            height=picture.height,
            nbytes=picture.nbytes,
            first_byte=self._first,
            slot_bytes=self._stride,
            time_base=None if facts.time_base is None else (facts.time_base.numerator, facts.time_base.denominator),
        )

    def memory(self, slot: int) -> memoryview:
        """Return the writable bytes of a claimed slot, as many as one picture has."""
        begin = self._first + slot * self._stride
        return self._segment.bytes[begin : begin + self.facts.picture.nbytes]

    def try_claim(self) -> int | None:
        """Take a free slot and mark it as being written; None when there is none.

        The list of free slots is the only thing that the decoding thread and the loop share: claiming pops its end,
        releasing pushes there, and both are atomic.
        """
        try:
            slot = self._free.pop()
        except IndexError:
            return None
        word = self._headers[slot] + RING_SLOT_GENERATION
        self._words[word] = (self._words[word] + 1) | 1  # odd already: it was claimed before, and never published
        return slot

    def generation(self, slot: int) -> int:
        """Return the generation that a claimed slot will have when it is published, as its descriptor must say."""
        return self._words[self._headers[slot] + RING_SLOT_GENERATION] + 1

    def publish(self, slot: int, sequence: int) -> int:
        """Declare a claimed slot's picture complete; returns its generation."""
        header, words = self._headers[slot], self._words
        words[header + RING_SLOT_SEQUENCE] = sequence
        generation = words[header + RING_SLOT_GENERATION] + 1
        words[header + RING_SLOT_GENERATION] = generation
        return generation

    def release(self, slot: int) -> None:
        """Put a slot that nobody needs any more back on top of the free ones."""
        self._free.append(slot)

    def close(self, *, unlink: bool) -> None:
        """Unmap the ring; with `unlink` its name goes too, and the memory with its last reader."""
        if unlink:
            self._segment.path.unlink(missing_ok=True)
        self._words = _NO_WORDS  # a slice of the old ones would keep the whole ring mapped
        self._segment.close()

    def _fill(self, segment: Segment) -> None:
        facts, words = self.facts, segment.words
        base = facts.time_base
        blob: bytes = msgpack.packb(
            {
                "node": facts.node,
                "camera": facts.camera,
                "format": facts.picture.format,
                "width": facts.picture.width,
                "height": facts.picture.height,
                "matrix": facts.picture.matrix,
                "is_full_range": facts.picture.is_full_range,
                "time_base": None if base is None else [base.numerator, base.denominator],
            }
        )
        segment.bytes[layout.RING_FACTS_BYTE : layout.RING_FACTS_BYTE + len(blob)] = blob
        words[layout.RING_WORD_FACTS_LENGTH] = len(blob)
        words[layout.RING_WORD_RUN] = facts.run
        words[layout.RING_WORD_EPOCH] = facts.epoch
        words[layout.RING_WORD_SLOTS] = self.slots
        words[layout.RING_WORD_PICTURE_BYTES] = facts.picture.nbytes
        words[layout.RING_WORD_SLOT_BYTES] = layout.whole_pages(facts.picture.nbytes)
        words[layout.RING_WORD_FIRST_SLOT_BYTE] = layout.first_slot_byte(self.slots)
        words[layout.RING_WORD_VERSION] = layout.VERSION
        words[layout.RING_WORD_MAGIC] = layout.RING_MAGIC


class RingReader:
    """A consumer's end: the same bytes, mapped read-only."""

    def __init__(self, segment: Segment, facts: RingFacts, slots: int) -> None:
        """Read a mapped ring whose header was checked by `open_ring`."""
        self.facts = facts
        self.slots = slots
        self._segment = segment
        self._words = segment.words
        self._stride = layout.whole_pages(facts.picture.nbytes)
        self._first = layout.first_slot_byte(slots)

    def memory(self, slot: int) -> memoryview:
        """Return the read-only bytes of a slot's picture.

        Raises:
            WireError: there is no such slot.
        """
        if not 0 <= slot < self.slots:
            raise WireError(f"ring {self._segment.path.name} has {self.slots} slots; slot {slot} is none of them")
        begin = self._first + slot * self._stride
        return self._segment.bytes[begin : begin + self.facts.picture.nbytes]

    def holds(self, slot: int, generation: int) -> bool:
        """Whether the slot still holds, complete, the picture that was announced with `generation`."""
        if not 0 <= slot < self.slots:
            return False
        return self._words[_FIRST_GENERATION + slot * RING_SLOT_HEADER_WORDS] == generation

    def newest(self) -> tuple[int, int, int] | None:
        """Return slot, generation and sequence of the newest picture that is complete; None: there is none.

        Nobody holds it for us: copy it, and ask `holds` afterwards.
        """
        words, found = self._words, None
        for slot in range(self.slots):
            header = _FIRST_GENERATION + slot * RING_SLOT_HEADER_WORDS
            generation, sequence = words[header], words[header + _SEQUENCE]
            is_complete = generation and generation & 1 == 0
            if is_complete and (found is None or sequence > found[2]):
                found = slot, generation, sequence
        return found

    def find(self, sequence: int) -> tuple[int, int] | None:
        """Return slot and generation of the complete picture with a sequence; None: it is not here, or not any more.

        Nobody holds it for us: copy it, and ask `holds` afterwards.
        """
        words = self._words
        for slot in range(self.slots):
            header = _FIRST_GENERATION + slot * RING_SLOT_HEADER_WORDS
            generation = words[header]
            if generation and generation & 1 == 0 and words[header + _SEQUENCE] == sequence:
                return slot, generation
        return None

    @property
    def is_unlinked(self) -> bool:
        """Whether the ring's owner has removed its name: no new frames will lie in it."""
        return self._segment.is_unlinked

    def close(self) -> None:
        """Unmap the ring."""
        self._words = _NO_WORDS  # a slice of the old ones would keep the whole ring mapped
        self._segment.close()


def open_ring(path: Path) -> RingReader | None:
    """Map a ring for reading; None when it is not there.

    Raises:
        WireError: the file is not a ring of this version.
    """
    segment = open_segment(path)
    if segment is None:
        return None
    words = segment.words
    if (
        len(segment.bytes) < layout.PAGE_BYTES
        or words[layout.RING_WORD_MAGIC] != layout.RING_MAGIC
        or words[layout.RING_WORD_VERSION] != layout.VERSION
    ):
        segment.close()
        raise WireError(f"{path.name} is not a ring of version {layout.VERSION}")
    length = words[layout.RING_WORD_FACTS_LENGTH]
    fields: dict[str, Any] = msgpack.unpackb(
        segment.bytes[layout.RING_FACTS_BYTE : layout.RING_FACTS_BYTE + length].tobytes()
    )
    base = fields["time_base"]
    facts = RingFacts(
        node=fields["node"],
        camera=fields["camera"],
        run=words[layout.RING_WORD_RUN],
        epoch=words[layout.RING_WORD_EPOCH],
        picture=PictureLayout(
            fields["format"], fields["width"], fields["height"], fields["matrix"], fields["is_full_range"]
        ),
        time_base=None if base is None else Fraction(*base),
    )
    return RingReader(segment, facts, words[layout.RING_WORD_SLOTS])
