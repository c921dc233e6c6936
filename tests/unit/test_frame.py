from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

from detektr.descriptor import Descriptor
from detektr.errors import LeaseOverError
from detektr.frame import Frame, plane_rows
from detektr.picture import FORMATS, PictureLayout
from detektr.scaling.resampling import INTERPOLATIONS, scale_pixels

SIZES = [(642, 362), (641, 361), (320, 180)]
DESCRIPTOR = Descriptor("cam", "cam", 1, 2, 3, 1, 7, time.monotonic_ns(), 1753608701224_000_000, 512)


@pytest.fixture(scope="module")
def original() -> av.VideoFrame:
    with av.open("testsrc2=size=640x360:rate=30", format="lavfi") as container:
        return next(container.decode(video=0))


Render = Callable[[str, int, int], tuple[av.VideoFrame, Frame]]


@pytest.fixture
def render(original: av.VideoFrame) -> Render:
    def make(name: str, width: int, height: int) -> tuple[av.VideoFrame, Frame]:
        picture = original.reformat(width, height, name)
        layout = PictureLayout(name, width, height)
        slot = np.zeros(layout.nbytes + 64, np.uint8)  # slots are rounded up to pages
        for plane, place in zip(picture.planes, layout.planes, strict=True):
            rows = slot[place.offset : place.offset + place.row_bytes * place.rows].reshape(place.rows, -1)
            rows[:] = plane_rows(plane, place.rows, place.row_bytes)
        slot.flags.writeable = False
        return picture, Frame(DESCRIPTOR, layout, slot, 1, Fraction(1, 12288))

    return make


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_colour_is_that_of_ffmpeg_in_every_format_and_size(render: Render, name: str, width: int, height: int) -> None:
    picture, frame = render(name, width, height)
    assert np.array_equal(frame.bgr, picture.to_ndarray(format="bgr24"))
    assert np.array_equal(frame.rgb, picture.to_ndarray(format="rgb24"))
    assert frame.bgr.flags.c_contiguous
    assert not np.shares_memory(frame.bgr, frame.pixels)
    assert frame.bgr is frame.bgr


@pytest.mark.parametrize("name", [name for name, known in FORMATS.items() if known.luma_shift == 0])
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_gray_is_the_slots_own_luma(render: Render, name: str, width: int, height: int) -> None:
    picture, frame = render(name, width, height)
    luma = plane_rows(picture.planes[0], height, picture.planes[0].line_size)
    luma = luma[:, : 2 * width : 2] if name == "yuyv422" else luma[:, :width]
    assert np.array_equal(frame.gray, luma)
    assert np.shares_memory(frame.gray, frame.pixels) == (name != "yuyv422")


@pytest.mark.parametrize("name", ["yuv420p10le", "p010le", "gray10le", "gray16le"])
def test_gray_of_more_bits_is_their_upper_eight(render: Render, name: str) -> None:
    _, frame = render(name, 642, 362)
    samples = frame.planes[0].astype(np.uint32) << (6 if name in ("yuv420p10le", "gray10le") else 0)
    assert frame.gray.dtype == np.uint8
    assert np.array_equal(frame.gray, samples >> 8)


def test_gray_of_colour_is_computed(render: Render) -> None:
    _, frame = render("bgr24", 641, 361)
    blue, green, red = np.moveaxis(frame.pixels.astype(float), 2, 0)
    assert frame.gray.shape == (361, 641)
    assert np.abs(frame.gray - (0.114 * blue + 0.587 * green + 0.299 * red)).max() < 3


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("yuv420p", (543, 642), np.uint8),
        ("nv12", (543, 642), np.uint8),
        ("p010le", (543, 642), np.uint16),
        ("bgr24", (362, 642, 3), np.uint8),
        ("rgba", (362, 642, 4), np.uint8),
        ("gray", (362, 642), np.uint8),
        ("yuyv422", (362, 642, 2), np.uint8),
        ("yuv444p", (3 * 362 * 642,), np.uint8),
    ],
)
def test_pixels_are_a_read_only_view_in_the_shape_opencv_expects(
    render: Render, name: str, shape: tuple[int, ...], dtype: npt.DTypeLike
) -> None:
    _, frame = render(name, 642, 362)
    assert (frame.pixels.shape, frame.pixels.dtype) == (shape, dtype)
    assert not frame.pixels.flags.writeable
    assert not frame.pixels.flags.owndata


def test_writeable_slot_gives_read_only_views() -> None:
    layout = PictureLayout("gray", 4, 4)
    slot = np.zeros(layout.nbytes, np.uint8)
    frame = Frame(DESCRIPTOR, layout, slot, 1, None)
    views: list[npt.NDArray[Any]] = [frame.pixels, frame.gray, *frame.planes]
    assert [view.flags.writeable for view in views] == [False, False, False]
    assert slot.flags.writeable


def test_odd_yuv_is_one_dimensional_and_its_planes_are_not(render: Render) -> None:
    _, frame = render("nv12", 641, 361)
    assert frame.pixels.shape == (641 * 361 + 642 * 181,)
    assert [plane.shape for plane in frame.planes] == [(361, 641), (181, 321, 2)]


def test_to_scales_and_gray_keeps_the_cameras_range(render: Render) -> None:
    _, frame = render("yuv420p", 642, 362)
    assert frame.to("bgr24", 320, 180).shape == (180, 320, 3)
    assert frame.to("rgb24", width=321).shape == (362, 321, 3)
    assert np.array_equal(frame.to("gray8"), frame.gray)
    assert abs(float(frame.to("gray", 320, 180).mean()) - float(frame.gray.mean())) < 1
    same = frame.to("yuv420p")
    assert np.array_equal(same, frame.pixels)
    assert same.flags.writeable


def test_full_range_white_stays_white() -> None:
    for name, is_full, white in (("yuv420p", False, 235), ("yuvj420p", False, 255), ("nv12", True, 255)):
        layout = PictureLayout(name, 16, 16, is_full_range=is_full)
        slot = np.full(layout.nbytes, 128, np.uint8)
        slot[:256] = white
        assert Frame(DESCRIPTOR, layout, slot, 1, None).bgr.min() >= 254, name


def test_a_conversion_keeps_the_range_that_its_name_says() -> None:
    layout = PictureLayout("nv12", 16, 16, is_full_range=True)
    slot = np.full(layout.nbytes, 128, np.uint8)
    slot[:256] = 255
    frame = Frame(DESCRIPTOR, layout, slot, 1, None)
    assert frame.to("nv12")[:16].min() == frame.to("nv12", 8, 8)[:8].min() == 255  # as the slot has it
    assert frame.to("yuv420p")[:16].max() == 235
    assert frame.to("yuvj420p")[:16].min() == 255
    assert frame.gray.min() == 255


def test_conversions_of_several_layouts_in_turn_do_not_mix(render: Render) -> None:
    first, second = render("yuv420p", 642, 362), render("nv12", 320, 180)
    for _ in range(2):
        for picture, frame in (first, second):
            assert np.array_equal(frame.to("bgr24"), picture.to_ndarray(format="bgr24"))


def test_kept_colour_outlives_later_conversions(render: Render) -> None:
    _, frame = render("yuv420p", 640, 360)
    kept = frame.bgr
    before = kept.copy()
    for _ in range(5):
        frame.to("bgr24")[:] = 0
    assert np.array_equal(kept, before)


def test_closed_frame_says_that_its_lease_is_over_and_keeps_its_facts(render: Render) -> None:
    _, frame = render("yuv420p", 320, 180)
    _ = frame.bgr, frame.gray
    frame.close()
    for ask in (lambda: frame.pixels, lambda: frame.gray, lambda: frame.bgr, lambda: frame.planes, frame.to):
        with pytest.raises(LeaseOverError, match=r"_cam_cam_7_.*lease is over.*copy what you keep"):
            ask()
    assert (frame.sequence, frame.epoch, frame.pts, frame.delivery) == (7, 2, 512, 1)
    assert frame.id.startswith("1753608701224_cam_cam_7_")
    assert frame.timestamp.isoformat() == "2025-07-27T09:31:41.224000+00:00"
    assert frame.age_ns > 0


def test_slot_smaller_than_its_picture_is_refused_with_both_sizes() -> None:
    with pytest.raises(ValueError, match="slot of 10 bytes cannot hold a picture of 24 bytes"):
        Frame(DESCRIPTOR, PictureLayout("yuv420p", 4, 4), np.zeros(10, np.uint8), 1, None)


def test_unknown_target_format_is_refused(render: Render) -> None:
    with pytest.raises(ValueError, match="'bgr565' is not known"):
        render("gray", 320, 180)[1].to("bgr565")


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_scaled_frame_is_the_converted_frame_scaled(
    render: Render, name: str, width: int, height: int, interpolation: str
) -> None:
    """What models are trained with; a scaler that blurs finds a third fewer faces."""
    _, frame = render(name, width, height)
    for target in ("bgr24", "rgb24", "rgba", "gray"):
        expected = np.zeros((128, 223, *frame.to(target).shape[2:]), np.uint8)
        scale_pixels(frame.to(target), expected, interpolation)
        found = frame.to(target, 223, 128, interpolation)
        assert found.shape == expected.shape and found.flags.c_contiguous and found.flags.writeable
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


def test_small_pictures_are_not_blurred() -> None:
    """Of columns that are black and white in turn, every third is shown as it is; a mean would be grey."""
    layout = PictureLayout("gray", 96, 6)
    slot = np.tile(np.array([0, 255], np.uint8), layout.nbytes // 2)
    frame = Frame(DESCRIPTOR, layout, slot, 1, None)
    assert set(np.unique(frame.to("gray", 32, 2))) == {0, 255}
    assert set(np.unique(frame.to("gray", 32, 2, "area"))) == {85, 170}


@pytest.mark.parametrize("target", ["yuv420p", "nv12", "yuv444p", "yuyv422", "yuv420p10le", "p010le"])
@pytest.mark.parametrize("name", ["yuv420p", "nv12", "yuyv422", "bgr24", "p010le"])
def test_planes_are_scaled_before_they_are_converted(render: Render, name: str, target: str) -> None:
    _, frame = render(name, 642, 362)
    smaller = frame.to(target, 320, 180)
    layout = PictureLayout(target, 320, 180)
    assert smaller.shape == layout.shape
    flat = np.ascontiguousarray(smaller).view(np.uint8).reshape(-1)
    back = Frame(DESCRIPTOR, layout, flat, 1, None).bgr
    assert np.abs(back.astype(int) - frame.to("bgr24", 320, 180).astype(int)).mean() < 8


@pytest.mark.parametrize("target", ["rgba", "bgra"])
@pytest.mark.parametrize(("width", "height"), [(642, 362), (641, 360), (644, 362)])
def test_four_channels_are_whole_at_widths_that_are_no_multiple_of_eight(
    render: Render, target: str, width: int, height: int
) -> None:
    _, frame = render("yuv420p", width, height)
    found = frame.to(target)
    assert np.array_equal(found[:, :, :3], frame.to("rgb24" if target == "rgba" else "bgr24"))
    assert found[:, :, 3].min() == 255


def test_to_ndarray_is_to_under_the_name_and_with_the_default_of_pyav(render: Render) -> None:
    picture, frame = render("yuv420p", 642, 362)
    assert np.array_equal(frame.to_ndarray(), picture.to_ndarray())
    found = frame.to_ndarray(format="rgb24", width=320, height=180, interpolation="AREA")
    assert np.array_equal(found, frame.to("rgb24", 320, 180, "area"))
    with pytest.raises(ValueError, match="interpolation 'sinc' is not known"):
        frame.to(interpolation="sinc")
