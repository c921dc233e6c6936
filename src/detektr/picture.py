"""The layout of a picture in a slot: planes, row bytes and sizes of each pixel format. No pixels, no numpy."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SIDE_PIXELS_MAX = 16384  # what `width` and `height` of a capture allow


class PlaneFormat(NamedTuple):
    """One plane of a pixel format: its elements stand for `1 << shift` pixels of each axis, rounded up."""

    shift_x: int
    shift_y: int
    channels: int


class PixelFormat(NamedTuple):
    """A pixel format; shifted right by `luma_shift` bits its first samples are 8-bit grey (None: it has no luma)."""

    planes: tuple[PlaneFormat, ...]
    sample_bytes: int = 1
    luma_shift: int | None = 0


_FULL = PlaneFormat(0, 0, 1)
_420 = (_FULL, PlaneFormat(1, 1, 1), PlaneFormat(1, 1, 1))
_422 = (_FULL, PlaneFormat(1, 0, 1), PlaneFormat(1, 0, 1))
_444 = (_FULL, _FULL, _FULL)
_440 = (_FULL, PlaneFormat(0, 1, 1), PlaneFormat(0, 1, 1))
_411 = (_FULL, PlaneFormat(2, 0, 1), PlaneFormat(2, 0, 1))
_410 = (_FULL, PlaneFormat(2, 2, 1), PlaneFormat(2, 2, 1))
_NV = (_FULL, PlaneFormat(1, 1, 2))

FORMATS = MappingProxyType(
    {
        "yuv420p": PixelFormat(_420),
        "yuvj420p": PixelFormat(_420),
        "yuv422p": PixelFormat(_422),
        "yuvj422p": PixelFormat(_422),
        "yuv444p": PixelFormat(_444),
        "yuvj444p": PixelFormat(_444),
        "yuv440p": PixelFormat(_440),
        "yuvj440p": PixelFormat(_440),
        "yuv411p": PixelFormat(_411),
        "yuvj411p": PixelFormat(_411),
        "yuv410p": PixelFormat(_410),
        "nv12": PixelFormat(_NV),
        "nv21": PixelFormat(_NV),
        "gray": PixelFormat((_FULL,)),
        "bgr24": PixelFormat((PlaneFormat(0, 0, 3),), luma_shift=None),
        "rgb24": PixelFormat((PlaneFormat(0, 0, 3),), luma_shift=None),
        "bgra": PixelFormat((PlaneFormat(0, 0, 4),), luma_shift=None),
        "rgba": PixelFormat((PlaneFormat(0, 0, 4),), luma_shift=None),
        "yuyv422": PixelFormat((PlaneFormat(1, 0, 4),)),  # one element is two pixels: Y U Y V
        "yuv420p10le": PixelFormat(_420, sample_bytes=2, luma_shift=2),
        "yuv422p10le": PixelFormat(_422, sample_bytes=2, luma_shift=2),
        "yuv444p10le": PixelFormat(_444, sample_bytes=2, luma_shift=2),
        "yuv420p12le": PixelFormat(_420, sample_bytes=2, luma_shift=4),
        "yuv422p12le": PixelFormat(_422, sample_bytes=2, luma_shift=4),
        "yuv444p12le": PixelFormat(_444, sample_bytes=2, luma_shift=4),
        "yuv420p16le": PixelFormat(_420, sample_bytes=2, luma_shift=8),
        "yuv422p16le": PixelFormat(_422, sample_bytes=2, luma_shift=8),
        "yuv444p16le": PixelFormat(_444, sample_bytes=2, luma_shift=8),
        "p010le": PixelFormat(_NV, sample_bytes=2, luma_shift=8),  # its 10 bits are the upper ones
        "gray10le": PixelFormat((_FULL,), sample_bytes=2, luma_shift=2),
        "gray12le": PixelFormat((_FULL,), sample_bytes=2, luma_shift=4),
        "gray14le": PixelFormat((_FULL,), sample_bytes=2, luma_shift=6),
        "gray16le": PixelFormat((_FULL,), sample_bytes=2, luma_shift=8),
        "rgb48le": PixelFormat((PlaneFormat(0, 0, 3),), sample_bytes=2, luma_shift=None),
        "rgba64le": PixelFormat((PlaneFormat(0, 0, 4),), sample_bytes=2, luma_shift=None),
    }
)
"""Pixel formats that a ring can hold, by FFmpeg's name."""

MATRICES = MappingProxyType({"bt601": 5, "bt709": 1, "bt2020": 9, "smpte240m": 7, "fcc": 4})
"""How brightness and colour of a yuv format make red, green and blue: our name of it, and FFmpeg's number."""

ALIASES = MappingProxyType({"gray8": "gray", "bgr": "bgr24", "rgb": "rgb24"})


def format_name(text: str) -> str:
    """Return the one name of a pixel format, aliases resolved.

    Raises:
        ValueError: no such format here; names those there are.
    """
    name = ALIASES.get(text, text)
    if name not in FORMATS:
        raise ValueError(f"pixel format {text!r} is not known; known are {', '.join(FORMATS)}")
    return name


class Plane(NamedTuple):
    """One plane in a slot: `rows` rows of `row_bytes` bytes without padding, from byte `offset` on."""

    offset: int
    row_bytes: int
    rows: int
    channels: int


@dataclass(frozen=True)
class PictureLayout:
    """Where the planes of one picture lie: one after the other, without padding; odd sizes round chroma up.

    Args:
        format: an FFmpeg name out of `FORMATS`; `ALIASES` are resolved.
        width: in pixels.
        height: in pixels.
        matrix: one out of `MATRICES`; formats without separate colour have `bt601`, which means nothing there.
        is_full_range: brightness from 0 to the sample's most; False: from 16 to 235 of 255, as most video has it. The
            yuvj formats always have it, those without separate colour never say so.
    Raises:
        ValueError: format or matrix is not known, or a side is not 1 to `SIDE_PIXELS_MAX` pixels.
    """

    format: str
    width: int
    height: int
    matrix: str = "bt601"
    is_full_range: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "format", format_name(self.format))
        if self.matrix not in MATRICES:
            raise ValueError(f"colour matrix {self.matrix!r} is not known; known are {', '.join(MATRICES)}")
        if not self.has_matrix:
            object.__setattr__(self, "matrix", "bt601")
        is_full = self.has_matrix and (self.is_full_range or self.format.startswith("yuvj"))
        object.__setattr__(self, "is_full_range", is_full)
        for name, side in (("width", self.width), ("height", self.height)):
            if not 1 <= side <= SIDE_PIXELS_MAX:
                raise ValueError(f"picture {name} {side} is out of range; expected 1 to {SIDE_PIXELS_MAX} pixels")

    @cached_property
    def sample_bytes(self) -> int:
        """Bytes of one sample: 1, or 2 (little-endian) for more than 8 bits."""
        return FORMATS[self.format].sample_bytes

    @property
    def luma_shift(self) -> int | None:
        """Bits to shift a sample of the first plane right for 8-bit grey; None: the format has no luma."""
        return FORMATS[self.format].luma_shift

    @property
    def has_matrix(self) -> bool:
        """Whether the format is brightness and colour, so that its matrix means something."""
        return self.luma_shift is not None and not self.format.startswith("gray")

    @cached_property
    def planes(self) -> tuple[Plane, ...]:
        """The planes, in the order in which they lie."""
        planes, offset = [], 0
        for part in FORMATS[self.format].planes:
            row_bytes = -(-self.width >> part.shift_x) * part.channels * self.sample_bytes
            plane = Plane(offset, row_bytes, -(-self.height >> part.shift_y), part.channels)
            planes.append(plane)
            offset += plane.row_bytes * plane.rows
        return tuple(planes)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape, in samples, that OpenCV expects of the format; see `detektr.frame.shaped`."""
        width, height = self.width, self.height
        if self.format == "yuyv422" and width % 2 == 0:
            return height, width, 2
        if len(self.planes) == 1 and self.format != "yuyv422":
            channels = self.planes[0].channels
            return (height, width) if channels == 1 else (height, width, channels)
        count = self.nbytes // self.sample_bytes
        if count * 2 == width * height * 3 and width % 2 == height % 2 == 0:
            return height * 3 // 2, width
        return (count,)

    @cached_property
    def nbytes(self) -> int:
        """Bytes of the whole picture."""
        last = self.planes[-1]
        return last.offset + last.row_bytes * last.rows


class WritablePicture(Protocol):
    """A picture that can write itself into memory, once: what a ring takes."""

    @property
    def layout(self) -> PictureLayout:
        """How the picture will lie in a slot; may differ from the one before."""

    @property
    def pts(self) -> int | None:
        """Presentation time in units of `time_base`; None: it has none."""

    @property
    def time_base(self) -> Fraction | None:
        """Seconds of one unit of `pts`; None: there are no times."""

    @property
    def utc_ns(self) -> int | None:
        """When the picture was taken or came, in nanoseconds since 1970; None: now."""

    @property
    def received_ns(self) -> int | None:
        """Monotonic time at which its packet was read, in nanoseconds; None: now."""

    def write(self, slot: npt.NDArray[np.uint8]) -> None:
        """Copy the pixels, once, into a writeable 1-D uint8 array of `layout.nbytes` bytes."""
