"""A producer's connections to its attached replicas: they wake a replica, and collect the leases that it completed."""

from __future__ import annotations

import contextlib
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable

from detektr.edge.state.lease import SessionState
from detektr.errors import WireError
from detektr.memory.completion_queue import Completion
from detektr.memory.status_block_reader import StatusBlockReader, StatusBlockTable
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Attach

_REPLICA = re.compile(r"^([A-Za-z][A-Za-z0-9_-]{0,31})\.([0-9]{1,3})\Z")


class ConsumerConnection(ABC):
    """How a producer reaches one attached replica; each lane has its own kind."""

    def __init__(self, consumer: str, replica: str, attach_epoch: int, pid: int, outbox: Outbox) -> None:
        """Take over the values of an attach.

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
        """Descriptor that is readable once the process ends; -1: none. The status block's lock says if it lives."""

    @property
    @abstractmethod
    def has_news(self) -> bool:
        """Whether leases were completed that `take` has not returned yet."""

    @abstractmethod
    def take(self) -> list[Completion]:
        """Return the leases that were completed since the last call.

        Raises:
            WireError: the content cannot have been written by detektr.
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
        """Add a connection."""
        self[session] = connection
        with contextlib.suppress(OSError):  # in another container, or gone: the status block's lock decides
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
        """Whether one of these sessions has completed a lease."""
        return any([session in self and self[session].has_news for session in sessions])


def session_state(message: Attach) -> SessionState:
    """Return what a consumer that attaches says of its session."""
    return SessionState(
        received=message.received,
        held=frozenset(message.held),
        passed=frozenset(message.passed),
        done=frozenset(message.done),
        seen=dict(message.seen),
        failed=message.failed,
        previous=message.previous,
    )


def identify(message: Attach, status_blocks: StatusBlockTable, known: ConsumerConnection | None) -> tuple[str, int]:
    """Return the node and replica that asks to attach: alive, of this session, and not of an epoch that is over.

    Args:
        message: its attach.
        status_blocks: those of all processes.
        known: the connection that its session has already.
    Raises:
        WireError: it is not who it says; the text says why.
    """
    parts = _REPLICA.match(message.replica)
    if parts is None:
        raise WireError(f"Attach.replica {message.replica!r} is not a node and a number, as in motion.0")
    status_block = status_blocks.get(message.replica)
    if status_block is None or not status_block.is_alive or status_block.progress(message.session) is None:
        raise WireError(f"Attach: no living {message.replica} has session {message.session} in its status block")
    if known is not None and message.attach_epoch <= known.attach_epoch:
        raise WireError(
            f"Attach: epoch {message.attach_epoch} of {message.replica} is over; it is at {known.attach_epoch}"
        )
    return parts[1], int(parts[2])


def is_there(status_block: StatusBlockReader | None, connection: ConsumerConnection | None) -> bool:
    """Whether the process of a replica that attached is alive; a successor has its status block before it is ready."""
    if status_block is None or not status_block.is_alive:
        return False
    return connection is None or status_block.pid == connection.pid
