"""Sources of pictures: files, cameras, FFmpeg's lavfi graphs and Python generators behind one door."""

from __future__ import annotations

from detektr.sources.contract import Picture, Source
from detektr.sources.opening import open_source, source_number

__all__ = ["Picture", "Source", "open_source", "source_number"]
