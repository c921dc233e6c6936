"""Shows a run to people: log lines and, on a terminal, a live table below them, by a thread that may be blocked."""

from __future__ import annotations

import os
import select
import sys
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from detektr.observe.table import Row, draw

LINES_WAITING_MAX = 10_000  # for a terminal that is slow, or held with Ctrl-S; lines beyond it are not shown


class Screen:
    """Shows lines in order and of the tables only the latest. No call ever waits for the terminal."""

    def __init__(self, *, is_quiet: bool = False) -> None:
        """Begin to show.

        Args:
            is_quiet: no table, and of the lines only warnings and worse.
        """
        self.is_live = not is_quiet and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        """Whether a table is shown."""
        self._is_quiet = is_quiet
        self._lines: deque[str] = deque(maxlen=LINES_WAITING_MAX)
        self._table: tuple[str, Sequence[Row]] | None = None
        self._is_closing = False
        self._change = threading.Condition()  # guards the above; never held during output
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)
        self._thread.start()

    def line(self, text: str) -> None:
        """Show a log line."""
        if self._is_quiet and any(f" {level} " in text[:24] for level in ("DEBUG", "INFO", "PRINT")):
            return
        with self._change:
            self._lines.append(text)
            self._change.notify()

    def table(self, title: str, rows: Sequence[Row]) -> None:
        """Show this table in the place of the one before."""
        with self._change:
            self._table = title, rows
            self._change.notify()

    def write(self, text: str) -> None:
        """Show a logging handler's output."""
        if text.strip():
            self.line(text.rstrip("\n"))

    def flush(self) -> None:
        """Do nothing: lines go out as soon as they can."""

    def close(self, timeout_s: float) -> None:
        """Show the lines that wait, for at most this time, and leave the last table standing."""
        with self._change:
            self._is_closing = True
            self._change.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        live: Any = None
        try:
            while True:
                with self._change:
                    self._change.wait_for(lambda: self._lines or self._table or self._is_closing)
                    lines, table = list(self._lines), self._table
                    self._lines.clear()
                    self._table = None
                    is_last = self._is_closing and not lines and table is None
                if is_last:
                    break
                if table is not None and self.is_live and live is None:
                    live = _open_live()
                if live is None or not sys.stderr.isatty():
                    if lines:
                        _Unbuffered(2).write("".join(f"{line}\n" for line in lines))
                else:
                    for line in lines:
                        live.console.print(line, markup=False, highlight=False, soft_wrap=True)
                if live is not None and table is not None:
                    live.update(draw(*table, live.console.width), refresh=True)
        finally:
            if live is not None:
                live.stop()


def _open_live() -> Any:
    from rich.console import Console
    from rich.live import Live

    terminal: Any = _Unbuffered(1)  # has of a text file what Rich asks of one
    live = Live(console=Console(file=terminal), auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
    live.start()
    return live


class _Unbuffered:
    """A text file straight to a descriptor: no lock of Python's that a blocked thread could hold at the end.

    If the terminal is gone or the disk full, only this output is lost: the logs are in files.
    """

    encoding = "utf-8"

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, text: str) -> int:
        left = memoryview(text.encode(errors="replace"))
        while left:
            try:
                left = left[os.write(self._fd, left) :]
            except BlockingIOError:  # somebody made the terminal non-blocking
                select.select([], [self._fd], [])
            except OSError:
                break
        return len(text)

    def flush(self) -> None:
        """Nothing waits here: each write goes straight to the descriptor."""

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)
