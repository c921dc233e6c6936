"""The door to all sources: which kind it is, and the two things that open them."""

from __future__ import annotations

from pathlib import Path

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.picture import format_name
from detektr.source_uri import is_live, source_kind, source_path
from detektr.sources.contract import Source


def open_source(options: CaptureOptions, folder: Path) -> Source:
    """Open what `options.source` names; a camera or stream is opened when its first picture is asked for.

    Args:
        options: of the source, its connection, its decoder and its pictures, and (for python:) with_.
        folder: where relative files and python modules are looked for: beside the pipeline file.
    Raises:
        SourceError: it cannot be opened; says what, why and the cure, without secrets.
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

        return LiveSource(options, folder)
    path = source_path(options.source, folder)
    if path is not None and path.is_dir():
        from detektr.sources.images import ImageFolderSource

        return ImageFolderSource(options, path)
    from detektr.sources.video import VideoSource

    return VideoSource(options, folder)
