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
from detektr.memory.ring import create_ring
from detektr.nodes.dead_letter import PICTURES_MAX, DeadLetters, save_picture
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


