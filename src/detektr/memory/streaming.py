"""Writing pictures into memory past the caches.

An ordinary store first reads the line of memory that it is about to write over, and keeps it in the caches; a streaming
store writes whole lines, and leaves the caches to others. Compiled for x86-64, this module is
`streaming.c`; elsewhere it is this file. Decision 0020 has the measurements.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def stream(target: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8], /) -> None:
    """Copy an array, as `target[...] = source` does; when it returns, every process sees the bytes.

    Args:
        target: writeable, of the shape of `source`.
        source: of any strides; streamed are rows whose bytes lie side by side, all else is copied by numpy.
    """
    target[...] = source


def use_wide(flag: bool, /) -> bool:
    """For tests: stream whole lines at once, by AVX-512, or not; returns whether that is done: nothing streams here."""
    return False
