"""Where a camera begins in this process: with its first frame, and again when it was another replica's meanwhile."""

from __future__ import annotations

from detektr.edge.partition.map_reader import MapReader
from detektr.memory.run_folder import RunFolder

STREAMS_MAX = 1024  # of which is known that they have begun here


class FirstFrames:
    """The streams that have begun in this process, each with the epoch of the map since which it is here.

    A camera moves only once nobody holds its frames. So, as long as we hold one, the map says since when it is ours.
    """

    def __init__(self, folder: RunFolder, node: str) -> None:
        """Begin without any.

        Args:
            folder: the run's, where the map of cameras is, if there is one.
            node: this process's.
        """
        self._map = MapReader(folder, node, (), 1)
        self._has_looked = False
        self._begun: dict[int, int] = {}

    def is_first(self, key: int, camera: str) -> bool:
        """Whether no frame of this stream was worked on here since the camera came to us."""
        self._map.look(is_thorough=not self._has_looked)
        self._has_looked = True
        return self._begun.get(key) != self._map.map.since(camera)

    def note_begun(self, key: int, camera: str) -> None:
        """Note that a frame of this stream was worked on."""
        if key not in self._begun and len(self._begun) >= STREAMS_MAX:
            del self._begun[next(iter(self._begun))]
        self._begun[key] = self._map.map.since(camera)

    def look(self) -> None:
        """Look for the map where there was none; once a second or so."""
        self._map.look(is_thorough=True)

    def close(self) -> None:
        """Close the map."""
        self._map.close()
