"""The line between a node and the supervisor that started it: orders to the node, events to the supervisor.

A SOCK_SEQPACKET pair: messages stay whole, sending never waits, and when the other end dies the kernel says so.
"""

from __future__ import annotations

import json
import select
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from detektr.events import RunEvent
from detektr.process.user_boundary import let_go_in_child

MESSAGE_BYTES_MAX = 1 << 17
EVENTS_MAX = 64  # in one message
EVENTS_PENDING_MAX = 4096
FAREWELL_NS = 1_000_000_000


class ControlLine:
    """A node's end of the line."""

    def __init__(self, fd: int) -> None:
        """Take over the inherited descriptor `fd`."""
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self.is_cut = False
        let_go_in_child(self.close)

    def fileno(self) -> int:
        """Return the descriptor, to be watched."""
        return self._socket.fileno()

    def wait_order(self) -> dict[str, Any] | None:
        """Wait for the next order; None: the supervisor is gone."""
        self._socket.setblocking(True)
        return self._take()

    def peek_order(self) -> dict[str, Any] | None:
        """Wait for the next order and leave it for who asks next; None: the supervisor is gone."""
        self._socket.setblocking(True)
        return self._take(socket.MSG_PEEK)

    def try_order(self) -> dict[str, Any] | None:
        """Return an order that has arrived, or None; `is_cut` tells whether the supervisor is gone."""
        self._socket.setblocking(False)
        return self._take()

    def wait_farewell(self, code: int | None) -> None:
        """Say that we end, and wait for the answer; then `is_cut` tells whether our files are still wanted.

        With a `code` our work is done, and that is what it comes to, whatever happens to this process on its way out.
        The lines of a supervisor that dies are cut one after the other, so one of its other nodes may have been told
        first, and have ended us before we could know.
        """
        self._socket.setblocking(False)
        try:
            self._socket.send(json.dumps({"ends": True, "code": code}).encode())
        except BlockingIOError:
            return  # it has not read for long, but lives
        except OSError:
            self.is_cut = True
        poll, deadline_ns = select.poll(), time.monotonic_ns() + FAREWELL_NS
        poll.register(self._socket, select.POLLIN)
        while not self.is_cut and (left_ns := deadline_ns - time.monotonic_ns()) > 0:
            if poll.poll(left_ns / 1e6):
                order = self.try_order()
                if order is not None and order.get("order") == "leave":
                    return

    def try_tell(self, message: dict[str, Any]) -> bool:
        """Send now, or say that the line is full or cut, or the message too long."""
        self._socket.setblocking(False)
        try:
            self._socket.send(json.dumps(message).encode())
        except OSError:  # full, cut, or too long for one message
            return False
        return True

    def try_tell_events(self, events: Sequence[RunEvent]) -> int:
        """Send events now, as many as fit into one message.

        Returns:
            How many events were sent, from the first on; 0: the line is full or cut.
        """
        records: list[dict[str, Any]] = []
        left = MESSAGE_BYTES_MAX - len('{"events": []}')
        for event in events:
            record = event.as_record()
            length = len(json.dumps(record)) + len(", ")
            if length > MESSAGE_BYTES_MAX // 2:  # nothing of ours is so long; what is, is told by its kind alone
                record = {"event": record["event"], "node": record["node"]}
                length = len(json.dumps(record)) + len(", ")
            left -= length
            if left < 0:
                break
            records.append(record)
        return len(records) if self.try_tell({"events": records}) else 0

    def close(self) -> None:
        """Close the line."""
        self._socket.close()

    def _take(self, flags: int = 0) -> dict[str, Any] | None:
        try:
            payload = self._socket.recv(MESSAGE_BYTES_MAX, flags)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            payload = b""
        if not payload:
            self.is_cut = True
            return None
        order: dict[str, Any] = json.loads(payload)
        return order


class EventOutbox:
    """Events until the supervisor can be told them; when that takes too long, the oldest are lost."""

    def __init__(self, line: ControlLine) -> None:
        """Send over this line."""
        self._line = line
        self._events: deque[RunEvent] = deque(maxlen=EVENTS_PENDING_MAX)

    @property
    def is_filling(self) -> bool:
        """Whether it is time to send."""
        return len(self._events) > EVENTS_PENDING_MAX // 4

    def put(self, event: RunEvent) -> bool:
        """Keep an event; False: the oldest one had to go for it."""
        has_room = len(self._events) < EVENTS_PENDING_MAX
        self._events.append(event)
        return has_room

    def send(self) -> None:
        """Send as many events as the line takes now."""
        while self._events:
            batch = [self._events[place] for place in range(min(EVENTS_MAX, len(self._events)))]
            sent = self._line.try_tell_events(batch)
            if not sent:
                return
            for _ in range(sent):
                self._events.popleft()
