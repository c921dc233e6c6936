"""The only user of ZeroMQ: one inbox (PULL) a process, one outbox (PUSH) a peer. Nothing here ever waits unasked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import zmq

from detektr.errors import RefusedError, WireError
from detektr.wire.codec import MESSAGE_BYTES_MAX, decode, encode
from detektr.wire.message import Message

_PENDING_MAX = 4096  # messages on their way to one peer; windows keep them far below
_RECONNECT_MS = 20


class Link:
    """A process's sockets. `inbox` is bound under `path`; outboxes connect to other processes' paths."""

    def __init__(self, path: Path) -> None:
        """Bind the inbox; a file that a dead predecessor left there is replaced.

        Raises:
            RefusedError: the socket cannot be bound.
        """
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._path = path
        self._inbox = self._context.socket(zmq.PULL)
        self._inbox.set(zmq.LINGER, 0)
        self._inbox.set(zmq.RCVHWM, _PENDING_MAX)
        self._inbox.set(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        mask = os.umask(0o177)
        try:
            self._inbox.bind(f"ipc://{path}")
        except zmq.ZMQError as fault:
            self._inbox.close()
            self._context.term()
            raise RefusedError(f"socket {path} cannot be bound: {fault.strerror}") from None
        finally:
            os.umask(mask)
        self._has_arrived = False
        self._poller = zmq.Poller()
        self._poller.register(self._inbox, zmq.POLLIN)

    def watch(self, fd: int) -> None:
        """Let `wait` also wake when `fd` can be read."""
        self._poller.register(fd, zmq.POLLIN)

    def unwatch(self, fd: int) -> None:
        """Let `fd` no longer wake `wait`."""
        self._poller.unregister(fd)

    def wait(self, timeout_ns: int) -> list[int]:
        """Sleep until a message or a watched descriptor is there; returns the descriptors that can be read."""
        ready = self._poller.poll(max(0, -(-timeout_ns // 1_000_000)))
        self._has_arrived = any(source is self._inbox for source, _ in ready)
        return [source for source, _ in ready if source is not self._inbox]

    def receive(self, limit: int = 256) -> Iterator[Message | WireError]:
        """Return what has arrived, at most `limit` messages; a broken one as the error that it is."""
        inbox = self._inbox
        for _ in range(limit):
            # Asking first costs a third of what an exception does.
            if not self._has_arrived and not int(inbox.get(zmq.EVENTS)) & zmq.POLLIN:
                return
            self._has_arrived = False
            try:
                payload = inbox.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield decode(payload)
            except WireError as fault:
                yield fault

    def open_outbox(self, path: Path) -> Outbox:
        """Connect to the inbox that is, or will be, bound under `path`."""
        return Outbox(self._context.socket(zmq.PUSH), path)

    def close(self) -> None:
        """Close the inbox and take its name away; outboxes must be closed by their owners first."""
        self._inbox.close()
        self._context.term()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


class Outbox:
    """The way to one peer."""

    def __init__(self, socket: zmq.Socket[bytes], path: Path) -> None:
        """Connect `socket`, which belongs to the outbox from now on."""
        self._socket = socket
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, _PENDING_MAX)
        socket.set(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.connect(f"ipc://{path}")

    def try_send(self, message: Message) -> bool:
        """Send now, or say that the peer has stopped listening."""
        try:
            self._socket.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Close; what is still on its way is given `linger_ms` to arrive."""
        self._socket.close(linger=linger_ms)
