"""The connections to attached replicas: how each is reached, and what it has completed."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable

from detektr.memory.completion_queue import Completion
from detektr.wire.link import Link, Outbox


class ConsumerConnection(ABC):
    """How a producer reaches one attached replica; each lane has its own kind."""

    def __init__(self, consumer: str, replica: str, attach_epoch: int, pid: int, outbox: Outbox) -> None:
        """Take over what an attach gave.

        Args:
            consumer: whose edge it is.
            replica: name of the process: `motion.1`.
            attach_epoch: how often it attached in this session.
            pid: the process that attached.
            outbox: the way to its inbox; it belongs to the connection from now on.
        """
        self.consumer, self.replica, self.attach_epoch, self.pid = consumer, replica, attach_epoch, pid
        self.outbox = outbox
        self.pidfd = -1
        """Readable when the process ends; -1: none is known here. It says when to look: the lock tells who lives."""

    @property
    @abstractmethod
    def has_news(self) -> bool:
        """Whether something was completed that was not taken yet."""

    @abstractmethod
    def take(self) -> list[Completion]:
        """Return what was completed since the last call.

        Raises:
            WireError: what is there cannot have been written by one of ours.
        """

    @abstractmethod
    def wake(self) -> None:
        """Wake the replica if it sleeps, so that it looks at what this process wrote before."""

    def close(self) -> None:
        """Close everything that the connection has open."""
        self.outbox.close()
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


class ConnectionTable(dict[int, ConsumerConnection]):
    """The connections of one producer, by session; a loop that waits on `link` wakes when one of the processes ends."""

    def __init__(self, link: Link) -> None:
        """Begin without any."""
        super().__init__()
        self._link = link

    def add(self, session: int, connection: ConsumerConnection) -> None:
        """Let a connection in."""
        self[session] = connection
        with contextlib.suppress(OSError):  # of another container, or gone: its status block's lock tells
            connection.pidfd = os.pidfd_open(connection.pid)
            self._link.watch(connection.pidfd)

    def close(self, session: int) -> None:
        """Close one connection, if there is one."""
        connection = self.pop(session, None)
        if connection is not None:
            if connection.pidfd >= 0:
                self._link.unwatch(connection.pidfd)
            connection.close()

    def has_news(self, sessions: Iterable[int]) -> bool:
        """Whether one of these sessions has completed something."""
        return any([session in self and self[session].has_news for session in sessions])
