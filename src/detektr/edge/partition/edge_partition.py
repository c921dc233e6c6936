"""What an edge that is partitioned by camera knows: the map, each stream's camera, and who holds its frames. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.edge.partition.camera_map import NOBODY, CameraMap
from detektr.edge.state.lease import Replica
from detektr.memory.announcement import Announcement
from detektr.selection.frame_selection import camera_of

STREAMS_MAX = 1024  # of which the camera is remembered; an edge knows fewer at a time


class EdgePartition:
    """The replica to which each frame of one edge goes, by the map."""

    def __init__(self, camera_map: CameraMap) -> None:
        """Begin with a state of the map; nobody holds anything as far as is known."""
        self.map = camera_map
        self.is_settled = False
        """Whether all leases that are out are with the owners that the map names."""
        self._cameras: dict[int, str] = {}  # by stream
        self._holders: dict[int, int] = {}  # the session that got the last frame of a stream

    def take(self, camera_map: CameraMap) -> None:
        """Keep to another state of the map from now on."""
        self.map, self.is_settled = camera_map, False

    def owner(self, frame: Announcement) -> int:
        """Return the number of the replica that gets the frames of this one's camera; `NOBODY`: it moves."""
        camera = self._cameras.get(frame.key)
        if camera is None:
            if len(self._cameras) >= STREAMS_MAX:  # those of runs that are over
                self._cameras.clear()
                self._holders.clear()
            camera = self._cameras[frame.key] = camera_of(frame.payload)
        return self.map.home(camera).owner

    def replica_for(self, frame: Announcement, replicas: Iterable[Replica]) -> Replica | None:
        """Return the replica that takes a frame now.

        None: its owner is not there or has no credit, or another session still works on frames of this stream.
        """
        number = self.owner(frame)
        owner = None
        if number != NOBODY:
            for replica in replicas:
                if replica.number == number and replica.has_credit:
                    owner = replica
        return self._unless_shared(frame, replicas, owner)

    def replica_for_oldest(
        self, frame: Announcement, replicas: Iterable[Replica], *, is_gathering: bool
    ) -> Replica | None:
        """Return the replica that takes the oldest frame of a stream beyond its window; see `replica_for`."""
        number = self.owner(frame)
        there = [one for one in replicas if one.number == number and one.may_take_oldest(is_gathering=is_gathering)]
        return self._unless_shared(frame, replicas, there[0] if there else None)

    def _unless_shared(self, frame: Announcement, replicas: Iterable[Replica], owner: Replica | None) -> Replica | None:
        """Return the owner of a frame's camera; None: another session still works on frames of this stream."""
        if owner is None or self._holders.get(frame.key) == owner.session:
            return owner
        for replica in replicas:
            if replica is not owner and holds_stream(replica, frame.key):
                return None
        self._holders[frame.key] = owner.session
        return owner

    def is_kept(self, replicas: Iterable[Replica]) -> bool:
        """Whether every lease that is out is with the replica that the map names; what was passed on is done with."""
        for replica in replicas:
            for cell in replica.leases.values():
                if not cell.is_passed and self.owner(cell) != replica.number:
                    return False
        return True

    def absent(self, waiting: Iterable[Announcement], replicas: Iterable[Replica]) -> list[int]:
        """Return the numbers of the owners of waiting frames that are not there, or take none; `NOBODY` among them."""
        there = {replica.number for replica in replicas if replica.is_present and not replica.is_suspended}
        return sorted({self.owner(frame) for frame in waiting} - there)


def holds_stream(replica: Replica, key: int) -> bool:
    """Whether a replica holds frames of a stream that it has not passed on."""
    return any([cell.key == key and not cell.is_passed for cell in replica.leases.values()])
