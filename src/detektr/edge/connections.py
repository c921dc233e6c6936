"""The connections to attached replicas: where each completes leases, and how it is reached."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass

from detektr.memory.completion_queue import CompletionQueueReader
from detektr.wire.link import Link, Outbox


@dataclass(slots=True)
class ConsumerConnection:
    """How a producer reaches one attached replica, and where that replica completes leases."""

    consumer: str
    replica: str
    attach_epoch: int
    pid: int
    """The process that attached."""
    outbox: Outbox
    completions: CompletionQueueReader
    pidfd: int = -1
    """Readable when that process ends; -1: none is known here. It says when to look: the status block's lock tells."""
    woken: int = 0
    """The sleep count at which the replica was woken last."""

    def close(self) -> None:
        """Close everything that the connection has open."""
        self.outbox.close()
        self.completions.close()
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
        return any([session in self and self[session].completions.has_news for session in sessions])
