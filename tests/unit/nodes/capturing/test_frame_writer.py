"""Numbers, slots and epochs of the frames that one node writes, and which rings and slots are still needed."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detektr.descriptor import unpack_descriptor
from detektr.errors import NoRoomError
from detektr.memory import layout
from detektr.memory.ring import open_ring
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock, acquire_status_block
from detektr.nodes.capturing.frame_writer import FrameWriter, RingTable
from detektr.picture import PictureLayout
from tests.harness.capturing import OnePicture
from tests.harness.interpreted import interpreted

SLOTS = 3


class Sized(OnePicture):
    """A picture of any size and time base, whose pixels are all alike."""

    def __init__(self, width: int = 8, time_base: Fraction | None = None, value: int = 7) -> None:
        super().__init__()
        self.layout = PictureLayout("gray", width, 8)
        self.time_base = time_base  # type: ignore[assignment]
        self._value = value

    def write(self, slot: Any) -> None:
        slot[:] = self._value


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("unit")
    yield folder
    folder.remove_if_empty()


@pytest.fixture
def status_block(folder: RunFolder) -> Iterator[StatusBlock]:
    status_block = acquire_status_block(folder, "cam", 0, "capture")
    yield status_block
    status_block.close(unlink=True)


def new_writer(folder: RunFolder, status_block: StatusBlock, module: Any = None) -> Any:
    kind = FrameWriter if module is None else module.FrameWriter
    return kind("cam", "door", 5, SLOTS, folder, status_block)


def test_a_frame_is_in_its_slot_as_it_is_announced(folder: RunFolder, status_block: StatusBlock) -> None:
    status_block.words[layout.STATUS_WORD_NEXT_SEQUENCE] = 40  # a predecessor's
    writer = new_writer(folder, status_block)
    assert not writer.fits(Sized()) and writer.try_claim() is None
    assert writer.try_begin_epoch(Sized()) and writer.fits(Sized())
    slot = writer.try_claim()
    frame = writer.write(Sized(value=9), slot, 1234)
    assert (frame.sequence, frame.epoch, frame.slot, frame.captured_ns, frame.frames) == (40, 1, slot, 1234, 1)
    assert status_block.words[layout.STATUS_WORD_NEXT_SEQUENCE] == 41
    told = unpack_descriptor(frame.payload)
    assert (told.node, told.camera, told.run, told.sequence) == ("cam", "door", 5, 40)
    ring = open_ring(folder.ring("cam", 1))
    assert ring is not None and ring.holds(told.slot, told.generation)
    assert set(ring.memory(told.slot)) == {9}
    ring.close()
    writer.rings.close(unlink=True)


def test_a_frame_without_a_slot_has_a_number_and_nothing_to_announce(
    folder: RunFolder, status_block: StatusBlock
) -> None:
    writer = new_writer(folder, status_block)
    assert writer.try_begin_epoch(Sized())
    assert [writer.try_claim() is None for _ in range(SLOTS + 1)] == [False] * SLOTS + [True]
    frame = writer.write(Sized(), None, 5)
    assert (frame.sequence, frame.slot, frame.payload) == (0, -1, b"")
    assert status_block.words[layout.STATUS_WORD_NEXT_SEQUENCE] == 1
    writer.rings.close(unlink=True)


def test_pictures_of_another_kind_or_after_a_break_begin_an_epoch(folder: RunFolder, status_block: StatusBlock) -> None:
    writer = new_writer(folder, status_block)
    assert writer.try_begin_epoch(Sized())
    assert not writer.fits(Sized(width=16)) and not writer.fits(Sized(time_base=Fraction(1, 25)))
    writer.end_epoch()
    assert not writer.fits(Sized()) and writer.epoch == 1
    assert writer.try_begin_epoch(Sized()) and writer.epoch == 2
    assert sorted(folder.rings("cam")) == [1, 2]
    writer.rings.close(unlink=True)
    assert not folder.rings("cam")


def test_an_epoch_whose_ring_finds_no_room_waits_for_the_old_ones(
    folder: RunFolder, status_block: StatusBlock, monkeypatch: pytest.MonkeyPatch
) -> None:
    (module,) = interpreted("detektr.nodes.capturing.frame_writer")
    now_s, is_full, real = 100.0, True, module.RingWriter

    def make(*arguments: Any) -> Any:
        if is_full:
            raise NoRoomError("full")
        return real(*arguments)

    writer = new_writer(folder, status_block, module)
    monkeypatch.setattr(module, "RingWriter", make)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now_s, time_ns=lambda: 1))
    with pytest.raises(NoRoomError):
        writer.try_begin_epoch(Sized())  # the first has nothing to wait for
    writer._is_short, is_full = False, False
    status_block.words[layout.STATUS_WORD_EPOCH] = 0
    assert writer.try_begin_epoch(Sized())
    is_full = True
    assert not writer.try_begin_epoch(Sized(width=16)) and writer.epoch == 2
    now_s += 60
    assert not writer.try_begin_epoch(Sized(width=16)) and writer.epoch == 2, "the old one stands in its way"
    assert writer.try_claim() is None
    assert writer.rings.drop_before(2, set())
    assert not writer.try_begin_epoch(Sized(width=16)), "its readers may have it mapped still"
    now_s += module.UNMAPPED_WITHIN_S / 2
    assert not writer.try_begin_epoch(Sized(width=16))
    now_s += module.UNMAPPED_WITHIN_S
    with pytest.raises(NoRoomError):
        writer.try_begin_epoch(Sized(width=16))
    is_full = False
    assert writer.try_begin_epoch(Sized(width=16)) and writer.epoch == 2
    writer.rings.close(unlink=True)


def test_a_ring_goes_when_it_is_past_and_none_of_its_frames_is_held_or_coming(
    folder: RunFolder, status_block: StatusBlock
) -> None:
    writer = new_writer(folder, status_block)
    rings = writer.rings
    assert rings.is_empty and not rings.has_only(0)
    writer.try_begin_epoch(Sized())
    assert rings.has_only(1) and not rings.has_only(2)
    frame = writer.write(Sized(), writer.try_claim(), 1)
    writer.try_begin_epoch(Sized(width=16))
    assert not rings.has_only(2)
    assert not rings.drop_before(2, {1}), "it is coming"
    rings.hold(frame.sequence, frame.epoch, frame.slot)
    assert not rings.drop_before(2, set()), "it is held"
    assert rings.totals()[:2] == (2 * SLOTS, 2 * SLOTS - 1)
    rings.release(frame.sequence)
    assert rings.totals()[1] == 2 * SLOTS
    assert rings.drop_before(2, set()) and rings.has_only(2)
    assert list(folder.rings("cam")) == [2]
    rings.close(unlink=True)


def test_a_predecessors_ring_goes_with_the_last_frame_that_is_held_in_it(
    folder: RunFolder, status_block: StatusBlock
) -> None:
    before = new_writer(folder, status_block)
    for _ in range(2):
        before.end_epoch()
        before.try_begin_epoch(Sized())
    before.rings.close(unlink=False)
    rings = RingTable("cam", folder)
    assert rings.is_empty and rings.has_files
    for sequence in (3, 4, 3):  # more than one edge holds it
        rings.hold(sequence, 1, sequence - 3)
    rings.unlink_unneeded()
    assert list(folder.rings("cam")) == [1]
    rings.release(3)
    assert rings.has_files
    rings.release(4)
    rings.release(4)
    assert not rings.has_files


@pytest.mark.parametrize(("planned_bytes", "is_told"), [(0, False), (1 << 20, False), (4096, True)])
def test_a_ring_that_is_larger_than_it_was_planned_is_told_with_its_bytes(
    folder: RunFolder,
    status_block: StatusBlock,
    caplog: pytest.LogCaptureFixture,
    planned_bytes: int,
    is_told: bool,
) -> None:
    writer = FrameWriter("cam", "door", 5, SLOTS, folder, status_block, planned_bytes=planned_bytes)
    assert writer.try_begin_epoch(Sized(1024))
    told = [record.getMessage() for record in caplog.records if "were planned" in record.getMessage()]
    assert len(told) == is_told
    assert not told or f"the ring of {SLOTS} slots needs 0.0 MiB, as the pictures are gray 1024x8" in told[0]
    writer.rings.close(unlink=True)
