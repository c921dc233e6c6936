"""Scaling pictures of bytes without touching a sample that the result does not need.

`kernel.c` is this module where it was compiled; elsewhere this file is, which leaves all to numpy and to FFmpeg
(`resampling.py` and `frame.py`): slower, and the same within a level.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]
Samples = npt.NDArray[Any]


def scale_pixels(
    target: Samples,
    pixels: Samples,
    columns: Places,
    column_weights: Weights,
    rows: Places,
    row_weights: Weights,
    /,
) -> bool:
    """Write weighted sums of `pixels` into `target`.

    Args:
        target: C-contiguous (rows, columns) or (rows, columns, 1 to 4 channels), uint8.
        pixels: the same of another size; the bytes of each of its rows lie side by side.
        columns: (taps, columns of the target): which columns of the source each one is made of.
        column_weights: their shares, of the same shape.
        rows: as `columns`, for rows.
        row_weights: their shares.
    Returns:
        False: these are no such bytes, or nothing is compiled; nothing was written.
    """
    return False


def scale_yuv(
    target: Samples,
    y: Samples,
    u: Samples,
    v: Samples,
    matrix: tuple[int, int, int, int, int, int],
    is_rgb: bool,
    columns: Places,
    column_weights: Weights,
    rows: Places,
    row_weights: Weights,
    /,
) -> bool:
    """Convert yuv420p of even height, or yuv422p, to what is asked for and write weighted sums of that into `target`.

    Args:
        target: C-contiguous (rows, columns, 3), uint8.
        y: (rows, columns) uint8, with the bytes of each row side by side.
        u: the same of half the columns, and of half the rows in yuv420p.
        v: as `u`.
        matrix: as `scaling.yuv_matrix` gives it.
        is_rgb: red first; else blue first.
        columns: and the rest as in `scale_pixels`.
        column_weights: see there.
        rows: see there.
        row_weights: see there.
    Returns:
        False: nothing is compiled; nothing was written.
    """
    return False
