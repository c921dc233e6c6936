"""Which replica of a consumer gets the frames of which camera: one map for all its producers, with an epoch. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

NOBODY: Final = -1
FIRST_EPOCH: Final = 1


class Home(NamedTuple):
    """Where a camera's state lives."""

    owner: int
    """Number of the replica that gets its frames; `NOBODY`: it moves, and its last owner gives back what it holds."""
    since: int
    """Epoch of the map since which that is so; while a camera moves, that of its last owner."""


class CameraMap:
    """One state of the map. Whoever has a later epoch knows better."""

    def __init__(self, epoch: int, replicas: int, homes: Mapping[str, Home]) -> None:
        """Hold one state.

        Args:
            epoch: counts the states, from `FIRST_EPOCH`.
            replicas: of the consumer.
            homes: by camera; one that is not there goes to a replica that follows from its name, for good.
        """
        self.epoch, self.replicas = epoch, replicas
        self.homes: dict[str, Home] = dict(homes)

    def home(self, camera: str) -> Home:
        """Return where a camera's state lives."""
        known = self.homes.get(camera)
        return Home(zlib.crc32(camera.encode()) % self.replicas, FIRST_EPOCH) if known is None else known

    def since(self, camera: str) -> int:
        """Return the epoch since which a camera's last owner has it."""
        known = self.homes.get(camera)
        return FIRST_EPOCH if known is None else known.since

    def rows(self) -> list[tuple[str, int, int]]:
        """Return camera, owner and epoch of each home, as `memory.partition_file` writes them."""
        return [(camera, home.owner, home.since) for camera, home in self.homes.items()]

    def cameras_of(self, replica: int) -> list[str]:
        """Return the cameras whose frames a replica gets."""
        return [camera for camera, home in self.homes.items() if home.owner == replica]


def first_map(cameras: Sequence[str], replicas: int) -> CameraMap:
    """Return the map that a run begins with: cameras in the file's order, replicas in turn."""
    homes = {camera: Home(place % replicas, FIRST_EPOCH) for place, camera in enumerate(cameras)}
    return CameraMap(FIRST_EPOCH, replicas, homes)


def map_of_rows(epoch: int, replicas: int, rows: Iterable[tuple[str, int, int]]) -> CameraMap:
    """Return the map that `CameraMap.rows` told."""
    return CameraMap(epoch, replicas, {camera: Home(owner, since) for camera, owner, since in rows})
