"""The ways to attached replicas: where each gives back, and how it is woken when there is something for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from detektr.memory.returns import ReturnsReader
from detektr.memory.segment import fence
from detektr.wire.link import Outbox


@dataclass(slots=True)
class Way:
    """How one attached replica is reached, and where it gives back."""

    consumer: str
    replica: str
    round: int
    pid: int
    """The process that attached."""
    outbox: Outbox
    returns: ReturnsReader
    woken: int = 0
    """The sleep out of which it was woken last."""

    def wake(self) -> None:
        """Wake the replica if it sleeps, once a sleep; what it is to see must have been written before."""
        sleeps = self.returns.sleeps
        if sleeps & 1 and sleeps != self.woken:
            self.woken = sleeps
            self.outbox.ring()

    def close(self) -> None:
        """Close everything that the way has open."""
        self.outbox.close()
        self.returns.close()


class Ways(dict[int, Way]):
    """The ways of one producer, by session."""

    def wake(self, sessions: Iterable[int]) -> None:
        """Wake those that sleep, so that they look at what they were granted, or at whether we wait."""
        fence()
        for session in sessions:
            self[session].wake()

    def close(self, session: int) -> None:
        """Close one way, if there is one."""
        way = self.pop(session, None)
        if way is not None:
            way.close()

    @property
    def has_news(self) -> bool:
        """Whether something was given back."""
        return any([way.returns.has_news for way in self.values()])
