"""Decides where cameras live as replicas die and come back. Pure: time, and what is known of processes, come in.

    a camera's owner     what is known                            what follows
    replica n            n is alive                               it stays there
    replica n            n is dead for `ABSENT_NS`, or for good   another replica has it at once: the dead hold nothing
    replica n            its first owner is back for `BACK_NS`    nobody has it, until every edge says that n holds none
    replica n            an operator scales, so it has a new first owner, and that is up: as above, at once
    nobody (it moves)    every edge says so, or n has died        the replica that it moves to has it
    nobody (it moves)    that one has died, or it takes too long  it stays with n

Each change is another epoch of the map. `since` in it changes only with the owner, so a replica that gets a camera back
sees that others had it meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    is_leaving: bool = False
    """Whether it is to leave, as an operator has scaled the node down: it gets no camera any more."""


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
        self._scaled: set[str] = set()  # cameras that have another first owner, and need not wait for it to last
        self._replicas = replicas
        self._moves: dict[str, _Move] = {}
        self._stayed_ns: dict[str, int] = {}  # when a move was given up: it is tried again as much later

    @property
    def is_moving(self) -> bool:
        """Whether a camera is on the move, so that the edges must be asked."""
        return bool(self._moves)

    def scale(self, replicas: int) -> None:
        """Share the cameras among so many replicas from now on; `look` moves those that are to live elsewhere."""
        first = spread(self._first, replicas)
        self._scaled |= {camera for camera, owner in first.items() if owner != self._first[camera]}
        self._first, self._replicas = first, replicas

    def is_free(self, replica: int) -> bool:
        """Whether a replica has no camera, and none is on the way to it or from it."""
        moves = [number for move in self._moves.values() for number in (move.owner, move.target)]
        return replica not in moves and not self.map.cameras_of(replica)

    def due_ns(self, facts: Sequence[ReplicaFact], now_ns: int) -> int | None:
        """Return when to look again, if nothing happens before; None: nothing will change by itself."""
        due_ns = [now_ns + LOOK_NS] if self._moves or self._replicas != self.map.replicas else []
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
            if homes[camera].owner == self._first[camera]:
                self._scaled.discard(camera)
        for camera, home in homes.items():
            if home.owner == NOBODY:
                continue
            fact, first = facts[home.owner], self._first[camera]
            if not fact.is_up:
                if fact.is_over or fact.is_leaving or now_ns - fact.since_ns >= ABSENT_NS:
                    heir = first if fact.is_leaving and facts[first].is_up else _least_busy(homes, facts)
                    homes[camera] = home if heir == NOBODY else Home(heir, epoch)
            elif home.owner != first and facts[first].is_up and now_ns >= self._back_ns(camera, facts):
                homes[camera] = Home(NOBODY, home.since)
                self._moves[camera] = _Move(home.owner, first, now_ns, epoch)
        if homes == self.map.homes and self._replicas == self.map.replicas:
            return False
        self.map = CameraMap(epoch, self._replicas, homes)
        return True

    def _back_ns(self, camera: str, facts: Sequence[ReplicaFact]) -> int:
        """Return when a camera may go back to its first owner."""
        stayed_ns = self._stayed_ns.get(camera)
        if camera in self._scaled and stayed_ns is None:
            return facts[self._first[camera]].since_ns
        return max(facts[self._first[camera]].since_ns, stayed_ns or 0) + BACK_NS


def spread(owners: Mapping[str, int], replicas: int) -> dict[str, int]:
    """Return who is to own each camera among so many replicas: as evenly as can be, and few of them elsewhere.

    Args:
        owners: who owned each camera so far.
        replicas: how many there are from now on, numbered from 0.
    """
    shares: dict[int, list[str]] = {number: [] for number in range(replicas)}
    homeless = []
    for camera, owner in owners.items():
        shares[owner].append(camera) if owner in shares else homeless.append(camera)
    for camera in homeless:
        min(shares.values(), key=len).append(camera)
    while len(fullest := max(shares.values(), key=len)) - len(emptiest := min(shares.values(), key=len)) > 1:
        emptiest.append(fullest.pop())
    return {camera: owner for owner, cameras in shares.items() for camera in cameras}


def _least_busy(homes: dict[str, Home], facts: Sequence[ReplicaFact]) -> int:
    """Return the living replica with the fewest cameras; `NOBODY`: none lives."""
    counts = [0] * len(facts)
    for home in homes.values():
        counts[home.owner] += home.owner != NOBODY
    alive = [number for number, fact in enumerate(facts) if fact.is_up and not fact.is_leaving]
    return min(alive, key=lambda number: (counts[number], number), default=NOBODY)
