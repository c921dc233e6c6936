"""Decides where cameras live as replicas die and come back. Pure: time, and what is known of processes, come in.

    a camera's owner     what is known                            what follows
    replica n            n is alive                               it stays there
    replica n            n is dead for `ABSENT_NS`, or for good   another replica has it at once: the dead hold nothing
    replica n            its first owner is back for `BACK_NS`    nobody has it, until every edge says that n holds none
    nobody (it moves)    every edge says so, or n has died        the replica that it moves to has it
    nobody (it moves)    that one has died, or it takes too long  it stays with n

Each change is another epoch of the map. `since` in it changes only with the owner, so a replica that gets a camera back
sees that others had it meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from detektr.edge.partition.camera_map import NOBODY, CameraMap, Home, first_map

ABSENT_NS = 1_000_000_000  # a dead replica's cameras wait so long for its successor
BACK_NS = 5_000_000_000  # a successor that lives for so long gets back the cameras that its predecessor began with
MOVE_NS = 3_000_000_000  # longest time for which a camera that moves is nobody's
LOOK_NS = 20_000_000  # how often edges are asked whether a camera that moves was given back


class ReplicaFact(NamedTuple):
    """What the supervisor knows of one replica."""

    is_up: bool
    """Whether its process is there, and ready."""
    since_ns: int
    """Since when that is so."""
    is_over: bool = False
    """Whether it has no process and will have none."""


class _Move(NamedTuple):
    owner: int
    target: int
    begun_ns: int
    epoch: int


class Assignment:
    """The homes of the cameras of one consumer."""

    def __init__(self, cameras: Sequence[str], replicas: int) -> None:
        """Begin with the first map; `cameras` in the file's order."""
        self.map = first_map(cameras, replicas)
        self._first = {camera: home.owner for camera, home in self.map.homes.items()}
        self._moves: dict[str, _Move] = {}
        self._stayed_ns: dict[str, int] = {}  # when a move was given up: it is tried again as much later

    @property
    def is_moving(self) -> bool:
        """Whether a camera is on the move, so that the edges must be asked."""
        return bool(self._moves)

    def due_ns(self, facts: Sequence[ReplicaFact], now_ns: int) -> int | None:
        """Return when to look again, if nothing happens before; None: nothing will change by itself."""
        due_ns = [now_ns + LOOK_NS] if self._moves else []
        for camera, home in self.map.homes.items():
            first = self._first[camera]
            if home.owner == NOBODY:
                continue
            if not facts[home.owner].is_up and any(fact.is_up for fact in facts):
                due_ns.append(facts[home.owner].since_ns + ABSENT_NS)
            elif home.owner != first and facts[first].is_up:
                due_ns.append(self._back_ns(camera, facts))
        return min(due_ns, default=None)

    def look(self, facts: Sequence[ReplicaFact], acknowledged: int | None, now_ns: int) -> bool:
        """Decide; True: `map` is another one.

        Args:
            facts: of each replica.
            acknowledged: every edge keeps to the map of this epoch, with all the leases that are out; None: there is
                no edge.
            now_ns: now.
        """
        epoch = self.map.epoch + 1
        homes = dict(self.map.homes)
        for camera, move in list(self._moves.items()):
            is_kept = acknowledged is None or acknowledged >= move.epoch
            is_free = is_kept or not facts[move.owner].is_up
            if is_free and facts[move.target].is_up:
                homes[camera] = Home(move.target, epoch)
            elif not facts[move.target].is_up or now_ns - move.begun_ns > MOVE_NS:
                homes[camera] = Home(move.owner, homes[camera].since)
                self._stayed_ns[camera] = now_ns
            else:
                continue
            del self._moves[camera]
        for camera, home in homes.items():
            if home.owner == NOBODY:
                continue
            fact, first = facts[home.owner], self._first[camera]
            if not fact.is_up:
                if fact.is_over or now_ns - fact.since_ns >= ABSENT_NS:
                    heir = _least_busy(homes, facts)
                    homes[camera] = home if heir == NOBODY else Home(heir, epoch)
            elif home.owner != first and facts[first].is_up and now_ns >= self._back_ns(camera, facts):
                homes[camera] = Home(NOBODY, home.since)
                self._moves[camera] = _Move(home.owner, first, now_ns, epoch)
        if homes == self.map.homes:
            return False
        self.map = CameraMap(epoch, self.map.replicas, homes)
        return True

    def _back_ns(self, camera: str, facts: Sequence[ReplicaFact]) -> int:
        """Return when a camera may go back to its first owner."""
        return max(facts[self._first[camera]].since_ns, self._stayed_ns.get(camera, 0)) + BACK_NS


def _least_busy(homes: dict[str, Home], facts: Sequence[ReplicaFact]) -> int:
    """Return the living replica with the fewest cameras; `NOBODY`: none lives."""
    counts = [0] * len(facts)
    for home in homes.values():
        counts[home.owner] += home.owner != NOBODY
    alive = [number for number, fact in enumerate(facts) if fact.is_up]
    return min(alive, key=lambda number: (counts[number], number), default=NOBODY)
