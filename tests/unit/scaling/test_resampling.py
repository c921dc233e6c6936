"""Scaled pictures: what OpenCV's `resize` gives, by the compiled kernel as by numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

import detektr.memory.journal
from detektr.scaling import kernel as installed_kernel
from detektr.scaling import resampling
from detektr.scaling.resampling import INTERPOLATIONS, interpolation_name, taps, yuv_matrix
from tests.harness.interpreted import interpreted

(PYTHON,) = interpreted("detektr.scaling.kernel")
IS_COMPILED = Path(str(installed_kernel.__file__)).suffix == ".so"
EACH = pytest.mark.parametrize("kernel", [PYTHON, *([installed_kernel] if IS_COMPILED else [])])
PICTURE = ((np.arange(7)[:, None] * 57 + np.arange(11)[None] * 91) ** 2 % 256).astype(np.uint8)
OPENCV = {  # what OpenCV 5.0 gives for PICTURE at 5x3 and at 4x9
    "linear": (
        [[123, 73, 59, 64, 139], [44, 51, 196, 53, 150], [95, 107, 35, 170, 33]],
        [
            *([78, 102, 86, 60], [124, 96, 91, 119], [109, 90, 97, 117], [55, 70, 91, 91], [39, 17, 50, 138]),
            *([98, 39, 85, 61], [87, 62, 121, 21], [81, 65, 137, 29], [113, 45, 127, 73]),
        ],
    ),
    "area": (
        [[101, 72, 110, 65, 120], [81, 82, 100, 68, 103], [116, 117, 55, 136, 51]],
        [
            *([57, 39, 140, 47], [127, 78, 92, 95], [131, 59, 106, 104], [89, 16, 138, 93], [44, 32, 69, 98]),
            *([81, 112, 44, 28], [76, 101, 79, 26], [89, 92, 96, 46], [145, 116, 66, 77]),
        ],
    ),
    "cubic": (
        [[140, 79, 36, 67, 160], [27, 51, 196, 54, 163], [75, 105, 29, 179, 16]],
        [
            *([74, 95, 77, 49], [142, 107, 100, 132], [122, 104, 110, 127], [37, 56, 81, 88], [27, 0, 36, 146]),
            *([103, 18, 82, 63], [81, 64, 141, 0], [63, 65, 156, 18], [111, 31, 133, 80]),
        ],
    ),
    "nearest": (
        [[0, 100, 144, 132, 64], [196, 64, 132, 144, 100], [16, 164, 0, 36, 16]],
        [
            *([0, 100, 177, 64], [0, 100, 177, 64], [177, 33, 0, 33], [196, 64, 177, 100], [57, 193, 196, 9]),
            *([57, 193, 196, 9], [16, 164, 57, 16], [73, 233, 16, 121], [228, 144, 73, 68]),
        ],
    ),
}
SHAPES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def scaled(
    kernel: Any, pixels: npt.NDArray[Any], rows: int, columns: int, interpolation: str, monkeypatch: pytest.MonkeyPatch
) -> npt.NDArray[Any]:
    monkeypatch.setattr(resampling, "kernel", kernel)
    target = np.zeros((rows, columns, *pixels.shape[2:]), pixels.dtype)
    resampling.scale_pixels(pixels, target, interpolation)
    return target


def test_it_is_compiled_where_the_rest_is() -> None:
    assert (Path(str(detektr.memory.journal.__file__)).suffix == ".so") == IS_COMPILED


@EACH
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
def test_a_scaled_picture_is_what_opencv_gives(
    kernel: Any, interpolation: str, channels: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = PICTURE if channels is None else np.repeat(PICTURE[:, :, None], channels, 2)
    for (rows, columns), expected in zip(((3, 5), (9, 4)), OPENCV[interpolation], strict=True):
        found = scaled(kernel, pixels, rows, columns, interpolation, monkeypatch)
        each = [found] if channels is None else [found[:, :, channel] for channel in range(channels)]
        for one in each:
            assert np.abs(one.astype(int) - np.array(expected)).max() <= (0 if interpolation == "nearest" else 1)


@pytest.mark.skipif(not IS_COMPILED, reason="there is only the Python file")
@given(SHAPES, SHAPES, st.sampled_from(INTERPOLATIONS), st.integers(1, 4), st.booleans())
def test_compiled_and_numpy_agree(
    shape: tuple[int, int], asked: tuple[int, int], interpolation: str, channels: int, is_cut: bool
) -> None:
    pixels = np.random.default_rng(shape).integers(0, 256, (shape[0], shape[1] + 3, channels), dtype=np.uint8)
    pixels = pixels[:, : shape[1]] if is_cut else np.ascontiguousarray(pixels[:, : shape[1]])
    with pytest.MonkeyPatch.context() as patch:
        python = scaled(PYTHON, pixels, *asked, interpolation, patch)
        compiled = scaled(installed_kernel, pixels, *asked, interpolation, patch)
    assert np.abs(python.astype(int) - compiled.astype(int)).max() <= 1


@EACH
def test_sixteen_bits_keep_their_depth(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.array([[0, 65535], [65535, 0]], np.uint16)
    assert scaled(kernel, pixels, 1, 1, "linear", monkeypatch)[0, 0] in (32767, 32768)


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from((*INTERPOLATIONS, "stretch")))
def test_shares_add_up_to_one_and_no_sample_is_outside(source: int, target: int, interpolation: str) -> None:
    places, weights = taps(source, target, interpolation)
    assert places.shape == weights.shape == (len(places), target)
    assert places.min() >= 0 and places.max() < source
    assert np.allclose(weights.sum(axis=0), 1, atol=1e-5)


@pytest.mark.skipif(not IS_COMPILED, reason="the Python file reads no memory of its own")
@pytest.mark.parametrize("place", [-1, 5])
def test_a_sample_outside_the_picture_is_refused_before_any_is_read(place: int) -> None:
    pixels, target = np.zeros((4, 5), np.uint8), np.zeros((4, 1), np.uint8)
    column = np.array([[place]], np.int32), np.ones((1, 1), np.float32)
    with pytest.raises(ValueError, match="is not one of 5"):
        installed_kernel.scale_pixels(target, pixels, *column, *taps(4, 4, "linear"))


def test_names_of_ffmpeg_are_understood_and_others_refused_with_the_known() -> None:
    assert [interpolation_name(name) for name in ("BILINEAR", "bicubic", "Area")] == ["linear", "cubic", "area"]
    with pytest.raises(ValueError, match="'lanczos' is not known; known are linear, area, cubic, nearest"):
        interpolation_name("lanczos")


def test_limited_range_stretches_brightness_and_full_range_does_not() -> None:
    assert yuv_matrix("bt601", is_full_range=False)[:2] == (128, 9539)
    assert yuv_matrix("bt601", is_full_range=True)[:2] == (0, 8192)
