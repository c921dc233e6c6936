from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from detektr.errors import WireError
from detektr.memory.ring import RingFacts, RingReader, RingWriter, open_ring
from detektr.memory.segment import create_segment
from detektr.picture import PictureLayout

FACTS = RingFacts("camera", "door", 7, 3, PictureLayout("yuv420p", 64, 48, "bt709"), Fraction(1, 90_000))


@pytest.fixture
def writer(shm_dir: Path) -> Iterator[RingWriter]:
    writer = RingWriter(shm_dir / "camera.3.ring", FACTS, slots=2)
    yield writer
    writer.close(unlink=True)


@pytest.fixture
def reader(writer: RingWriter, shm_dir: Path) -> Iterator[RingReader]:
    reader = open_ring(shm_dir / "camera.3.ring")
    assert reader is not None
    yield reader
    reader.close()


def claim(writer: RingWriter) -> int:
    slot = writer.try_claim()
    assert slot is not None
    return slot


def test_a_reader_knows_what_all_frames_have_in_common(reader: RingReader) -> None:
    assert (reader.facts, reader.slots) == (FACTS, 2)


def test_a_published_slot_is_held_until_it_is_written_again(writer: RingWriter, reader: RingReader) -> None:
    slot = claim(writer)
    writer.memory(slot)[:] = b"a" * FACTS.picture.nbytes
    first = writer.publish(slot, 0)
    assert reader.holds(slot, first)
    assert bytes(reader.memory(slot)) == b"a" * FACTS.picture.nbytes
    writer.release(slot)
    assert reader.holds(slot, first)
    assert claim(writer) == slot
    assert not reader.holds(slot, first)
    second = writer.publish(slot, 1)
    assert second > first
    assert not reader.holds(slot, first)


def test_a_picture_is_found_by_its_sequence_until_its_slot_is_written_again(
    writer: RingWriter, reader: RingReader
) -> None:
    assert reader.find(0) is None, "a slot that was never written holds nothing"
    slot = claim(writer)
    generation = writer.publish(slot, 41)
    assert reader.find(41) == (slot, generation) and reader.find(42) is None
    writer.release(slot)
    assert reader.find(41) == (slot, generation)
    assert claim(writer) == slot
    assert reader.find(41) is None
    writer.publish(slot, 42)
    assert reader.find(41) is None and reader.find(42) is not None


def test_no_slot_is_claimed_twice_and_a_full_ring_gives_none(writer: RingWriter) -> None:
    assert {writer.try_claim(), writer.try_claim()} == {0, 1}
    assert writer.try_claim() is None
    assert writer.free_slots == 0


def test_the_slot_released_last_is_claimed_first(writer: RingWriter) -> None:
    first, second = claim(writer), claim(writer)
    writer.release(first)
    writer.release(second)
    assert writer.try_claim() == second


def test_a_slot_given_up_unpublished_is_odd_again_while_it_is_written(writer: RingWriter) -> None:
    slot = claim(writer)
    writer.release(slot)
    slot = claim(writer)
    assert writer.publish(slot, 0) % 2 == 0


def test_a_readers_pixels_cannot_be_written(writer: RingWriter, reader: RingReader) -> None:
    with pytest.raises(TypeError, match="read-only"):
        reader.memory(0)[0] = 1


@pytest.mark.parametrize("slot", [-1, 2, 1 << 63])
def test_a_slot_that_is_not_there_is_refused(reader: RingReader, slot: int) -> None:
    assert not reader.holds(slot, 0)
    with pytest.raises(WireError, match=rf"ring camera\.3\.ring has 2 slots; slot {slot} is none of them"):
        reader.memory(slot)


def test_a_file_that_is_no_ring_is_refused(shm_dir: Path) -> None:
    create_segment(shm_dir / "camera.1.ring", 8192, lambda segment: None).close()
    with pytest.raises(WireError, match=r"camera\.1\.ring is not a ring of version"):
        open_ring(shm_dir / "camera.1.ring")
    (shm_dir / "camera.1.ring").unlink()
    assert open_ring(shm_dir / "camera.1.ring") is None


def test_an_unlinked_ring_stays_readable(writer: RingWriter, reader: RingReader, shm_dir: Path) -> None:
    slot = claim(writer)
    writer.memory(slot)[:3] = b"abc"
    generation = writer.publish(slot, 0)
    was_unlinked = reader.is_unlinked
    (shm_dir / "camera.3.ring").unlink()
    assert (was_unlinked, reader.is_unlinked) == (False, True)
    assert reader.holds(slot, generation)
    assert bytes(reader.memory(slot)[:3]) == b"abc"
