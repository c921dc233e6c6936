"""Turns pictures that are stored lying, upside down or mirrored, as players do: phones and EXIF say so beside them."""

from __future__ import annotations

import struct
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from av.sidedata.sidedata import SideDataContainer, Type

from detektr.sources.timeline import exact

if TYPE_CHECKING:
    from av import VideoFrame
    from av.filter import Graph


class Orientation(NamedTuple):
    """How a picture is to be seen: mirrored left to right first, then turned."""

    degrees: int
    """Counterclockwise: 0, 90, 180 or 270."""
    is_mirrored: bool


_Filters = tuple[tuple[str, str | None], ...]
_FILTERS: dict[Orientation, _Filters] = {
    Orientation(90, False): (("transpose", "cclock"),),
    Orientation(180, False): (("vflip", None), ("hflip", None)),
    Orientation(270, False): (("transpose", "clock"),),
    Orientation(0, True): (("hflip", None),),
    Orientation(90, True): (("transpose", "cclock_flip"),),
    Orientation(180, True): (("vflip", None),),
    Orientation(270, True): (("transpose", "clock_flip"),),
}
_UNNAMED = sorted(set(range(64)) - {kind.value for kind in Type})  # of what FFmpeg may put beside a picture
UPRIGHT = Orientation(0, False)
# By the signs of a display matrix's a, b, c and d, in which right is a point's first coordinate and down its second.
_BY_SIGNS = {
    (0, -1, 1, 0): Orientation(90, False),
    (-1, 0, 0, -1): Orientation(180, False),
    (0, 1, -1, 0): Orientation(270, False),
    (-1, 0, 0, 1): Orientation(0, True),
    (0, 1, 1, 0): Orientation(90, True),
    (1, 0, 0, -1): Orientation(180, True),
    (0, -1, -1, 0): Orientation(270, True),
}


def orientation_of(frame: VideoFrame) -> Orientation:
    """Return what a frame says of how it is to be seen; other angles than quarter turns count for nothing."""
    try:
        beside = _beside(frame)
    except ValueError:  # PyAV gives none where there is one that it has no name for, such as a photograph's EXIF
        graph = _graph_for(frame, tuple(("sidedata", f"mode=delete:type={kind}") for kind in _UNNAMED))
        graph.vpush(frame)
        beside = _beside(graph.vpull())
    matrix = beside.get("DISPLAYMATRIX")
    if matrix is None:
        return UPRIGHT
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    largest = max(abs(a), abs(b), abs(c), abs(d))
    # Scaling, shearing and turns by a little are left as they are: they would need pixels that are not there.
    [a, b, c, d] = [0 if 8 * abs(value) < largest else 1 if value > 0 else -1 for value in (a, b, c, d)]
    return _BY_SIGNS.get((a, b, c, d), UPRIGHT)


def _beside(frame: VideoFrame) -> Any:
    """Return the side data of a frame.

    `frame.side_data` would be kept in the frame and refer to it: a cycle, in which the picture's memory stays until
    the garbage collector comes, which in a capture it seldom does.
    """
    container: Any = SideDataContainer  # PyAV's stubs say that it takes nothing
    return container(frame)


class AutoRotate:
    """Turns and mirrors FFmpeg's frames where they say so, and hands on the others as they are."""

    def __init__(self, *, is_steady: bool = False) -> None:
        """Prepare; `is_steady`: what is mirrored and not turned is said of the first frame."""
        self._is_steady, self._is_known = is_steady, False
        self._graph: Graph | None = None
        self._shape: tuple[Orientation, int, int, str] | None = None
        self._orientation = UPRIGHT

    def turn(self, frame: VideoFrame) -> VideoFrame:
        """Return the frame as it is to be seen; a quarter turn swaps width and height."""
        # Its matrix costs ten microseconds, its angle none; one that only mirrors has no angle, and comes with a key.
        if frame.rotation or (frame.key_frame and not (self._is_steady and self._is_known)):
            self._is_known = True
            self._orientation = orientation_of(frame)
        orientation = self._orientation
        if orientation == UPRIGHT:
            return frame
        shape = orientation, frame.width, frame.height, frame.format.name
        if self._graph is None or self._shape != shape:
            self._graph, self._shape = _graph_for(frame, _FILTERS[orientation]), shape
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
