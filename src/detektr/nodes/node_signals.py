"""The signals that tell a node to end: they wake its loop. A child that user code forks gets the default handlers."""

from __future__ import annotations

import os
import signal
from types import FrameType

from detektr.process.user_boundary import let_go_in_child


def ending_signals() -> tuple[int, ...]:
    """Return the signals that tell a process to end: SIGHUP only where it is not ignored, as under nohup."""
    ending = (signal.SIGTERM, signal.SIGINT)
    return ending if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN else (*ending, signal.SIGHUP)


def pass_over(number: int, frame: FrameType | None) -> None:
    """Do nothing; unlike SIG_IGN, a program that the user's code starts does not inherit this."""


class NodeSignals:
    """From now on these signals arrive at `fd`; only in the main thread."""

    def __init__(self) -> None:
        """Catch them."""
        self._numbers = ending_signals()
        self.fd, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in self._numbers:
            signal.signal(number, _arrive)
        let_go_in_child(self._leave_to_parent)

    def take(self) -> list[int]:
        """Return the ending signals that have come; the user's code may listen to others."""
        try:
            return [number for number in os.read(self.fd, 4096) if number in self._numbers]
        except BlockingIOError:
            return []

    def _leave_to_parent(self) -> None:
        """In a child: signals sent to it (`multiprocessing` does so) are meant for it, and must not stop the node."""
        signal.set_wakeup_fd(-1)
        for number in self._numbers:
            if signal.getsignal(number) is _arrive:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        os.close(self.fd)
        os.close(self._writing)


def _arrive(number: int, frame: FrameType | None) -> None:
    """Do nothing, wherever the loop is: the signal's number is in the pipe by now."""
