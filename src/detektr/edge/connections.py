"""The ways to attached replicas: where each gives back, and how it is woken when there is something for it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from detektr.memory.completion_queue import CompletionQueueReader
from detektr.memory.layout import COMPLETION_WORD_SLEEPS
from detektr.memory.segment import fence
from detektr.wire.link import Link, Outbox


@dataclass(slots=True)
class ConsumerConnection:
    """How one attached replica is reached, and where it gives back."""

    consumer: str
    replica: str
    attach_epoch: int
    pid: int
    """The process that attached."""
    outbox: Outbox
    completions: CompletionQueueReader
    pidfd: int = -1
    """Can be read when that process ends; -1: there is none here. It only says when to look: the page's lock tells."""
    woken: int = 0
    """The sleep out of which it was woken last."""

    def wake(self) -> None:
        """Wake the replica if it sleeps, once a sleep; what it is to see must have been written before."""
        sleeps = self.completions.words[COMPLETION_WORD_SLEEPS]
        if sleeps & 1 and sleeps != self.woken:
            self.woken = sleeps
            self.outbox.ring()

    def close(self) -> None:
        """Close everything that the way has open."""
        self.outbox.close()
        self.completions.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class ConnectionTable(dict[int, ConsumerConnection]):
    """The ways of one producer, by session; whoever waits on `link` wakes when one of the processes ends."""

    def __init__(self, link: Link) -> None:
        """Begin without any."""
        super().__init__()
        self._link = link

    def add(self, session: int, connection: ConsumerConnection) -> None:
        """Let a way in."""
        self[session] = connection
        with contextlib.suppress(OSError):  # of another container, or gone: its page's lock tells
            connection.pidfd = os.pidfd_open(connection.pid)
            self._link.watch(connection.pidfd)

    def wake(self, sessions: Collection[int]) -> None:
        """Wake those that sleep, so that they look at what they were granted, or at whether we wait."""
        if sessions:
            fence()
            for session in sessions:
                connection = self.get(session)
                if connection is not None:
                    connection.wake()

    def close(self, session: int) -> None:
        """Close one way, if there is one."""
        connection = self.pop(session, None)
        if connection is not None:
            if connection.pidfd >= 0:
                self._link.unwatch(connection.pidfd)
            connection.close()

    def has_news(self, sessions: Iterable[int]) -> bool:
        """Whether one of these sessions has given something back."""
        return any([session in self and self[session].completions.has_news for session in sessions])
