"""The border between detektr's code and the user's: a process that user code forks never comes back into ours.

A child that user code forks has our loop below it on its stack, and in its memory the status block, the journals and
the sockets of the process that it was forked from. All of these have one writer. So whatever returns from user code, or
raises out of it, in another process than called it, leaves at once; and what a child must not hold is closed in it.
"""

from __future__ import annotations

import gc
import io
import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from detektr.process.fault_text import fault_line, fault_text, shown
from detektr.redaction import mask

T = TypeVar("T")
_HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_held = threading.local()  # a thread's own signal mask, while it forks
_log = logging.getLogger(__name__)
_let_go: set[weakref.WeakMethod[Callable[[], None]]] = set()


def call_user(function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call user code. It returns, or raises, in this process only: a child that it forked and let come back ends."""
    owner = os.getpid()
    try:
        result = function(*arguments, **options)
    except BaseException as fault:
        if os.getpid() != owner:
            leave_child(fault)
        raise
    if os.getpid() != owner:
        leave_child()
    return result


def leave_child(fault: BaseException | None = None) -> NoReturn:
    """End a forked child at once: nothing that it has of its parent is flushed, closed or told.

    Args:
        fault: what it raised out of the user's code; None: it returned.
    """
    code, text = 0, "it came back into detektr from the user's code"
    try:
        if isinstance(fault, SystemExit):  # as the interpreter takes it
            code = fault.code if isinstance(fault.code, int) else int(fault.code is not None)
            text = fault_text(fault) if code and not isinstance(fault.code, int) else ""
        elif fault is not None:
            code, text = 1, f"it raised {fault_line(fault)}"
        if text:
            os.write(2, f"forked process {os.getpid()} ends here: {mask(text)}\n".encode(errors="replace"))
    finally:
        os._exit(code & 0xFF)


def let_go_in_child(method: Callable[[], None]) -> None:
    """Have a bound method called in every child that is forked from now on, for as long as its object lives.

    It closes what the child must not hold; it must not touch what the parent shares with others.
    """
    _let_go.add(weakref.WeakMethod(method, _let_go.discard))


def flush_files() -> None:
    """Write out what open files hold back: those in a reference cycle would lose it when they are collected."""
    files = [item for item in gc.get_objects() if issubclass(type(item), io.TextIOWrapper | io.BufferedWriter)]
    for file in sorted(files, key=lambda file: issubclass(type(file), io.BufferedWriter)):  # text goes through them
        try:
            if not file.closed:
                file.flush()
        except (OSError, ValueError) as fault:  # a full disk; or what it wrote to was closed before it
            _log.warning("%s: the part that was not written yet is lost: %s", shown(file), fault_line(fault))


def _before() -> None:
    """Hold signals back until a child has its own ways with them: what is sent to it at once would reach its parent."""
    _held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)


def _in_parent() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


def _in_child() -> None:
    for reference in list(_let_go):
        method = reference()
        if method is not None:
            method()
    signal.pthread_sigmask(signal.SIG_SETMASK, _held.mask)


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
