"""Pictures as clients want them: JPEG in its own colours, PNG, or the bytes of the slot with their facts.

JPEG's planes are full-range BT.601 (JFIF); a ring's are what its camera's are. They are converted by the ring's matrix
and range, over RGB where they differ, so that colours stay as they are.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from detektr.descriptor import Descriptor
from detektr.frame import Frame, UInt8Array
from detektr.picture import PictureLayout

QUALITY = 3  # of mjpeg's quantizer, 2 (best) to 31
SIDE_MAX = 4096
_NOBODY = Descriptor("web", "web", 0, 0, 0, 0, 0, 0, 0, None)


def encode_picture(pixels: UInt8Array, layout: PictureLayout, kind: str, width: int | None = None) -> tuple[str, bytes]:
    """Return a picture as a file: its content type, and the bytes.

    Args:
        pixels: as they lie in a slot.
        layout: how they lie there.
        kind: `jpeg`, `png` or `raw`.
        width: in pixels; None: as it is. A raw picture is never scaled.
    """
    if kind == "raw":
        return "application/octet-stream", pixels.tobytes()
    width, height = _size(layout, width)
    frame = Frame(_NOBODY, layout, pixels, 1, None)
    rgb = np.ascontiguousarray(frame.to("rgb24", width, height, "area" if width < layout.width else "linear"))
    return ("image/png", _png(rgb)) if kind == "png" else ("image/jpeg", _jpeg(rgb))


def raw_headers(layout: PictureLayout) -> dict[str, str]:
    """Return what a client needs to know of raw bytes: format, size, strides, matrix and range."""
    return {
        "X-Detektr-Format": layout.format,
        "X-Detektr-Width": str(layout.width),
        "X-Detektr-Height": str(layout.height),
        "X-Detektr-Strides": ",".join(str(plane.row_bytes) for plane in layout.planes),
        "X-Detektr-Matrix": layout.matrix,
        "X-Detektr-Range": "full" if layout.is_full_range else "limited",
    }


def _size(layout: PictureLayout, width: int | None) -> tuple[int, int]:
    if width is None or width >= layout.width:
        return layout.width, layout.height
    return width, max(1, round(layout.height * width / layout.width))


def _jpeg(rgb: UInt8Array) -> bytes:
    import av
    from av.video.reformatter import ColorRange, Colorspace

    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    planes = picture.reformat(format="yuvj420p", dst_colorspace=Colorspace.ITU601, dst_color_range=ColorRange.JPEG)
    planes.pts = 0
    return _encode("mjpeg", planes, {"qmin": str(QUALITY), "qmax": str(QUALITY)})


def _png(rgb: UInt8Array) -> bytes:
    import av

    picture = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    picture.pts = 0
    return _encode("png", picture, {"compression_level": "1"})


def _encode(codec: str, picture: Any, options: dict[str, str]) -> bytes:
    from fractions import Fraction

    import av

    encoder = cast(Any, av.CodecContext.create(codec, "w"))
    encoder.width, encoder.height, encoder.pix_fmt = picture.width, picture.height, picture.format.name
    encoder.time_base = Fraction(1, 25)
    encoder.options = options
    if codec == "mjpeg":
        encoder.color_range = 2
    payload = b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode(None)])
    return payload
