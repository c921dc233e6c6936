"""Keeps the map of one consumer's cameras for a whole run: decides, writes it down, and says in the log what moved."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from detektr.edge.partition.assignment import Assignment, ReplicaFact
from detektr.edge.partition.camera_map import NOBODY
from detektr.memory.partition_file import PartitionWriter
from detektr.memory.run_folder import RunFolder

_log = logging.getLogger(__name__)


class PartitionKeeper:
    """The only writer of one consumer's map."""

    def __init__(self, folder: RunFolder, consumer: str, cameras: Sequence[str], replicas: int) -> None:
        """Write the first map.

        Args:
            folder: the run's.
            consumer: whose replicas get the frames.
            cameras: whose frames come to it, in the file's order.
            replicas: with how many it begins.
        Raises:
            NoRoomError: shared memory has no room for the map.
        """
        self.consumer = consumer
        self._assignment = Assignment(cameras, replicas)
        first = self._assignment.map
        self._file = PartitionWriter(folder.partition(consumer), first.epoch, replicas, first.rows())
        idle = [f"{consumer}.{number}" for number in range(replicas) if not first.cameras_of(number)]
        spare = f"; {', '.join(idle)} in reserve" if idle else ""
        _log.info("%s keeps state: each camera's frames go to one of its %d replicas%s", consumer, replicas, spare)

    def scale(self, replicas: int) -> None:
        """Share the cameras among so many replicas; see `Assignment.scale`."""
        self._assignment.scale(replicas)

    def is_free(self, replica: int) -> bool:
        """Whether a replica has no camera, and none is on the way to it or from it."""
        return self._assignment.is_free(replica)

    @property
    def is_moving(self) -> bool:
        """Whether a camera is on the move, so that the edges must be asked."""
        return self._assignment.is_moving

    def due_ns(self, facts: Sequence[ReplicaFact], now_ns: int) -> int | None:
        """Return when to look again; see `Assignment.due_ns`."""
        return self._assignment.due_ns(facts, now_ns)

    def look(self, facts: Sequence[ReplicaFact], acknowledged: int | None, now_ns: int) -> list[tuple[str, int | None]]:
        """Look whether cameras have to move; see `Assignment.look`.

        Returns:
            Each camera whose owner is another one, and its number (None: nobody); not empty: the map is another one,
            and producers are to be told so.
        """
        before = self._assignment.map
        if not self._assignment.look(facts, acknowledged, now_ns):
            return []
        after = self._assignment.map
        self._file.write(after.epoch, after.replicas, after.rows())
        changed = [camera for camera, home in after.homes.items() if home.owner != before.homes[camera].owner]
        owners = [after.homes[camera].owner for camera in changed]
        for owner in sorted(set(owners) - {NOBODY}):
            names = ", ".join(camera for camera in changed if after.homes[camera].owner == owner)
            _log.info("%s.%d gets the frames of %s from now on (map %d)", self.consumer, owner, names, after.epoch)
        return [(camera, None if owner == NOBODY else owner) for camera, owner in zip(changed, owners, strict=True)]

    def close(self) -> None:
        """Unmap the map; its file goes with the run."""
        self._file.close()
