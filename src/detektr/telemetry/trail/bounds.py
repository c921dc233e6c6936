"""How long the trail is kept, and in how many bytes; and what a row takes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SEGMENT_BYTES_MAX: Final = 256 << 20
PARTS: Final = 8  # a segment has at most this part of all bytes, and of all the time
SEGMENT_S_MIN: Final = 3600
OPERATION_BYTES: Final = 300  # of one record of an operation
ROW_BYTES: Final = {"sqlite": 80, "redis": 100}  # measured: scripts/bench trail


@dataclass(frozen=True)
class Bounds:
    """The bounds of one trail."""

    keep_s: float
    bytes_max: int

    @property
    def segment_bytes(self) -> int:
        """Size at which a segment is full."""
        return min(SEGMENT_BYTES_MAX, self.bytes_max // PARTS)

    @property
    def segment_s(self) -> float:
        """Age at which a segment is closed, however small it is."""
        return max(SEGMENT_S_MIN, self.keep_s / PARTS)

    @property
    def operations_max(self) -> int:
        """Most records of operations: a part of all bytes."""
        return max(1000, self.bytes_max // PARTS // OPERATION_BYTES)


BOUNDS: Final = Bounds(30 * 24 * 3600, 2 << 30)
