from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import av
import numpy as np
import pytest

from detektr.descriptor import Descriptor
from detektr.frame import Frame, plane_rows
from detektr.nodes.dead_letter import LETTERS_MAX, save_dead_letter, save_event
from detektr.picture import FORMATS, PictureLayout


def descriptor(sequence: int = 7, camera: str = "door") -> Descriptor:
    return Descriptor("cam", camera, 1, 2, 3, 1, sequence, 10, 1753608701224_000_000, 512)


def noise(layout: PictureLayout) -> bytes:
    return np.random.default_rng(1).integers(16, 230, layout.nbytes, np.uint8).tobytes()


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.sample_bytes == 1])
@pytest.mark.parametrize(("width", "height"), [(64, 48), (65, 49)])
def test_picture_reads_back_bit_for_bit(tmp_path: Path, name: str, width: int, height: int) -> None:
    layout = PictureLayout(name, width, height)
    data = noise(layout)
    dead_letter = save_dead_letter(tmp_path, descriptor(), layout, memoryview(data), "why")
    record = json.loads(dead_letter.read_text())
    picture = tmp_path / record["picture"]
    if picture.suffix == ".raw":
        assert (name, width) == ("yuyv422", 65) or name in ("yuv440p", "yuvj440p", "yuv410p")
        assert picture.read_bytes() == data
        told = "-vf setparams=range=full " if layout.is_full_range else ""
        size = f"-video_size {width}x{height}"
        assert record["show"] == f"ffplay -f rawvideo -pixel_format {name} {size} {told}{picture.name}"
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


def test_letter_tells_the_facts_and_the_reason(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    dead_letter = save_dead_letter(tmp_path / "new" / "letters", descriptor(), layout, noise(layout), "ValueError: x\n")
    record = json.loads(dead_letter.read_text())
    assert dead_letter.name == f"{descriptor().id}.json"
    assert record["id"] == descriptor().id
    assert (record["camera"], record["sequence"], record["format"]) == ("door", 7, "gray")
    assert record["why"] == "ValueError: x\n"
    assert record["timestamp"] == "2025-07-27T09:31:41.224000+00:00"


def test_files_are_their_owners_alone(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    before = os.umask(0)
    try:
        dead_letter = save_dead_letter(tmp_path / "letters", descriptor(), layout, noise(layout), "why")
    finally:
        os.umask(before)
    assert stat.S_IMODE(dead_letter.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in dead_letter.parent.iterdir()} == {0o600}


def test_second_letter_of_a_frame_does_not_replace_the_first(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    dead_letters = [save_dead_letter(tmp_path, descriptor(), layout, noise(layout), why) for why in ("first", "second")]
    assert [json.loads(dead_letter.read_text())["why"] for dead_letter in dead_letters] == ["first", "second"]
    assert dead_letters[1].stem == f"{dead_letters[0].stem}-2"


def test_oldest_letters_go_and_other_files_stay(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    (tmp_path / "notes.json").write_text("mine")
    for sequence in range(6):
        dead_letter = save_dead_letter(tmp_path, descriptor(sequence), layout, noise(layout), "why", dead_letters_max=3)
        for path in (dead_letter, dead_letter.with_suffix(".pgm")):
            os.utime(path, ns=(sequence, sequence))
    save_dead_letter(tmp_path, descriptor(6), layout, noise(layout), "why", dead_letters_max=3)
    assert sorted(json.loads(path.read_text())["sequence"] for path in tmp_path.glob("1*.json")) == [4, 5, 6]
    assert len(list(tmp_path.iterdir())) == 7
    assert (tmp_path / "notes.json").read_text() == "mine"


def test_strange_camera_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    layout = PictureLayout("gray", 8, 8)
    dead_letter = save_dead_letter(tmp_path / "letters", descriptor(camera="../../x"), layout, noise(layout), "why")
    assert dead_letter.parent == tmp_path / "letters"
    assert dead_letter.is_file()


def test_slot_shorter_than_its_picture_is_saved_as_it_is(tmp_path: Path) -> None:
    dead_letter = save_dead_letter(tmp_path, descriptor(), PictureLayout("bgr24", 8, 8), b"abc", "why")
    assert dead_letter.with_suffix(".raw").read_bytes() == b"abc"


def test_letters_of_events_are_few_and_the_newest_and_push_out_no_frame_s(state_dir: Path) -> None:
    saved = [Path(save_event("demo", "motion.1", {"data": {"count": count}}, "disk full")) for count in range(150)]
    frame = saved[0].with_name("1753608701224_cam_cam_7_0123abcd.json")
    frame.touch()
    saved.append(Path(save_event("demo", "motion.1", {"data": {Path("x"): b"y"}.items()}, "no key of JSON's")))
    assert sorted(saved[0].parent.iterdir()) == sorted([frame, *saved[-LETTERS_MAX:]])
    assert json.loads(saved[-2].read_text()) == {"event": {"data": {"count": 149}}, "why": "disk full"}
    assert stat.S_IMODE(saved[-1].stat().st_mode) == 0o600
