"""The door to all sources: which kind it is, and the two things that open them."""

from __future__ import annotations

import zlib
from pathlib import Path

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.picture import format_name
from detektr.source_uri import is_live, is_series, source_kind, source_path
from detektr.sources.contract import OpenedSource


def source_number(options: CaptureOptions, folder: Path) -> int:
    """Return a number that stays the same as long as the same pictures come out of a file in the same order; not 0."""
    path = source_path(options.source, folder)
    try:
        found = None if path is None else path.stat()
    except OSError:
        found = None
    place = None if found is None else (found.st_dev, found.st_ino)
    return 1 << 32 | zlib.crc32(repr((options.source, options.fps, options.decode, place)).encode())


def open_source(options: CaptureOptions, folder: Path, begin_at: int = 0) -> OpenedSource:
    """Open what `options.source` names; a camera or stream is opened when its first picture is asked for.

    Args:
        options: of the source, its connection, its decoder and its pictures, and (for python:) with_.
        folder: where relative files and python modules are looked for: beside the pipeline file.
        begin_at: so many pictures of a file's first round are left out, and counted nowhere: they were shown before.
    Raises:
        SourceError: it cannot be opened; says what, why and what to do, without secrets.
    """
    if options.format is not None:
        try:
            format_name(options.format)
        except ValueError as fault:
            raise SourceError(f"capture option format: {fault}") from None
    # FFmpeg is 20 MB of code that a Python source does without.
    if source_kind(options.source) == "python":
        from detektr.sources.generator import GeneratorSource

        return GeneratorSource(options, folder)
    if is_live(options.source):
        from detektr.sources.live import LiveSource

        return LiveSource(options, folder, begin_at)
    path = source_path(options.source, folder)
    if path is not None and (path.is_dir() or is_series(path)):
        from detektr.sources.images import ImageFolderSource

        return ImageFolderSource(options, path, begin_at)
    from detektr.sources.video import VideoSource

    return VideoSource(options, folder, begin_at=begin_at)
