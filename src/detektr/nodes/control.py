"""The line between a node and the supervisor that started it: orders one way, what happened the other way.

A SOCK_SEQPACKET pair: messages stay whole, sending never waits, and when the other end dies the kernel says so.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from typing import Any

from detektr.events import Event

MESSAGE_BYTES_MAX = 1 << 17
EVENTS_MAX = 64  # in one message


class ControlLine:
    """A node's end of the line."""

    def __init__(self, fd: int) -> None:
        """Take over the inherited descriptor `fd`."""
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)
        self.is_cut = False

    def fileno(self) -> int:
        """Return the descriptor, to be watched."""
        return self._socket.fileno()

    def wait_order(self) -> dict[str, Any] | None:
        """Wait for the next order; None: the supervisor is gone."""
        self._socket.setblocking(True)
        return self._take()

    def try_order(self) -> dict[str, Any] | None:
        """Return an order that has arrived, or None; `is_cut` tells whether the supervisor is gone."""
        self._socket.setblocking(False)
        return self._take()

    def try_tell(self, message: dict[str, Any]) -> bool:
        """Send now, or say that the line is full or cut."""
        self._socket.setblocking(False)
        try:
            self._socket.send(json.dumps(message).encode()[:MESSAGE_BYTES_MAX])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return False
        return True

    def try_tell_events(self, events: Sequence[Event]) -> bool:
        """Send what happened now, or say that the line is full or cut."""
        return self.try_tell({"events": [event.as_record() for event in events]})

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def _take(self) -> dict[str, Any] | None:
        try:
            payload = self._socket.recv(MESSAGE_BYTES_MAX)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            payload = b""
        if not payload:
            self.is_cut = True
            return None
        order: dict[str, Any] = json.loads(payload)
        return order
