"""The ways to attached replicas: where each gives back, and how it is woken when there is something for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from detektr.memory.completion_queue import ReturnsReader
from detektr.memory.layout import RETURNS_WORD_SLEEPS
from detektr.memory.segment import fence
from detektr.wire.link import Link, Outbox


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
    pidfd: int = -1
    """Can be read when that process ends; -1: there is none here. It only says when to look: the page's lock tells."""
    woken: int = 0
    """The sleep out of which it was woken last."""

    def wake(self) -> None:
        """Wake the replica if it sleeps, once a sleep; what it is to see must have been written before."""
        sleeps = self.returns.words[RETURNS_WORD_SLEEPS]
        if sleeps & 1 and sleeps != self.woken:
            self.woken = sleeps
            self.outbox.ring()

    def close(self) -> None:
        """Close everything that the way has open."""
        self.outbox.close()
        self.returns.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class Ways(dict[int, Way]):
    """The ways of one producer, by session; whoever waits on `link` wakes when one of the processes ends."""

    def __init__(self, link: Link) -> None:
        """Begin without any."""
        super().__init__()
        self._link = link

    def add(self, session: int, way: Way) -> None:
        """Let a way in."""
        self[session] = way
        with contextlib.suppress(OSError):  # of another container, or gone: its page's lock tells
            way.pidfd = os.pidfd_open(way.pid)
            self._link.watch(way.pidfd)

    def wake(self, sessions: Collection[int]) -> None:
        """Wake those that sleep, so that they look at what they were granted, or at whether we wait."""
        if sessions:
            fence()
            for session in sessions:
                way = self.get(session)
                if way is not None:
                    way.wake()

    def close(self, session: int) -> None:
        """Close one way, if there is one."""
        way = self.pop(session, None)
        if way is not None:
            if way.pidfd >= 0:
                self._link.unwatch(way.pidfd)
            way.close()

    def has_news(self, sessions: Iterable[int]) -> bool:
        """Whether one of these sessions has given something back."""
        return any([session in self and self[session].returns.has_news for session in sessions])
