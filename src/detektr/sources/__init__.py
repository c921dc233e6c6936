"""Sources of pictures: files, cameras, FFmpeg's lavfi graphs and Python generators behind one door."""

from __future__ import annotations

from detektr.sources.contract import OpenedSource, Picture
from detektr.sources.opening import open_source, source_number

__all__ = ["OpenedSource", "Picture", "open_source", "source_number"]
