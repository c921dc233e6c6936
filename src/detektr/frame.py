"""The frame that a processor is given: facts at once, pixels as views of the slot, colour when it is asked for."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from detektr.descriptor import Descriptor
from detektr.errors import LeaseOverError
from detektr.picture import MATRICES, PictureLayout
from detektr.results import Results, unpack_results
from detektr.scaling.resampling import interpolation_name, scale_pixels, scale_yuv, yuv_matrix

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.plane import VideoPlane
    from av.video.reformatter import VideoReformatter

LIMITED_RANGE, FULL_RANGE = 1, 2  # AVCOL_RANGE_MPEG, AVCOL_RANGE_JPEG
OPAQUE = {"rgba": "rgb24", "bgra": "bgr24"}
LAYOUTS_MAX = 64
HALVED = ("yuv420p", "yuvj420p", "yuv422p", "yuvj422p")  # half the columns of colour, each in planes
Array = npt.NDArray[Any]
UInt8Array = npt.NDArray[np.uint8]


class Frame:
    """One frame under lease.

    The facts (id, sequence, times, sizes) stay readable for ever. `pixels`, `planes` and, for yuv and grey formats,
    `gray` are read-only views of the slot: right for as long as the lease lasts, which is until `process` returns.
    After that the frame says `LeaseOverError`; arrays that you kept cannot be taken back and may show another frame,
    so copy what you keep. `bgr`, `rgb` and what `to` returns are memory of their own.

    Args:
        descriptor: what was announced.
        layout: how the picture lies in the slot.
        slot: 1-D uint8 view of the slot, at least `layout.nbytes` long; never written to.
        delivery: which attempt at this frame it is: 1, 2, ...
        time_base: seconds of one unit of `pts`; None where the stream has none.
        is_first_here: the code that gets it begins with its camera.
        results: what the nodes before have returned for it, packed (`detektr.results`); empty: it was not passed on.
        missing: why branches that were joined have not passed it on, by node.
    Raises:
        ValueError: the slot is smaller than the picture.
    """

    __slots__ = (
        *("_bgr", "_descriptor", "_gray", "_rgb", "_slot", "_unpacked", "delivery", "is_first_here", "layout"),
        *("missing", "packed_results", "time_base"),
    )

    def __init__(
        self,
        descriptor: Descriptor,
        layout: PictureLayout,
        slot: UInt8Array,
        delivery: int,
        time_base: Fraction | None,
        *,
        is_first_here: bool = False,
        results: bytes = b"",
        missing: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        if slot.size < layout.nbytes:
            raise ValueError(
                f"frame {descriptor.id}: slot of {slot.size} bytes cannot hold a picture of {layout.nbytes} bytes"
            )
        self._descriptor = descriptor
        if slot.size != layout.nbytes or slot.flags.writeable:
            slot = slot[: layout.nbytes]
            slot.flags.writeable = False
        self._slot: UInt8Array | None = slot
        self._gray: UInt8Array | None = None
        self._bgr: UInt8Array | None = None
        self._rgb: UInt8Array | None = None
        self.layout, self.delivery, self.time_base = layout, delivery, time_base
        self.is_first_here = is_first_here
        """Whether this process begins with the camera: it has finished no frame of it, or others had it meanwhile."""
        self.missing = missing
        """With `join: frame`: why an input has not passed this frame on, by node: `filtered`, `dead_lettered`, ..."""
        self.packed_results = results
        self._unpacked: Results | None = None

    @property
    def results(self) -> Results:
        """What each node on the way has returned for this frame: a tuple of dicts by its name, in the order of the way.

        Empty for a frame of a capture. A node that returned nothing has an empty tuple. It stays readable for ever.
        """
        if self._unpacked is None:
            self._unpacked = unpack_results(self.packed_results)
        return self._unpacked

    @property
    def id(self) -> str:
        """`1753608701224_<node>_<camera>_<sequence>_<8 hex>`; the same at each delivery."""
        return self._descriptor.id

    @property
    def camera(self) -> str:
        """Name of the camera."""
        return self._descriptor.camera

    @property
    def node(self) -> str:
        """Name of the capture that wrote the frame."""
        return self._descriptor.node

    @property
    def sequence(self) -> int:
        """Count of the camera's frames since the pipeline was started, from 0; goes on over restarts of the capture."""
        return self._descriptor.sequence

    @property
    def epoch(self) -> int:
        """Life of the ring: a restart of the capture or a change of size begins a new one."""
        return self._descriptor.epoch

    @property
    def captured_ns(self) -> int:
        """Monotonic time of the capture, in nanoseconds."""
        return self._descriptor.captured_ns

    @property
    def timestamp(self) -> datetime.datetime:
        """Wall-clock time of the capture, in UTC."""
        return self._descriptor.timestamp

    @property
    def time(self) -> float:
        """Seconds on the media's clock since the camera's first frame of the run, for timers in your code.

        The same whether a file is read at its own pace or at full speed. It never goes back within a camera: not when
        the picture's size changes, the capture is restarted, a file is looped or the stream's own clock breaks.
        """
        return self._descriptor.time_ns / 1e9

    @property
    def pts(self) -> int | None:
        """Presentation time in units of `time_base`; None where the stream has none."""
        return self._descriptor.pts

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.layout.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.layout.height

    @property
    def format(self) -> str:
        """Pixel format in the slot, as FFmpeg names it."""
        return self.layout.format

    @property
    def age_ns(self) -> int:
        """Nanoseconds since the capture, on the monotonic clock."""
        return time.monotonic_ns() - self._descriptor.captured_ns

    @property
    def pixels(self) -> Array:
        """Read-only view of the slot, no copy: (H, W, 3) for bgr24 and rgb24, (H, W) for gray, see `shaped`."""
        return shaped(self._bytes(), self.layout)

    @property
    def planes(self) -> tuple[Array, ...]:
        """Read-only views of the planes, no copy: (rows, columns), or (rows, columns, channels) where interleaved."""
        return plane_views(self._bytes(), self.layout)

    @property
    def gray(self) -> UInt8Array:
        """(H, W) uint8: the slot's own luma, no copy, for 8-bit yuv and grey; computed once for other formats."""
        if self._gray is None:
            self._gray = self._luma()
        return self._gray

    @property
    def bgr(self) -> UInt8Array:
        """(H, W, 3) uint8, C-contiguous, its own memory; converted once."""
        if self._bgr is None:
            self._bgr = self.to("bgr24")
        return self._bgr

    @property
    def rgb(self) -> UInt8Array:
        """(H, W, 3) uint8, C-contiguous, its own memory; converted once."""
        if self._rgb is None:
            self._rgb = self.to("rgb24")
        return self._rgb

    def to(
        self,
        format: str = "bgr24",
        width: int | None = None,
        height: int | None = None,
        interpolation: str = "linear",
    ) -> Array:
        """Convert and scale into memory of its own.

        At another size it is what OpenCV's `resize` makes of the converted picture, which models are trained with:
        `linear` as its INTER_LINEAR, within 2 levels, and so on. Of yuv420p and yuv422p only the samples that the
        result needs are converted. Grey is scaled from `gray`, so its values are the camera's own luma at any size.

        Args:
            format: an FFmpeg name out of `detektr.picture.FORMATS`.
            width: in pixels; None: the frame's own.
            height: in pixels; None: the frame's own.
            interpolation: `linear`; `area` (the mean of all that a pixel covers: the calmest when much smaller),
                `cubic` or `nearest`.
        Returns:
            A C-contiguous array, writeable, shaped as `pixels` is for that format.
        Raises:
            ValueError: format or interpolation is not known, or a side is out of range.
            LeaseOverError: the frame's lease is over.
        """
        slot, source, interpolation = self._bytes(), self.layout, interpolation_name(interpolation)
        target = _layout(
            format,
            source.width if width is None else width,
            source.height if height is None else height,
            source.matrix,
            is_full_range=source.is_full_range and format == source.format,
        )
        if target.format == "gray" and source.luma_shift is not None:
            slot, source = self.gray.reshape(-1), PictureLayout("gray", source.width, source.height, source.matrix)
        if target == source:
            return shaped(slot.copy(), target)
        if (target.width, target.height) == (source.width, source.height):
            return _convert(slot, source, target)
        return _scale(slot, source, target, interpolation)

    def to_ndarray(
        self,
        format: str | None = None,
        width: int | None = None,
        height: int | None = None,
        interpolation: str = "linear",
    ) -> Array:
        """Convert and scale as `to` does, under the name that PyAV has for it; without a format: in the frame's own.

        Args:
            format: an FFmpeg name; None: the frame's own.
            width: see `to`.
            height: see `to`.
            interpolation: see `to`.
        Returns:
            See `to`.
        Raises:
            ValueError: see `to`.
            LeaseOverError: see `to`.
        """
        return self.to(format or self.format, width, height, interpolation)

    def close(self) -> None:
        """Let go of the slot; the facts stay, pixels raise `LeaseOverError` from now on."""
        self._slot = self._gray = self._bgr = self._rgb = None

    def __repr__(self) -> str:
        """Say which frame it is."""
        return f"<Frame {self.id} {self.format} {self.width}x{self.height} delivery {self.delivery}>"

    def _bytes(self) -> UInt8Array:
        if self._slot is None:
            raise LeaseOverError(
                f"frame {self.id}: its lease is over and its slot may hold another picture; copy what you keep"
                " (frame.bgr, frame.pixels.copy()) before process() returns"
            )
        return self._slot

    def _luma(self) -> UInt8Array:
        layout, shift = self.layout, self.layout.luma_shift
        if shift is None:
            return _convert(self._bytes(), layout, PictureLayout("gray", layout.width, layout.height))
        luma = self.planes[0]
        if layout.format == "yuyv422":
            return np.ascontiguousarray(luma[:, :, ::2].reshape(layout.height, -1)[:, : layout.width])
        return luma if shift == 0 else (luma >> shift).astype(np.uint8)


@lru_cache(LAYOUTS_MAX)
def _layout(format: str, width: int, height: int, matrix: str, *, is_full_range: bool) -> PictureLayout:
    """Return a layout that knows its planes already: nearly every frame asks for the same."""
    return PictureLayout(format, width, height, matrix, is_full_range)


def plane_views(flat: UInt8Array, layout: PictureLayout) -> tuple[Array, ...]:
    """Return views of the planes in a 1-D array of `layout.nbytes` bytes.

    Returns:
        uint8, or uint16 for more than 8 bits; (rows, columns), or (rows, columns, channels) where interleaved.
    """
    views = []
    for offset, row_bytes, rows, channels in layout.planes:
        view: Array = flat[offset : offset + row_bytes * rows]
        if layout.sample_bytes == 2:
            view = view.view("<u2")
        views.append(view.reshape(rows, -1) if channels == 1 else view.reshape(rows, -1, channels))
    return tuple(views)


def shaped(flat: UInt8Array, layout: PictureLayout) -> Array:
    """Return a 1-D array of `layout.nbytes` bytes in the shape that OpenCV expects of its format.

    Returns:
        A new view, uint8 or (more than 8 bits) uint16: (H, W) grey; (H, W, 3) bgr24, rgb24; (H, W, 4) bgra, rgba;
        (H, W, 2) yuyv422 of even width; (H * 3 // 2, W) yuv420p, nv12 and their like of even sizes; else 1-D.
    """
    samples: Array = flat.view("<u2") if layout.sample_bytes == 2 else flat
    return samples.reshape(layout.shape)


def plane_rows(plane: VideoPlane, rows: int, row_bytes: int) -> UInt8Array:
    """Return a (rows, row_bytes) view of a plane of FFmpeg's, its padding left out and its first row on top."""
    stride = plane.line_size
    view: UInt8Array = np.ndarray((rows, row_bytes), np.uint8, cast(Any, plane), 0, (abs(stride), 1))
    return view if stride >= 0 else view[::-1]


def _scale(flat: UInt8Array, source: PictureLayout, target: PictureLayout, interpolation: str) -> Array:
    """Convert and scale: packed colours and grey after the conversion, as OpenCV would; planes before it."""
    if len(target.planes) == 1 and target.format != "yuyv422":
        scaled = shaped(np.empty(target.nbytes, np.uint8), target)
        # Of an odd height FFmpeg converts otherwise, and all of it: what is scaled has to be the same picture.
        if source.format in HALVED and source.height % 2 == 0 and target.format in ("bgr24", "rgb24"):
            matrix = yuv_matrix(source.matrix, is_full_range=source.is_full_range)
            planes = plane_views(flat, source)
            if scale_yuv(planes, scaled, interpolation, matrix, is_rgb=target.format == "rgb24"):
                return scaled
        pixels = shaped(flat, source)
        if target.format != source.format:
            pixels = _convert(flat, source, PictureLayout(target.format, source.width, source.height))
        scale_pixels(pixels, scaled, interpolation)
        return scaled
    if source.format == "yuyv422":  # its samples of one kind do not lie side by side
        apart = replace(source, format="yuv422p")
        flat, source = _convert(flat, source, apart).reshape(-1), apart
    smaller = replace(source, width=target.width, height=target.height)
    flat_smaller = np.empty(smaller.nbytes, np.uint8)
    for plane, place in zip(plane_views(flat, source), plane_views(flat_smaller, smaller), strict=True):
        scale_pixels(plane, place, interpolation)
    return shaped(flat_smaller, target) if smaller == target else _convert(flat_smaller, smaller, target)


class _Converter(threading.local):
    """One scaler and one picture to fill for each thread: contexts of swscale are 15 MB and not to be shared."""

    reformatter: VideoReformatter | None = None
    picture: VideoFrame | None = None
    layout: PictureLayout | None = None


_converter = _Converter()


def _convert(flat: UInt8Array, source: PictureLayout, target: PictureLayout) -> Array:
    if target.format in OPAQUE and source.format in HALVED and source.width % 8:
        # FFmpeg's fast conversion to four channels leaves up to 7 columns on the right as they were: other memory.
        opaque = np.full((target.height, target.width, 4), 255, np.uint8)
        opaque[:, :, :3] = _convert(flat, source, replace(target, format=OPAQUE[target.format]))
        return opaque
    if _converter.picture is None or _converter.reformatter is None or _converter.layout != source:
        from av import VideoFrame
        from av.video.reformatter import VideoReformatter

        _converter.reformatter = _converter.reformatter or VideoReformatter()
        _converter.picture = VideoFrame(source.width, source.height, source.format)
        _converter.layout = source
        if source.has_matrix:
            _converter.picture.colorspace = MATRICES[source.matrix]
        if source.is_full_range:
            _converter.picture.color_range = FULL_RANGE
    picture = _converter.picture
    for plane, place in zip(picture.planes, source.planes, strict=True):
        rows = flat[place.offset : place.offset + place.row_bytes * place.rows].reshape(place.rows, -1)
        np.copyto(plane_rows(plane, place.rows, place.row_bytes), rows)
    # Where nobody says it, swscale takes the range from the formats' names: full for yuvj, else limited.
    to_range: Any = None
    if source.is_full_range and target.has_matrix:
        to_range = FULL_RANGE if target.is_full_range else LIMITED_RANGE
    converted = _converter.reformatter.reformat(
        picture, target.width, target.height, target.format, dst_color_range=to_range, threads=1
    )
    planes = converted.planes
    if len(planes) == 1 and planes[0].line_size == target.planes[0].row_bytes and converted is not picture:
        # Nobody else has this memory: wrapping it saves a copy that costs more than the conversion.
        return shaped(np.ndarray(target.nbytes, np.uint8, cast(Any, planes[0])), target)
    flat_target = np.empty(target.nbytes, np.uint8)
    for plane, place in zip(planes, target.planes, strict=True):
        rows = flat_target[place.offset : place.offset + place.row_bytes * place.rows].reshape(place.rows, -1)
        np.copyto(rows, plane_rows(plane, place.rows, place.row_bytes))
    return shaped(flat_target, target)
