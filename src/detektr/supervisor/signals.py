"""Signals as something to be read: they wake a loop, and never interrupt it."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class SignalPipe:
    """Inside its `with`, ending signals arrive at `fd` instead; only in the main thread."""

    def __init__(self) -> None:
        """Make the pipe; signals are not redirected yet."""
        self.fd, self._writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1

    def __enter__(self) -> SignalPipe:
        self._wakeup_before = signal.set_wakeup_fd(self._writing, warn_on_full_buffer=False)
        for number in ENDING:
            # nohup: a closed terminal shall not end it. A shell's `&` ignores SIGINT too, yet `kill -INT` is meant.
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, _arrive)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self.fd)
        os.close(self._writing)

    def take(self) -> list[int]:
        """Return the ending signals that have come."""
        try:
            return [number for number in os.read(self.fd, 4096) if number in self._before]
        except BlockingIOError:
            return []

    @staticmethod
    def is_impatient(number: int) -> bool:
        """Whether a repeated signal of this number means that its sender will not wait."""
        return number == signal.SIGINT


def _arrive(number: int, frame: FrameType | None) -> None:
    """Do nothing: the number is in the pipe by now."""
