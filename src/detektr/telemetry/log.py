"""Log lines on stderr: one line a record, no secret and, unless asked for, no traceback."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from types import TracebackType

from detektr.errors import RefusedError
from detektr.process.fault_text import fault_line, fault_traceback
from detektr.redaction import disarm, mask

LEVELS = ("debug", "info", "warning", "error")
_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class LineFormatter(logging.Formatter):
    """Writes `HH:MM:SS.mmm LEVEL node: text`, secrets masked; an exception is one more clause of the line."""

    def __init__(self, node: str, with_traceback: bool) -> None:
        """Name the node that every line begins with; `with_traceback` adds whole tracebacks below the line."""
        super().__init__()
        self._node = node
        self._with_traceback = with_traceback

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text; without tracebacks it is exactly one line."""
        moment = time.strftime("%H:%M:%S", time.localtime(record.created))
        text = record.getMessage()
        lines = ""
        if record.exc_info and record.exc_info[1] is not None:
            text = f"{text}: {fault_line(record.exc_info[1])}"
            if self._with_traceback:
                trace = mask(fault_traceback(record.exc_info[1]))
                lines = "".join(f"\n{disarm(line)}" for line in trace.splitlines())
        # Before the line breaks become visible ones, or a URL at a line's end would swallow the next line.
        text = disarm(mask(text))
        return f"{moment}.{int(record.msecs):03d} {record.levelname} {self._node}: {text}{lines}"


def setup_log(node: str) -> None:
    """Send everything that is logged in this process to stderr, one line a record.

    The level is DETEKTR_LOG (info unless told otherwise); at debug, whole tracebacks are written too. An exception
    that ends a thread becomes such a line as well. Calling it again replaces the node's name.

    Args:
        node: who logs, e.g. `motion.0`.
    Raises:
        RefusedError: DETEKTR_LOG is not a level.
    """
    level = os.environ.get("DETEKTR_LOG", "").strip().lower() or "info"
    if level not in LEVELS:
        raise RefusedError(f"environment: DETEKTR_LOG is {level!r}; write one of {', '.join(LEVELS)}")
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(node, with_traceback=level == "debug"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    threading.excepthook = _log_thread_end


def _log_thread_end(end: threading.ExceptHookArgs) -> None:
    if end.exc_value is None or end.exc_type is SystemExit:
        return
    name = end.thread.name if end.thread is not None else "unknown"
    trace: _ExcInfo = (end.exc_type, end.exc_value, end.exc_traceback)
    logging.getLogger("detektr").critical("thread %s ended", name, exc_info=trace)
