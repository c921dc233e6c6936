"""The ways to attached replicas: telling them of their leases, several at once where that disturbs them less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from detektr.memory.returns import ReturnsReader
from detektr.nodes.lease import Cell
from detektr.wire.link import Outbox
from detektr.wire.message import Grant, Lease

GRANT_BYTES_MAX = 1 << 20  # payload of one message, unless a single lease has more
HOLD_NS = 1_000_000  # a buffer that was told something so lately is told of more after this time ...
HELD_MAX = 16  # ... or once it is so many leases, or their pictures so large ...
HELD_BYTES_MAX = 4 << 20  # ... that slots would be written that have left the cache
CROWDED_NS = 100_000_000


@dataclass
class Way:
    """How one attached replica is reached, and where it gives back."""

    consumer: str
    replica: str
    round: int
    pid: int
    """The process that attached."""
    outbox: Outbox
    returns: ReturnsReader
    is_durable: bool
    held: list[Lease] = field(default_factory=list)
    """Leases that it has not been told of yet."""
    told_ns: int = 0
    """When it was told something last."""

    def close(self) -> None:
        """Close everything that the way has open."""
        self.outbox.close()
        self.returns.close()


class Ways(dict[int, Way]):
    """The ways of one producer, by session."""

    def __init__(self, producer: str, payload_bytes: int) -> None:
        """Begin without any.

        Args:
            producer: who grants, as node and replica.
            payload_bytes: largest payload of a lease.
        """
        super().__init__()
        self._producer = producer
        self._leases_max = max(1, GRANT_BYTES_MAX // payload_bytes)  # of one message
        self._held_max = 1
        self._is_hurried = self._may_hold = False
        self._crowded_ns = -CROWDED_NS

    def close(self, session: int) -> None:
        """Close one way, if there is one."""
        way = self.pop(session, None)
        if way is not None:
            way.close()

    @property
    def is_hurried(self) -> bool:
        """Whether we wait for every lease to come back."""
        return self._is_hurried

    def hurry(self, is_hurried: bool) -> None:
        """Say whether we wait for every lease to come back; replicas that sleep on some are woken."""
        if is_hurried and not self._is_hurried:
            for session, way in self.items():
                way.outbox.try_send(Grant(session, way.round, self._producer, ()))
        self._is_hurried = is_hurried

    @property
    def has_news(self) -> bool:
        """Whether something was given back."""
        return any([way.returns.has_news for way in self.values()])

    def expect(self, picture_bytes: int) -> None:
        """Say how large the pictures are that leases are about; without, none is held back."""
        self._held_max = max(1, min(HELD_MAX, HELD_BYTES_MAX // picture_bytes))

    def is_crowded(self, now_ns: int) -> bool:
        """Whether all replicas were told something so lately that news can wait until there is more of it."""
        if not self._may_hold or self._held_max == 1:
            return False
        return all([way.is_durable and now_ns - way.told_ns < HOLD_NS for way in self.values()])

    def wait_ns(self, now_ns: int, until_ns: int) -> int:
        """Return how long the loop may sleep: until `until_ns`, or less where leases may be held back meanwhile."""
        self._may_hold = now_ns - self._crowded_ns < CROWDED_NS
        return min(until_ns - now_ns, HOLD_NS) if self._may_hold else until_ns - now_ns

    def tell(self, granted: Mapping[int, Sequence[Cell]], now_ns: int) -> list[int]:
        """Tell replicas of leases, by session; returns the sessions that have stopped listening."""
        deaf = []
        for session, cells in granted.items():
            way = self[session]
            way.held += map(_lease, cells)
            if not (self._holds_back(way, now_ns) or self._send(session, way, now_ns)):
                deaf.append(session)
        return deaf

    def tell_held(self, now_ns: int) -> list[int]:
        """Tell what was held back long enough; returns the sessions that have stopped listening."""
        if not self._may_hold:
            return []
        due = [(session, way) for session, way in self.items() if way.held and not self._holds_back(way, now_ns)]
        return [session for session, way in due if not self._send(session, way, now_ns)]

    def _holds_back(self, way: Way, now_ns: int) -> bool:
        """Whether a buffer is told later: at thousands of small frames a second each message costs more than a frame.

        Only while the loop sleeps no longer than that, which it begins to do when this was wished for.
        """
        if not way.is_durable or len(way.held) >= self._held_max or now_ns - way.told_ns >= HOLD_NS:
            return False
        self._crowded_ns = now_ns
        return self._may_hold

    def _send(self, session: int, way: Way, now_ns: int) -> bool:
        way.told_ns = now_ns
        leases, most = tuple(way.held), self._leases_max
        way.held.clear()
        parts = [leases[begin : begin + most] for begin in range(0, len(leases), most)]
        return all([way.outbox.try_send(Grant(session, way.round, self._producer, part)) for part in parts])


def _lease(cell: Cell) -> Lease:
    return Lease(cell.key, cell.sequence, cell.captured_ns, cell.index, cell.grant, cell.deliveries, cell.payload)
