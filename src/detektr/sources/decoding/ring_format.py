"""Which of a ring's pixel formats a picture comes in that has another one: the nearest that loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from detektr.picture import FORMATS

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.format import VideoFormat

_PLANAR_DEPTHS = (8, 10, 12, 16)  # of brightness and colour, in bits
_GREY_DEPTHS = (8, 10, 12, 14, 16)
_SUBSAMPLINGS = {(1, 1): "444", (2, 1): "422", (2, 2): "420", (1, 2): "440", (4, 1): "411", (4, 4): "410"}
_SIDE = 16  # pixels, of which each subsampling leaves a whole number


class RingFormat(NamedTuple):
    """A pixel format out of `FORMATS`, and in words what a picture loses in it; empty: nothing."""

    name: str
    lost: str = ""


def ring_format(frame: VideoFrame) -> RingFormat:
    """Return a ring's format for a frame: its own where a ring can hold that."""
    own = frame.format
    if own.name in FORMATS:
        return RingFormat(own.name)
    if own.has_palette:
        is_opaque = len(frame.planes) < 2 or set(bytes(frame.planes[1])[3::4]) == {255}
        return RingFormat("bgr24" if is_opaque else "bgra")
    bits = max((part.bits for part in own.components), default=8)
    has_alpha = any(part.is_alpha for part in own.components)
    lost = "floating point" if "f16" in own.name or "f32" in own.name else "32 bits" if bits > 16 else ""
    colours = len(own.components) - has_alpha
    if own.name.startswith("bayer_"):
        return RingFormat("rgb48le" if "16" in own.name else "bgr24", "its raw mosaic, of which colours are made")
    if own.is_rgb or (has_alpha and colours == 1) or own.name.startswith("xyz"):
        return RingFormat(_rgb_name(bits, has_alpha=has_alpha), lost)
    if colours == 1:
        return RingFormat(_grey_name(bits), lost)
    return _planar(own, bits, "transparency" if has_alpha else lost)


def _rgb_name(bits: int, *, has_alpha: bool) -> str:
    if bits > 8:
        return "rgba64le" if has_alpha else "rgb48le"
    return "bgra" if has_alpha else "bgr24"


def _grey_name(bits: int) -> str:
    depth = _least(bits, _GREY_DEPTHS)
    return "gray" if depth == 8 else f"gray{depth}le"


def _planar(own: VideoFormat, bits: int, lost: str) -> RingFormat:
    ratio = _SIDE // own.chroma_width(_SIDE), _SIDE // own.chroma_height(_SIDE)
    depth = _least(bits, _PLANAR_DEPTHS)
    name = f"yuv{_SUBSAMPLINGS.get(ratio, '444')}p{'' if depth == 8 else f'{depth}le'}"
    return RingFormat(name if name in FORMATS else f"yuv444p{'' if depth == 8 else f'{depth}le'}", lost)


def _least(bits: int, depths: tuple[int, ...]) -> int:
    return next((depth for depth in depths if depth >= bits), depths[-1])
