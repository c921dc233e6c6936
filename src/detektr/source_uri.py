"""Tells the kind of a source from its text alone, without opening it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

SourceKind = Literal["lavfi", "python", "device", "stream", "file"]

STREAM_SCHEMES = (
    *("rtsp", "rtsps", "http", "https", "rtmp", "rtmps", "rtmpt", "rtmpe", "udp", "rtp", "srtp", "tcp", "tls"),
    *("srt", "rist", "mms", "mmsh", "mmst", "ftp", "sftp", "smb", "hls"),
)
SESSION_SUFFIX = ".sdp"  # a file that says where a stream comes in, and has no pictures of its own
_NUMBER = re.compile(r"%0?([0-9]*)d")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def scheme_of(source: str) -> str | None:
    """Return what stands before `://`, in small letters; None where the source is not a URL."""
    match = _SCHEME.match(source)
    return None if match is None else match.group(1).lower()


def source_kind(source: str) -> SourceKind:
    """Tell what a source is; nothing is opened."""
    prefix = source.partition(":")[0].lower()
    if prefix == "lavfi" and ":" in source:
        return "lavfi"
    if prefix == "python" and ":" in source:
        return "python"
    if scheme_of(source) not in (None, "file"):
        return "stream"
    if source.startswith("/dev/") and not source.startswith("/dev/shm/"):
        return "device"
    return "file"


def host_and_port(host: str, port: int) -> str:
    """Write a host and a port as they stand in a URL: an IPv6 address goes in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_live(source: str) -> bool:
    """Tell whether the source may go on without us: a device or a URL, not a file, a generator or lavfi.

    What a URL names may be a file that somebody serves, which only its opening tells: see `OpenedSource.is_live`.
    """
    return source_kind(source) in ("device", "stream") or is_session(source)


def is_session(source: str) -> bool:
    """Tell whether the source is a file that describes a stream (SDP)."""
    return source_kind(source) == "file" and source.lower().endswith(SESSION_SUFFIX)


def is_series(path: Path) -> bool:
    """Tell whether a path names a series of pictures by their numbers, as `folder/img%04d.png` does, and no file."""
    return _NUMBER.search(path.name) is not None and not path.exists()


def series_names(name: str) -> re.Pattern[str]:
    """Return what the names of a series are like: `%d` any number, `%04d` one of at least four digits."""
    parts, place = [], 0
    for match in _NUMBER.finditer(name):
        parts += [re.escape(name[place : match.start()]), f"[0-9]{{{match.group(1) or 1},}}"]
        place = match.end()
    return re.compile("".join([*parts, re.escape(name[place:])]))


def source_path(source: str, folder: Path) -> Path | None:
    """Return where a file or device lies, relative ones below `folder`; None for the other kinds."""
    if source_kind(source) not in ("file", "device"):
        return None
    text = source[len("file:") :] if source[: len("file:")].lower() == "file:" else source
    return folder / (text[2:] if text.startswith("//") else text)
