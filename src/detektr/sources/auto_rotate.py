"""Turns pictures that are stored lying or upside down, as players do: phones and EXIF say so beside the pixels."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING

from detektr.sources.timeline import exact

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph

_Filters = tuple[tuple[str, str | None], ...]
_FILTERS: dict[int, _Filters] = {  # by the angle counterclockwise, in degrees
    90: (("transpose", "cclock"),),
    180: (("vflip", None), ("hflip", None)),
    270: (("transpose", "clock"),),
}


class AutoRotate:
    """Turns FFmpeg's frames by quarter turns where they say so, and hands on the others as they are."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._shape: tuple[int, int, int, str] | None = None

    def turn(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame as it is to be seen; a quarter turn swaps width and height.

        Other angles and mirrored pictures are handed on as they are stored.
        """
        angle = frame.rotation % 360
        if angle not in _FILTERS:
            return frame
        shape = angle, frame.width, frame.height, frame.format.name
        if self._graph is None or self._shape != shape:
            self._graph, self._shape = _graph_for(frame, _FILTERS[angle]), shape
        self._graph.vpush(frame)
        return self._graph.vpull()


def _graph_for(frame: VideoFrame, filters: _Filters) -> Graph:
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=exact(frame.time_base) or Fraction(1)
    )
    steps = [graph.add(name, argument) for name, argument in filters]
    graph.link_nodes(source, *steps, graph.add("buffersink")).configure()
    return graph
