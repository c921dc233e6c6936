"""Pictures on their way into a slot: each copied once, past the caches, and as it is."""

from __future__ import annotations

import av
import numpy as np
import pytest
from av import VideoFrame

from detektr.frame import UInt8Array
from detektr.options import CaptureOptions
from detektr.picture import PictureLayout
from detektr.sources.decoding.decoded_picture import ArrayPicture, DecodedPicture, FormatConverter
from tests.harness.interpreted import interpreted

(decoded,) = interpreted("detektr.sources.decoding.decoded_picture")  # for stand-ins
HD, VGA = (1080, 1920, 3), (480, 640, 3)


def picture(shape: tuple[int, ...]) -> UInt8Array:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("shape", [HD, VGA, (480, 640)])
def test_an_array_is_copied_once_past_the_caches(monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...]) -> None:
    copies: list[tuple[UInt8Array, UInt8Array]] = []
    monkeypatch.setattr(decoded, "stream", lambda target, source: copies.append((target, source)))
    height, width = shape[:2]
    source = picture(shape)
    slot, name = np.zeros(source.size, np.uint8), "gray" if len(shape) == 2 else "bgr24"
    decoded.ArrayPicture(source, PictureLayout(name, width, height)).write(slot)
    assert [(target.shape, origin is source) for target, origin in copies] == [(shape, True)]
    assert not slot.any(), "by nobody else"


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (640, 360)])
def test_each_plane_of_a_decoded_picture_is_copied_once_past_the_caches(
    monkeypatch: pytest.MonkeyPatch, width: int, height: int
) -> None:
    copies: list[tuple[UInt8Array, UInt8Array]] = []
    monkeypatch.setattr(decoded, "stream", lambda target, source: copies.append((target, source)))
    frame = VideoFrame.from_ndarray(picture((height * 3 // 2, width)), "yuv420p")
    layout = PictureLayout("yuv420p", width, height)
    slot = np.zeros(layout.nbytes, np.uint8)
    decoded.DecodedPicture(frame, layout).write(slot)
    assert [target.shape for target, _ in copies] == [(rows, count) for _, count, rows, _ in layout.planes]
    assert not slot.any(), "by nobody else"


@pytest.mark.parametrize("shape", [HD, VGA, (1080, 1921, 3), (3, 5, 3)])
def test_a_picture_of_any_strides_arrives_as_it_is(shape: tuple[int, ...]) -> None:
    height, width = shape[:2]
    for source in (
        picture(shape),
        picture(shape)[::-1],
        picture(shape)[:, ::-1],
        picture((height, width * 2, 3))[:, ::2],
    ):
        slot = np.zeros(height * width * 3, np.uint8)
        ArrayPicture(source, PictureLayout("bgr24", width, height)).write(slot)
        assert np.array_equal(slot.reshape(shape), source)


@pytest.mark.parametrize("name", ["rgba", "bgra"])
def test_four_channels_are_whole_at_widths_that_are_no_multiple_of_eight(name: str) -> None:
    with av.open("testsrc2=size=642x362", format="lavfi") as container:
        frame = next(container.decode(video=0)).reformat(format="yuv420p")
    slots = []
    for target in (name, "rgb24" if name == "rgba" else "bgr24"):
        fitted, layout = FormatConverter(CaptureOptions(source="x", format=target)).fit(frame)
        slot = np.zeros(layout.nbytes, np.uint8)
        DecodedPicture(fitted, layout).write(slot)
        slots.append(slot.reshape(362, 642, -1))
    assert np.array_equal(slots[0][:, :, :3], slots[1])
    assert slots[0][:, :, 3].min() == 255
