"""Those edges of one producer that are partitioned by camera: each keeps to the present map of its consumer."""

from __future__ import annotations

from detektr.edge.edge import Edge
from detektr.edge.partition.map_reader import MapReader
from detektr.memory.run_folder import RunFolder


class PartitionedEdges:
    """Brings each edge the map, at once when it is partitioned and then whenever it has changed."""

    def __init__(self, folder: RunFolder) -> None:
        """Begin without edges; `folder` has the maps."""
        self._folder = folder
        self._edges: dict[str, tuple[Edge, MapReader]] = {}

    def add(self, edge: Edge, *, is_asked: bool = False) -> None:
        """Partition an edge if its consumer asks for that now, the file says so, or its journal did before."""
        options = edge.options
        if edge.consumer in self._edges or not (is_asked or options.is_partitioned or edge.journal.map_epoch):
            return
        reader = MapReader(self._folder, edge.consumer, options.all_cameras, options.replicas)
        reader.look(is_thorough=True)
        edge.partition_by_camera(reader.map)
        self._edges[edge.consumer] = edge, reader

    def look(self, *, is_thorough: bool = False) -> None:
        """Let the edges keep to the maps as they are now; see `MapReader.look`."""
        for edge, reader in self._edges.values():
            if reader.look(is_thorough=is_thorough):
                edge.partition_by_camera(reader.map)
            elif is_thorough:
                edge.acknowledge_map()

    def forget(self, consumer: str) -> None:
        """Forget an edge that goes."""
        known = self._edges.pop(consumer, None)
        if known is not None:
            known[1].close()

    def close(self) -> None:
        """Close everything."""
        for consumer in tuple(self._edges):
            self.forget(consumer)
