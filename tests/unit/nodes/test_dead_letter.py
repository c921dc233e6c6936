from __future__ import annotations

import base64
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import msgpack
import numpy as np
import pytest

from detektr.descriptor import Descriptor, unpack_descriptor
from detektr.edge.edge_options import FrameOutcome, OutcomeKind
from detektr.errors import RefusedError
from detektr.frame import Frame, plane_rows
from detektr.memory.ring import RingFacts, RingWriter
from detektr.memory.run_folder import RunFolder
from detektr.nodes.dead_letter import PICTURES_MAX, DeadLetters, read_picture, save_picture
from detektr.nodes.working.event_stream import unpack_event
from detektr.picture import FORMATS, PictureLayout

MANY = 1 << 30


def descriptor(sequence: int = 7, camera: str = "door") -> Descriptor:
    return Descriptor("cam", camera, 1, 2, 3, 1, sequence, 10, 1753608701224_000_000, 512)


def noise(layout: PictureLayout) -> bytes:
    return np.random.default_rng(1).integers(16, 230, layout.nbytes, np.uint8).tobytes()


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.sample_bytes == 1])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
def test_picture_reads_back_bit_for_bit(tmp_path: Path, name: str, width: int, height: int) -> None:
    layout = PictureLayout(name, width, height)
    data = noise(layout)
    picture = save_picture(tmp_path, descriptor(), layout, memoryview(data), MANY)
    if picture.suffix == ".raw":
        assert (name, width) == ("yuyv422", 65) or name in ("yuv440p", "yuvj440p", "yuv410p")
        assert picture.read_bytes() == data
        return
    with av.open(str(picture)) as container:
        read_back = next(container.decode(video=0))
    frame = Frame(descriptor(), layout, np.frombuffer(data, np.uint8), 1, None)
    if picture.suffix != ".y4m":
        # A conversion by FFmpeg that loses nothing: only channels change places.
        assert np.array_equal(read_back.to_ndarray(format="bgr24"), frame.bgr)
        return
    planes = frame.planes
    if name in ("nv12", "nv21"):
        blue, red = (0, 1) if name == "nv12" else (1, 0)
        planes = planes[0], planes[1][..., blue], planes[1][..., red]
    elif name == "yuyv422":
        planes = planes[0][..., ::2].reshape(height, width), planes[0][..., 1], planes[0][..., 3]
    for plane, expected in zip(read_back.planes, planes, strict=True):
        assert np.array_equal(plane_rows(plane, *expected.shape), expected)
    assert read_back.color_range == (2 if name.startswith("yuvj") else 0)


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.sample_bytes == 1])
@pytest.mark.parametrize("width", [64, 65])
def test_what_was_saved_is_read_as_the_same_picture(tmp_path: Path, name: str, width: int) -> None:
    layout = PictureLayout(name, width, 49, "bt709", name.startswith("yuv"))
    data = noise(layout)
    path = save_picture(tmp_path, descriptor(), layout, memoryview(data), MANY)
    record = {"format": name, "width": width, "height": 49, "matrix": layout.matrix}
    read, picture = read_picture(path, {**record, "is_full_range": layout.is_full_range})
    assert (read.matrix, read.is_full_range) == (layout.matrix, layout.is_full_range)
    before = Frame(descriptor(), layout, np.frombuffer(data, np.uint8), 1, None)
    after = Frame(descriptor(), read, np.frombuffer(picture, np.uint8), 1, None)
    assert np.array_equal(before.gray, after.gray)
    assert np.abs(before.bgr.astype(int) - after.bgr).mean() < 3, "chroma may be scaled in another way"


def test_a_picture_that_is_too_short_is_refused_with_its_size(tmp_path: Path) -> None:
    path = save_picture(tmp_path, descriptor(), PictureLayout("gray", 64, 48), b"short", MANY)
    record = {"format": "gray", "width": 64, "height": 48, "matrix": "bt601", "is_full_range": False}
    with pytest.raises(RefusedError, match="has 5 bytes, but a picture of 64x48 in gray has 3072"):
        read_picture(path, record)


def outcome(payload: bytes, reason: str = "ValueError: x\n") -> FrameOutcome:
    return FrameOutcome(OutcomeKind.DEAD_LETTERED, 7, reason, 3, payload)


@pytest.fixture
def ring(shm_dir: Path) -> Iterator[RingWriter]:
    folder = RunFolder("demo")
    folder.make()
    facts = RingFacts("cam", "door", 1, 2, PictureLayout("gray", 8, 8), None)
    ring = RingWriter(folder.ring("cam", 2), facts, 2)
    yield ring
    ring.close(unlink=True)
    folder.remove_if_empty()


def publish(ring: RingWriter, sequence: int) -> bytes:
    """Write a picture, and return its packed descriptor."""
    slot = ring.try_claim()
    assert slot is not None
    ring.memory(slot)[:64] = bytes(range(64))
    generation = ring.publish(slot, sequence)
    return ring.descriptor_packer().pack(slot, generation, sequence, 10, 1753608701224_000_000, None)


def letters_of(dead_letters: DeadLetters) -> list[dict[str, Any]]:
    return list(dead_letters.spool.read().letters.values())


def test_a_frame_is_saved_with_its_picture_the_facts_and_the_reason(ring: RingWriter, state_dir: Path) -> None:
    dead_letters = DeadLetters(RunFolder("demo"), "cam.0", MANY)
    payload = publish(ring, 7)
    assert "in " in dead_letters.save_frame("motion", outcome(payload))
    (letter,) = letters_of(dead_letters)
    assert (letter["kind"], letter["producer"], letter["consumer"], letter["attempts"]) == (
        "frame", "cam.0", "motion", 3,
    )  # fmt: skip
    assert (letter["camera"], letter["sequence"], letter["format"]) == ("door", 7, "gray")
    assert letter["why"] == "ValueError: x\n" and base64.b64decode(letter["payload"]) == payload
    assert letter["timestamp"] == "2025-07-27T09:31:41.224000+00:00"
    picture = state_dir / "demo" / "dead-letters" / letter["picture"]
    assert picture.read_bytes().endswith(bytes(range(64)))
    assert stat.S_IMODE(picture.stat().st_mode) == 0o600 and letter["show"] == f"ffplay {picture.name}"


def test_a_storm_of_frames_costs_few_pictures_and_no_record(ring: RingWriter, state_dir: Path) -> None:
    dead_letters = DeadLetters(RunFolder("demo"), "cam.0", MANY)
    payload = publish(ring, 7)
    for _ in range(3 * PICTURES_MAX):
        dead_letters.save_frame("motion", outcome(payload))
    letters = letters_of(dead_letters)
    assert len(letters) == 3 * PICTURES_MAX
    assert sum(bool(letter["picture"]) for letter in letters) == PICTURES_MAX
    assert letters[-1]["no_picture"] == f"more than {PICTURES_MAX} within 10 s"


def test_a_frame_whose_slot_or_ring_is_gone_is_recorded_without_a_picture(ring: RingWriter, state_dir: Path) -> None:
    dead_letters = DeadLetters(RunFolder("demo"), "cam.0", MANY)
    payload = publish(ring, 7)
    slot = unpack_descriptor(payload).slot
    ring.release(slot)
    assert ring.try_claim() == slot
    dead_letters.save_frame("motion", outcome(payload))
    RunFolder("demo").ring("cam", 2).unlink()
    dead_letters.save_frame("motion", outcome(payload))
    whys = [letter["no_picture"] for letter in letters_of(dead_letters)]
    assert whys == ["its slot holds another frame by now", "its ring is gone"]


def test_an_event_is_saved_as_it_was_packed(state_dir: Path) -> None:
    event = {"frame": "f", "data": {"raw": b"\x00\xff", 3: [None, 1.5]}}
    dead_letters = DeadLetters(RunFolder("demo"), "see.1", MANY)
    dead_letters.save_event("hook", outcome(msgpack.packb(event)), "f")
    (letter,) = letters_of(dead_letters)
    assert unpack_event(base64.b64decode(letter["payload"])) == event
    assert (letter["kind"], letter["frame"], letter["producer"], letter["consumer"]) == ("event", "f", "see.1", "hook")


def test_second_picture_of_a_frame_does_not_replace_the_first(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    pictures = [save_picture(tmp_path, descriptor(), layout, noise(layout), MANY) for _ in range(2)]
    assert pictures[1].stem == f"{pictures[0].stem}-2" and all(picture.is_file() for picture in pictures)


def test_oldest_pictures_go_and_other_files_stay(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    (tmp_path / "notes.pgm").write_text("mine")
    one = save_picture(tmp_path / "other", descriptor(0), layout, noise(layout), MANY).stat().st_size
    for sequence in range(6):
        picture = save_picture(tmp_path, descriptor(sequence), layout, noise(layout), 3 * one)
        os.utime(picture, ns=(sequence, sequence))
    assert [int(path.name.split("_")[3]) for path in sorted(tmp_path.glob("1*.pgm"))] == [3, 4, 5]
    assert (tmp_path / "notes.pgm").read_text() == "mine"


def test_strange_camera_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    picture = save_picture(tmp_path / "letters", descriptor(camera="../../x"), layout, noise(layout), MANY)
    assert picture.parent == tmp_path / "letters" and picture.is_file()


def test_slot_shorter_than_its_picture_is_saved_as_it_is(tmp_path: Path) -> None:
    picture = save_picture(tmp_path, descriptor(), PictureLayout("bgr24", 8, 8), b"abc", MANY)
    assert picture.suffix == ".raw" and picture.read_bytes() == b"abc"
