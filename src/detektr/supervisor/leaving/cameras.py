"""Where the cameras of nodes that keep state live: a map for each node, as its processes die, come back and leave."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from detektr.edge.partition.assignment import ReplicaFact
from detektr.edge.partition.keeper import PartitionKeeper
from detektr.events import CameraMoved, RunEvent
from detektr.memory.run_folder import RunFolder
from detektr.observe.run_reader import RunReader
from detektr.supervisor.managed_process import ManagedProcess


class CameraHomes:
    """The maps of one run. Producers look at them when they are told to."""

    def __init__(
        self,
        folder: RunFolder,
        processes: Sequence[ManagedProcess],
        reader: RunReader,
        record: Callable[[RunEvent], None],
    ) -> None:
        """Begin without maps.

        Args:
            folder: the run's.
            processes: all there are.
            reader: says to which map the edges keep.
            record: is told which camera has moved.
        """
        self._folder, self._processes, self._reader, self._record = folder, processes, reader, record
        self._keepers: dict[str, PartitionKeeper] = {}  # by consumer

    def keep(self, node: str) -> None:
        """Keep a map for a node that keeps state for each camera; its producers find it before frames flow."""
        own = [managed for managed in self._processes if managed.spec.node == node]
        if len(own) > 1 and node not in self._keepers:
            edges = [managed.spec.edges[node] for managed in self._processes if node in managed.spec.edges]
            wanted = sum(managed.is_wanted for managed in own)
            self._keepers[node] = PartitionKeeper(self._folder, node, edges[0].all_cameras, wanted)

    def scale(self, node: str, replicas: int) -> None:
        """Share a node's cameras among so many replicas."""
        if node in self._keepers:
            self._keepers[node].scale(replicas)

    def is_free(self, node: str, replica: int) -> bool:
        """Whether a replica has no camera, and none is on the way to it or from it."""
        return node not in self._keepers or self._keepers[node].is_free(replica)

    def due_ns(self, now_ns: int) -> int | None:
        """Return when to look again; None: nothing will change by itself."""
        due = [keeper.due_ns(self._replicas(node), now_ns) for node, keeper in self._keepers.items()]
        return min([at_ns for at_ns in due if at_ns is not None], default=None)

    def look(self, now_ns: int) -> None:
        """Move the cameras of dead and leaving replicas to others, and to those that are back or new."""
        for node, keeper in self._keepers.items():
            acknowledged = self._reader.map_epoch(node) if keeper.is_moving else None
            moved = keeper.look(self._replicas(node), acknowledged, now_ns)
            for camera, replica in moved:
                if replica is not None:
                    self._record(CameraMoved(f"{node}.{replica}", camera))
            for managed in self._processes if moved else ():
                if node in managed.spec.edges and managed.child is not None and managed.ready_ns is not None:
                    managed.child.try_order({"order": "look"})

    def close(self) -> None:
        """Unmap the maps; their files go with the run."""
        for keeper in self._keepers.values():
            keeper.close()

    def _replicas(self, node: str) -> list[ReplicaFact]:
        return [managed.as_replica for managed in self._processes if managed.spec.node == node]
