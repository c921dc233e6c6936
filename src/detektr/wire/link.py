"""The only user of ZeroMQ: one inbox (PULL) a process, one outbox (PUSH) a peer. Nothing here ever waits unasked.

Beside its inbox a process has a doorbell; `Link.wait` sleeps on both.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator
from pathlib import Path

import zmq

from detektr.errors import RefusedError, WireError
from detektr.wire.codec import MESSAGE_BYTES_MAX, decode, encode
from detektr.wire.doorbell import Doorbell, RemoteDoorbell
from detektr.wire.message import Message

_PENDING_MAX = 4096  # messages on their way to one peer
_RECONNECT_MS = 20
_RINGS_MAX = 32  # wakes, until what was rung is taken out of the doorbell's pipe: it must not fill up
_EVENTS, _POLLIN, _NOBLOCK = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.NOBLOCK)  # as flags, each use costs microseconds
_READY_MAX = 16  # descriptors told of at once; the more, the larger a piece of memory is fetched at each wake


class Link:
    """A process's inbox and doorbell. Outboxes connect to other processes' inboxes and doorbells."""

    def __init__(self, inbox: Path, doorbell: Path) -> None:
        """Bind the inbox and hang up the doorbell; files that a dead predecessor left there are replaced.

        Raises:
            RefusedError: the socket cannot be bound.
        """
        self._context = zmq.Context(io_threads=1)
        self._context.set(zmq.MAX_SOCKETS, 4096)
        self._path = inbox
        self._inbox = self._context.socket(zmq.PULL)
        self._inbox.set(zmq.LINGER, 0)
        self._inbox.set(zmq.RCVHWM, _PENDING_MAX)
        self._inbox.set(zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX)
        what = f"socket {inbox}"
        try:
            self._inbox.bind(f"ipc://{inbox}")
            inbox.chmod(0o600)  # its folder lets in nobody else meanwhile; a umask would be every thread's
            what = f"doorbell {doorbell}"
            self._doorbell = Doorbell(doorbell)
        except (zmq.ZMQError, OSError) as fault:
            self._inbox.close()
            self._context.term()
            if isinstance(fault, OSError):  # else the socket's file is somebody else's, if there is one
                inbox.unlink(missing_ok=True)
            hint = "point DETEKTR_SHM_DIR at a folder in memory (tmpfs) with room, that you may write to"
            raise RefusedError(f"{what} cannot be made: {fault.strerror}; {hint}") from None
        self.has_mail = True
        """Whether the inbox may hold messages; they are not looked for otherwise."""
        self._is_woken = False  # out of a sleep, by the inbox: it holds a message, and most likely no other
        self._may_hold_more = False  # it held one, and was not asked for others
        self.is_rung = False
        """Whether the doorbell rang during the last `wait`."""
        # ZeroMQ's descriptor can be read when something has changed; what, `receive` finds out.
        self._inbox_fd, self._bell_fd = int(self._inbox.get(zmq.FD)), self._doorbell.fileno()
        self._poll = select.epoll()  # remembers what it waits for: poll would tell the kernel anew each time
        self.watch(self._inbox_fd)
        # Each ring counts, also while earlier ones lie there: to read them all the time is a call more at each wake.
        self._poll.register(self._bell_fd, select.EPOLLIN | select.EPOLLET)
        self._rings, self._rings_max = 0, _RINGS_MAX
        if not self._hears_each_ring():
            self._poll.modify(self._bell_fd, select.EPOLLIN)
            self._rings_max = 0

    def watch(self, fd: int) -> None:
        """Let `wait` also wake when `fd` can be read."""
        self._poll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        """Let `fd` no longer wake `wait`; that it does not is no fault."""
        with contextlib.suppress(FileNotFoundError):
            self._poll.unregister(fd)

    def wait(self, timeout_ns: int) -> list[int]:
        """Sleep until a message, a ring or a watched descriptor is there; returns the descriptors that can be read."""
        others: list[int] = []
        self.is_rung = False
        if self._may_hold_more:
            self._ask_for_more()
        may_sleep = timeout_ns > 0 and not self.has_mail
        ready = self._poll.poll(timeout_ns / 1e9 if may_sleep else 0, _READY_MAX)
        for fd, _ in ready:
            if fd == self._bell_fd:
                self.is_rung = True
            elif fd == self._inbox_fd:
                self.has_mail, self._is_woken = True, may_sleep
            else:
                others.append(fd)
        if self.is_rung:
            self._rings += 1
        if self._rings > self._rings_max or (not ready and timeout_ns > 0):
            self._doorbell.drain()
            self._rings, self.is_rung = 0, True  # one that came since would not be heard any more
        return others

    def _hears_each_ring(self) -> bool:
        """Whether this kernel tells of a ring while an earlier one lies in the pipe: Linux 5.5 to 5.13 did not."""
        self._doorbell.ring()
        self._poll.poll(0)
        self._doorbell.ring()
        return any(fd == self._bell_fd for fd, _ in self._poll.poll(0))

    def wake(self) -> None:
        """Let `wait` return, from another thread."""
        self._doorbell.ring()

    def receive(self, limit: int = 256) -> Iterator[Message | WireError]:
        """Return what has arrived, at most `limit` messages; a broken one as the error that it is.

        After a sleep that is the message that woke us, alone: whether there are others is asked before the next sleep,
        when nobody waits for what this message brought any more.
        """
        if self._may_hold_more:
            self._ask_for_more()
        if self._is_woken:
            self._is_woken = False
            payload = self._take()
            if payload is not None:
                self.has_mail, self._may_hold_more = False, True
                yield _message(payload)
                return
        for _ in range(limit):
            # Asking first costs a third of what an exception does.
            self._ask_for_more()
            if not self.has_mail:
                return
            payload = self._take()
            if payload is not None:
                yield _message(payload)

    def _ask_for_more(self) -> None:
        self._may_hold_more = False
        self.has_mail = bool(int(self._inbox.get(_EVENTS)) & _POLLIN)

    def _take(self) -> bytes | None:
        try:
            return self._inbox.recv(_NOBLOCK)
        except zmq.Again:  # its descriptor tells of other things, too
            return None

    def open_outbox(self, inbox: Path, doorbell: Path) -> Outbox:
        """Connect to the inbox and the doorbell that are, or will be, under these paths."""
        return Outbox(self._context.socket(zmq.PUSH), inbox, doorbell)

    def close(self) -> None:
        """Close both and take their names away; outboxes must be closed by their owners first."""
        self._poll.close()
        self._doorbell.close()
        self._inbox.close()
        self._context.term()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


class Sender:
    """Sends messages from a process that takes none."""

    def __init__(self) -> None:
        """Connect to nobody yet."""
        self._context = zmq.Context(io_threads=1)

    def open_outbox(self, inbox: Path, doorbell: Path) -> Outbox:
        """Connect to the inbox and the doorbell that are under these paths."""
        return Outbox(self._context.socket(zmq.PUSH), inbox, doorbell)

    def close(self) -> None:
        """Close; outboxes must be closed by their owners first."""
        self._context.term()


class Outbox:
    """The way to one peer."""

    def __init__(self, socket: zmq.Socket[bytes], inbox: Path, doorbell: Path) -> None:
        """Connect `socket`, which belongs to the outbox from now on."""
        self._socket, self._remote_doorbell = socket, RemoteDoorbell(doorbell)
        self.ring = self._remote_doorbell.ring
        """Wakes the peer, so that it looks at what lies in shared memory."""
        socket.set(zmq.LINGER, 0)
        socket.set(zmq.SNDHWM, _PENDING_MAX)
        socket.set(zmq.RECONNECT_IVL, _RECONNECT_MS)
        socket.connect(f"ipc://{inbox}")

    def try_send(self, message: Message) -> bool:
        """Send now, or say that the peer has stopped listening."""
        try:
            self._socket.send(encode(message), _NOBLOCK)
        except zmq.Again:
            return False
        return True

    def close(self, linger_ms: int = 0) -> None:
        """Close; what is still on its way is given `linger_ms` to arrive."""
        self._remote_doorbell.close()
        self._socket.close(linger=linger_ms)


def _message(payload: bytes) -> Message | WireError:
    """Return what was sent, or why it is no message."""
    try:
        return decode(payload)
    except WireError as fault:
        return fault
