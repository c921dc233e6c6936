"""Which files are pictures: told by their first bytes, and by the name only where those say nothing."""

from __future__ import annotations

import io
from pathlib import Path

import av
from av import FFmpegError, VideoFrame

from detektr.sources.decoding.picture_decoder import be_strict

# Those of one picture; what is damaged from its first byte on is missed by nobody but counted.
SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".dpx", ".exr", ".gif", ".j2k", ".jfif", ".jls", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl"),
        *(".pam", ".pbm", ".pcx", ".pfm", ".pgm", ".png", ".pnm", ".ppm", ".psd", ".qoi", ".sgi", ".tga", ".tif"),
        *(".tiff", ".webp"),
    )
)
_BEGINNINGS = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"qoif"),
    *(b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"8BPS\0\x01", b"\x76\x2f\x31\x01"),
    *(b"SDPX", b"XPDS", b"DDS ", b"\x01\xda\0\x01", b"\x01\xda\x01\x01", b"\x59\xa6\x6a\x95", b"#?RADIANCE"),
)
_HEAD_BYTES = 16
_PNM = frozenset(f"P{letter}".encode() for letter in "1234567Ff")


def is_picture(path: Path) -> bool:
    """Tell whether a file is one picture, or was meant to be: by its name or its content; not if it cannot be read."""
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    is_bmp = head[:2] == b"BM" and head[6:10] == bytes(4)
    is_webp = head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    is_avif = head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis")
    is_pnm = head[:2] in _PNM and head[2:3] in (b" ", b"\n", b"\r", b"\t")
    return head.startswith(_BEGINNINGS) or is_bmp or is_webp or is_avif or is_pnm


def read_picture(path: Path) -> VideoFrame | None:
    """Decode a file's picture, of an animated one the first, whatever its name; None: it is damaged, or went away."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    frame = _decoded(io.BytesIO(content), None)
    return frame or _decoded(str(path), "image2")  # by its name: a .tga says nothing of itself


def _decoded(file: io.BytesIO | str, container_format: str | None) -> VideoFrame | None:
    # Told that the name is no pattern: a `%` in it is meant as it stands.
    options = {} if container_format is None else {"pattern_type": "none"}
    try:
        with av.open(file, "r", format=container_format, options=options) as container:
            be_strict(container.streams.video[0].codec_context)
            frame = next(container.decode(video=0), None)
    except (FFmpegError, IndexError, ValueError):
        return None
    return None if frame is None or frame.is_corrupt else frame
