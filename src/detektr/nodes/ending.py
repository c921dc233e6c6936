"""The end of a process in which the user's code has run: as any program ends, and in a stated time.

After its work a plain Python program joins its threads, runs what was registered with atexit, and flushes and closes
its files. What users write relies on that. So such a process ends as the interpreter ends, while a thread watches
the time and reports everything that was not finished in it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import select
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import NoReturn

from detektr.nodes.control import ControlLine
from detektr.nodes.node import Node
from detektr.nodes.spec import NodeSpec

GRACE_NS = 2_000_000_000  # from an order to end at once; the supervisor kills after three seconds
LEAVE_S = 1.0  # for leaving the edges in the place of a main thread that does not come to it
_OURS = str(Path(__file__).parents[1])
_STANDARD = ("<", str(Path(sysconfig.get_path("stdlib"))))
_log = logging.getLogger(__name__)


class Ending:
    """Ends this process in time once `begin` was called; nothing before, and nothing where no code of the user's is."""

    def __init__(self, spec: NodeSpec, control: ControlLine | None) -> None:
        """Take the line on which an order to end at once may come."""
        self.is_plain = spec.has_user_code
        """Whether the process ends as any Python program does."""
        self._spec, self._control = spec, control
        self._node: Node | None = None
        self._deadline_ns = self._code = 0

    def begin(self, code: int, deadline_ns: int, node: Node) -> None:
        """Watch from now on; called before the user's code is told to close.

        Args:
            code: what the process ends with.
            deadline_ns: monotonic time until which the user's code may take.
            node: leaves its edges, at the latest then.
        """
        if self.is_plain:
            self._code, self._deadline_ns, self._node = code, deadline_ns, node
            threading.Thread(target=self._watch, name="ending", daemon=True).start()

    def watch_interpreter(self) -> None:
        """Also end in time where no thread of Python's can watch any more: while modules and their objects go."""
        self._node = None
        if self._deadline_ns:
            left_ns = max(0, self._deadline_ns - time.monotonic_ns()) + GRACE_NS
            faulthandler.dump_traceback_later(left_ns / 1e9, exit=True, file=2)

    def _watch(self) -> None:
        poll = select.poll()
        assert self._node is not None
        self._signal_fd = self._node.signal_fd
        for fd in (self._signal_fd, -1 if self._control is None else self._control.fileno()):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        while (left_ns := self._deadline_ns - time.monotonic_ns()) > 0:
            for fd, _ in poll.poll(left_ns / 1e6):
                self._hurry(fd, poll)
        self._cut()

    def _hurry(self, fd: int, poll: select.poll) -> None:
        """Hurry on a signal, or on an order to end at once; a supervisor that is gone is no reason to."""
        if fd == self._signal_fd:
            with contextlib.suppress(BlockingIOError):
                os.read(fd, 4096)
            is_order = True
        else:
            assert self._control is not None
            order = self._control.try_order()
            is_order = order is not None and order.get("order") == "stop"
            if self._control.is_cut:
                poll.unregister(fd)
        if is_order:
            self._deadline_ns = min(self._deadline_ns, time.monotonic_ns() + GRACE_NS)

    def _cut(self) -> NoReturn:
        """End the process, and say what is cut off; nothing here takes a lock that a hung thread may hold."""
        try:
            left = ", ".join(unfinished()) or "its last objects"
            text = (
                f"{left}: not finished within the {self._spec.options.drain} that a drain may take, so it ends here,"
                " and what it had not written is lost; end threads and close files in close(), or raise `drain`"
            )
            record = _log.makeRecord(_log.name, logging.WARNING, __file__, 0, text, (), None)
            handlers = logging.getLogger().handlers
            line = handlers[0].format(record) if handlers else f"{self._spec.node}.{self._spec.replica}: {text}"
            os.write(2, f"{line}\n".encode(errors="replace"))
            node = self._node
            if node is not None:
                node.leave(LEAVE_S)
        finally:
            os._exit(self._code)


def unfinished() -> list[str]:
    """Say what still runs in this process that the interpreter waits for: threads, processes, the main thread."""
    main = threading.main_thread()
    found = [
        f"thread {thread.name!r}{_place(thread)}"
        for thread in threading.enumerate()
        if thread is not main and not thread.daemon
    ]
    processes = sys.modules.get("multiprocessing")
    if processes is not None:
        found += [f"process {child.name!r}" for child in processes.active_children() if not child.daemon]
    place = _place(main)
    return [*found, f"the user's code{place}"] if place else found


def _place(thread: threading.Thread) -> str:
    """Return where the user's code in a thread is, with a space before; empty where it is in none."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(_OURS):
            break
        if not file.startswith(_STANDARD) or "site-packages" in file:
            return f" at {Path(file).name}:{frame.f_lineno} in {frame.f_code.co_name}()"
        frame = frame.f_back
    return ""
