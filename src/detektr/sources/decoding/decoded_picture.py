"""Pictures on their way into a slot, past the caches: FFmpeg's, numpy's, and the conversion that options ask for."""

from __future__ import annotations

import logging
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from detektr.errors import SourceError
from detektr.frame import FULL_RANGE, HALVED, LIMITED_RANGE, OPAQUE, UInt8Array, plane_rows
from detektr.memory.streaming import stream
from detektr.options import CaptureOptions
from detektr.picture import FORMATS, MATRICES, PictureLayout, format_name
from detektr.redaction import redact
from detektr.sources.decoding.auto_rotate import AutoRotate
from detektr.sources.decoding.ring_format import ring_format

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.reformatter import VideoReformatter

_FULL_RANGE_NAMES = {f"yuv{sampling}p": f"yuvj{sampling}p" for sampling in ("420", "422", "444", "440", "411")}
_MATRIX_NAMES = {number: name for name, number in MATRICES.items()} | {6: "bt601", 10: "bt2020"}  # by other names
_LUMA = "yuv420p"  # from which grey is taken where the picture's own format has no plane of it


_log = logging.getLogger(__name__)


class DecodedPicture:
    """A frame of FFmpeg's, its planes padded; a grey layout takes its luma plane alone."""

    def __init__(
        self,
        frame: VideoFrame,
        layout: PictureLayout,
        pts: int | None = None,
        time_base: Fraction | None = None,
        utc_ns: int | None = None,
        received_ns: int | None = None,
        *,
        is_break: bool = False,
        place: int | None = None,
    ) -> None:
        """See `Picture`."""
        self.frame, self.layout, self.pts, self.time_base = frame, layout, pts, time_base
        self.utc_ns, self.received_ns, self.is_break, self.place = utc_ns, received_ns, is_break, place

    def write(self, slot: UInt8Array) -> None:
        """Copy the planes, once each, into a writeable 1-D uint8 array of `layout.nbytes` bytes."""
        planes = self.frame.planes
        for index, (offset, row_bytes, rows, _) in enumerate(self.layout.planes):
            target = slot[offset : offset + row_bytes * rows].reshape(rows, row_bytes)
            stream(target, plane_rows(planes[index], rows, row_bytes))


class ArrayPicture:
    """A numpy picture of any strides: (H, W, 3) bgr24 or (H, W) grey, uint8; it has no time of its own."""

    def __init__(self, pixels: npt.NDArray[np.uint8], layout: PictureLayout) -> None:
        """See `Picture`."""
        self.pixels, self.layout = pixels, layout
        self.pts: int | None = None
        self.time_base: Fraction | None = None
        self.utc_ns: int | None = None
        self.received_ns: int | None = None
        self.is_break = False
        self.place: int | None = None

    def write(self, slot: UInt8Array) -> None:
        """Copy the pixels, once, into a writeable 1-D uint8 array of `layout.nbytes` bytes."""
        stream(slot.reshape(self.pixels.shape), self.pixels)


class FormatConverter:
    """Brings FFmpeg's frames into the format and size that the options ask for, and leaves alone those that fit."""

    def __init__(self, options: CaptureOptions, *, is_steady: bool = False) -> None:
        """Prepare; `is_steady`: all frames are mirrored alike, or none is."""
        self._format = None if options.format is None else format_name(options.format)
        self._source = options.source
        self._width = options.width
        self._height = options.height
        self.note = ""
        """Which format is captured as which other one, since a ring cannot hold it; empty: none."""
        self._auto_rotate = AutoRotate(is_steady=is_steady)
        self._reformatter: VideoReformatter | None = None
        self._layout: PictureLayout | None = None
        self._shape: tuple[str, int, int, str, bool] | None = None  # what the layout was asked for

    @property
    def is_asked(self) -> bool:
        """True if a format or a size is asked for."""
        return any(asked is not None for asked in (self._format, self._width, self._height))

    def fit(self, frame: VideoFrame) -> tuple[VideoFrame, PictureLayout]:
        """Return the frame as it shall be written, upright, and its layout; the same frame if it is right already."""
        frame = self._auto_rotate.turn(frame)
        own = _own_format(frame)
        is_full = frame.color_range == FULL_RANGE
        name = self._format or (own if own in FORMATS else self._near(frame, own))
        width, height = self._width or frame.width, self._height or frame.height
        # Luma is taken as it is (only scaled): swscale would stretch its range, and grey be other than a yuv slot's.
        is_luma = name == "gray" and _has_luma(own if own in FORMATS else ring_format(frame).name)
        planar = name
        if is_luma:
            has_luma_plane = own in FORMATS and FORMATS[own].luma_shift == 0 and own != "yuyv422"
            planar = own if has_luma_plane else _LUMA
        if (own, frame.width, frame.height) != (planar, width, height):
            is_full &= own not in FORMATS and not self.is_asked  # what nobody asked to convert keeps its range
            frame = self._reformat(frame, width, height, planar, is_full=is_full)
        shape = name, width, height, _MATRIX_NAMES.get(frame.colorspace, "bt601"), is_full
        if self._layout is None or self._shape != shape:
            try:
                self._layout, self._shape = PictureLayout(*shape), shape
            except ValueError as error:
                hint = "give the capture `width` and `height`, to which each picture is scaled"
                raise SourceError(f"source {redact(self._source)}: {error}; {hint}") from None
        return frame, self._layout

    def _near(self, frame: VideoFrame, own: str) -> str:
        """Return the format that a ring has for one that it lacks, and say so, once for each."""
        name, lost = ring_format(frame)
        note = f"{own} as {name}{f', without {lost}' if lost else ''}"
        if note != self.note:
            self.note = note
            _log.info("a ring cannot hold %s: its pictures are captured as %s", own, note.partition(" as ")[2])
        return _FULL_RANGE_NAMES.get(name, name) if frame.color_range == FULL_RANGE else name

    def _reformat(self, frame: VideoFrame, width: int, height: int, name: str, *, is_full: bool) -> VideoFrame:
        if self._reformatter is None:
            from av.video.reformatter import VideoReformatter

            self._reformatter = VideoReformatter()
        if name in OPAQUE and frame.format.name in HALVED and frame.width % 8:  # see `detektr.frame`
            frame = self._reformatter.reformat(frame, frame.width, frame.height, OPAQUE[name], threads=1)
        has_one_range = name.startswith("yuvj") or FORMATS[name].luma_shift is None or len(FORMATS[name].planes) == 1
        is_full = (is_full or has_one_range) and name != "yuyv422"
        to_range: Any = FULL_RANGE if is_full else LIMITED_RANGE
        return self._reformatter.reformat(frame, width, height, name, dst_color_range=to_range, threads=1)


def _has_luma(name: str) -> bool:
    """Tell whether a format is brightness and colour, of which the brightness is the grey, whatever its range."""
    return FORMATS[name].luma_shift is not None and not name.startswith("gray")


def _own_format(frame: VideoFrame) -> str:
    """Name the frame's format, of full range by FFmpeg's own name for that where it has one."""
    name = frame.format.name
    return _FULL_RANGE_NAMES.get(name, name) if frame.color_range == FULL_RANGE else name
