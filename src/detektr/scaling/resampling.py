"""Which samples a scaled picture is made of: tables for each axis, and the sums by them. No clock, no file.

The tables are those of OpenCV's `resize`, which models are trained with: `linear` looks at two samples of each axis
whatever the scale, and does not blur as FFmpeg's bilinear scaler does when it makes pictures smaller.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detektr.scaling import kernel

INTERPOLATIONS = ("linear", "area", "cubic", "nearest")
ALIASES = {"bilinear": "linear", "bicubic": "cubic", "point": "nearest"}  # FFmpeg's names of nearly the same
CUBIC = -0.75  # OpenCV's; how far the curve dips below
TABLES_MAX = 64
_FIXED_POINT = 1 << 16
_COLOUR = {  # of ITU-T H.273, as FFmpeg has them: v to red, u to blue, u to green, v to green, times 65536
    "bt601": (104597, 132201, 25675, 53279),
    "bt709": (117489, 138438, 13975, 34925),
    "bt2020": (110013, 140363, 12277, 42626),
    "smpte240m": (117579, 136230, 16907, 35559),
    "fcc": (104448, 132798, 24759, 53109),
}
Array = npt.NDArray[Any]


class Taps(NamedTuple):
    """What the samples of one axis are made of."""

    places: npt.NDArray[np.int32]
    """(taps, samples): which samples of the source."""
    weights: npt.NDArray[np.float32]
    """(taps, samples): their shares, which add up to 1."""


def interpolation_name(text: str) -> str:
    """Return the one name of an interpolation, aliases resolved.

    Raises:
        ValueError: no such interpolation here; names those there are.
    """
    name = ALIASES.get(text.lower(), text.lower())
    if name not in INTERPOLATIONS:
        raise ValueError(f"interpolation {text!r} is not known; known are {', '.join(INTERPOLATIONS)}")
    return name


@lru_cache(TABLES_MAX)
def taps(source: int, target: int, interpolation: str) -> Taps:
    """Return what `target` samples of an axis are made of where there are `source` of them.

    Args:
        source: samples that there are.
        target: samples that are asked for.
        interpolation: one of `INTERPOLATIONS`, or `stretch`.
    """
    step = 1 / (target / source)  # rounded as OpenCV rounds it: which sample is the nearest hangs on the last bit
    begin = np.arange(target) * step
    if interpolation == "nearest" or source == target:
        places, weights = np.floor(begin)[None], np.ones((1, target))
    elif interpolation == "area":
        places = np.floor(begin) + np.arange(int(np.ceil(step)) + 1)[:, None]
        weights = np.minimum(begin + step, places + 1) - np.maximum(begin, places)
        weights = np.where(places < source, np.maximum(weights, 0), 0)
        weights[weights < 1e-6 * step] = 0
    elif interpolation == "stretch":
        first = np.floor(begin)
        share = np.arange(1, target + 1) - (first + 1) / step
        share = np.where(share <= 0, 0, share - np.floor(share))
        places, weights = np.stack([first, first + 1]), np.stack([1 - share, share])
    else:
        middle = (np.arange(target) + 0.5) * step - 0.5
        first = np.floor(middle)
        share = middle - first
        if interpolation == "linear":
            share = np.where((first < 0) | (first >= source - 1), 0, share)
            places, weights = np.stack([first, first + 1]), np.stack([1 - share, share])
            places[0] = np.clip(places[0], 0, source - 1)
        else:
            places = first + np.arange(-1, 3)[:, None]
            weights = _cubic(np.abs(middle - places))
    used = weights.any(axis=1)
    places, weights = np.clip(places[used], 0, source - 1), weights[used]
    found = Taps(
        np.ascontiguousarray(places, np.int32), np.ascontiguousarray(weights / weights.sum(axis=0), np.float32)
    )
    for table in found:
        table.flags.writeable = False  # it is kept for others
    return found


def scale_pixels(pixels: Array, target: Array, interpolation: str) -> None:
    """Scale one plane, or pixels that lie side by side.

    Args:
        pixels: (rows, columns) or (rows, columns, channels), uint8 or uint16.
        target: C-contiguous, of the same kind in the size that is asked for; it is written over.
        interpolation: one of `INTERPOLATIONS`.
    """
    columns, rows = _axes(pixels, target, interpolation)
    if kernel.scale_pixels(target, pixels, *columns, *rows):
        return
    across = (1, -1, *(1,) * (pixels.ndim - 2))
    down = (-1, *(1,) * (pixels.ndim - 1))
    tall: Array = np.zeros((target.shape[0], *pixels.shape[1:]), np.float32)
    for place, weight in zip(*rows, strict=True):
        tall += pixels[place] * weight.reshape(down)
    sums: Array = np.zeros(target.shape, np.float32)
    for place, weight in zip(*columns, strict=True):
        sums += tall[:, place] * weight.reshape(across)
    np.copyto(target, np.clip(np.rint(sums), 0, np.iinfo(target.dtype).max), casting="unsafe")


def scale_yuv(
    planes: tuple[Array, ...],
    target: Array,
    interpolation: str,
    matrix: tuple[int, int, int, int, int, int],
    *,
    is_rgb: bool,
) -> bool:
    """Convert and scale at once, reading only what is needed.

    Args:
        planes: of yuv420p of even height, or of yuv422p.
        target: C-contiguous (rows, columns, 3), uint8, in the size that is asked for; it is written over.
        interpolation: one of `INTERPOLATIONS`.
        matrix: as `yuv_matrix` gives it.
        is_rgb: red first; else blue first.
    Returns:
        False: nothing is compiled that could; nothing was written.
    """
    columns, rows = _axes(planes[0], target, interpolation)
    y, u, v = planes
    return kernel.scale_yuv(target, y, u, v, matrix, is_rgb, *columns, *rows)


@lru_cache(TABLES_MAX)
def yuv_matrix(name: str, *, is_full_range: bool) -> tuple[int, int, int, int, int, int]:
    """Return how FFmpeg's fast conversion makes colours of yuv420p and yuv422p, in its fixed point.

    Args:
        name: of the matrix, one out of `picture.MATRICES`.
        is_full_range: whether brightness is from 0 to 255.
    Returns:
        What is taken off y, times 8; then, times 8192, y's share in all, v's in red, u's in blue, u's and v's in green.
    """
    red, blue, green_u, green_v = _COLOUR[name]
    shares, light, black = [red, blue, -green_u, -green_v], _FIXED_POINT, 0
    if is_full_range:
        shares = [int(share * 224 / 255) for share in shares]  # towards 0, as in C
    else:
        light, black = light * 255 // 219, 16 << 16
    rounded = [(share * 8192 + _FIXED_POINT // 2) >> 16 for share in (light, *shares)]
    return (black * 8) >> 16, rounded[0], rounded[1], rounded[2], rounded[3], rounded[4]


def _axes(pixels: Array, target: Array, interpolation: str) -> tuple[Taps, Taps]:
    """Return the tables of columns and of rows."""
    (rows, columns), (rows_asked, columns_asked) = pixels.shape[:2], target.shape[:2]
    if interpolation == "area" and (rows_asked > rows or columns_asked > columns):
        interpolation = "stretch"  # where there is nothing to take the mean of, OpenCV draws pixels without overlap
    return taps(columns, columns_asked, interpolation), taps(rows, rows_asked, interpolation)


def _cubic(distance: Array) -> Array:
    near = ((CUBIC + 2) * distance - (CUBIC + 3)) * distance * distance + 1
    far = ((CUBIC * distance - 5 * CUBIC) * distance + 8 * CUBIC) * distance - 4 * CUBIC
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
