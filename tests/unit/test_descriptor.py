from __future__ import annotations

import mmap
from pathlib import Path

import msgpack
import pytest

from detektr.descriptor import DESCRIPTOR_BYTES_MAX, Descriptor, DescriptorPacker, unpack_descriptor
from detektr.errors import WireError
from detektr.memory.ring import RingFacts, RingWriter
from detektr.picture import PictureLayout

MOST = (1 << 64) - 1


def packer(name: str = "cam", number: int = 1) -> DescriptorPacker:
    return DescriptorPacker(
        name, name, number, number, pixel_format="yuv420p", width=4, height=2, nbytes=12, first_byte=8192,
        slot_bytes=4096,
    )  # fmt: skip


def test_what_is_packed_is_read_back() -> None:
    payload = packer().pack(3, 8, 7, 10, 20, None)
    assert unpack_descriptor(payload) == Descriptor("cam", "cam", 1, 1, 3, 8, 7, 10, 20, None)
    assert unpack_descriptor(packer().pack(3, 8, 7, 10, 20, -512)).pts == -512


def test_the_longest_fits_into_a_cell() -> None:
    longest = packer("n" * 32, MOST).pack(1 << 30, MOST, MOST, MOST, MOST, -(1 << 63))
    assert len(longest) <= DESCRIPTOR_BYTES_MAX


def test_a_reader_in_another_language_finds_the_picture_by_the_message_alone(tmp_path: Path) -> None:
    path = tmp_path / "cam.1.ring"
    ring = RingWriter(path, RingFacts("cam", "cam", 1, 1, PictureLayout("gray", 6, 2), None), 3)
    for _ in range(2):
        slot = ring.try_claim()
        assert slot is not None
        ring.memory(slot)[:] = bytes(range(slot, slot + 12))
        payload = ring.descriptor_packer().pack(slot, ring.generation(slot), 0, 1, 2, None)
        ring.publish(slot, 0)
        told = msgpack.unpackb(payload)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as memory:
            generation = int.from_bytes(memory[4096 + 64 * told["slot"] :][:8], "little")
            assert generation == told["generation"]
            assert memory[told["offset"] : told["offset"] + told["nbytes"]] == bytes(range(slot, slot + 12))
            assert (told["format"], told["width"], told["height"]) == ("gray", 6, 2)
    ring.close(unlink=True)


def test_fields_that_are_not_known_are_passed_over() -> None:
    fields = {**msgpack.unpackb(packer().pack(3, 8, 7, 10, 20, None)), "host": {"name": "a"}}
    assert unpack_descriptor(msgpack.packb(fields)).sequence == 7


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "no MessagePack map"),
        (b"\x93\x01\x02\x03", "no MessagePack map"),
        (b"\xc1", "no MessagePack map"),
        (msgpack.packb({"node": "cam"}), "has no 'camera'"),
        (msgpack.packb({**msgpack.unpackb(packer().pack(0, 2, 0, 0, 0, None)), "slot": -1}), "-1 in place of a count"),
        (msgpack.packb({**msgpack.unpackb(packer().pack(0, 2, 0, 0, 0, None)), "node": "x" * 33}), "as a name"),
        (msgpack.packb({**msgpack.unpackb(packer().pack(0, 2, 0, 0, 0, None)), "pts": "x"}), "as pts"),
    ],
)
def test_what_is_no_descriptor_is_refused_in_words(payload: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        unpack_descriptor(payload)
