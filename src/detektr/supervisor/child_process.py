"""One child process: its control line, its log pipe, and the descriptor that tells of its end.

Nothing here waits, except for the fork server's answer: milliseconds, after its imports at the first call.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from detektr.errors import RefusedError
from detektr.nodes.control import MESSAGE_BYTES_MAX
from detektr.nodes.spec import NodeSpec
from detektr.registry.node_kinds import NODE_KINDS
from detektr.supervisor.fork_client import ForkServer

LOG_READ_BYTES = 1 << 16
MESSAGES_READ_MAX = 64  # at one look, so that a talkative child does not keep out the others
CLEANING_NS = 2_000_000_000  # a resource tracker is done in milliseconds, once all others of its group are gone
_SWEEPS_MAX = 100  # attempts at a group that goes on forking while it is killed
_TRACKER = b"resource_tracker import main"


def modules_of(specs: Iterable[NodeSpec]) -> set[str]:
    """Return the modules that processes of these specs need beside their kinds' own, without the user's."""
    return {module for spec in specs for module in NODE_KINDS[spec.options.kind].needs(spec.options)}


class ProcessGroups:
    """Ends the process groups of nodes, except helpers that still have to clean up after them.

    Python's `multiprocessing` (and joblib's loky) start a resource tracker: a process that waits for the end of all
    users of shared memory, removes their files, and ends. Killed with its group, it would leave the files for good.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._cleaning: dict[int, tuple[int, int]] = {}  # process: its handle, and until when we wait for it

    def end(self, leader: int) -> None:
        """Kill the processes that a node left in its group, except its resource trackers.

        Args:
            leader: the node, which has ended and is not reaped yet: so neither its number nor its group's is another's.
        """
        known = {leader}
        for _ in range(_SWEEPS_MAX):
            new = [pid for pid in _members(leader) if pid not in known]
            if not new:
                return
            known.update(new)
            for pid in new:
                with contextlib.suppress(ProcessLookupError):
                    if _is_tracker(pid):
                        self._cleaning[pid] = os.pidfd_open(pid), time.monotonic_ns() + CLEANING_NS
                    else:
                        os.kill(pid, signal.SIGKILL)

    def look(self) -> None:
        """Let go of the helpers that have ended; kill those whose time is over."""
        now_ns = time.monotonic_ns()
        for pid, (handle, until_ns) in list(self._cleaning.items()):
            if _has_ended(handle, 0) or now_ns >= until_ns:
                self._let_go(pid)

    def close(self) -> None:
        """Wait for the helpers that are left, as long as each of them may take; none lives when this returns."""
        for pid, (handle, until_ns) in list(self._cleaning.items()):
            _has_ended(handle, max(0, until_ns - time.monotonic_ns()))
            self._let_go(pid)

    def _let_go(self, pid: int) -> None:
        handle, _ = self._cleaning.pop(pid)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)


def _has_ended(handle: int, within_ns: int) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(within_ns / 1e6))


def _members(group: int) -> Iterator[int]:
    """Yield the processes of a group, by number; those that ended and were not reaped are among them."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(ProcessLookupError):  # it ended while we looked
                if os.getpgid(int(entry.name)) == group:
                    yield int(entry.name)


def _is_tracker(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return _TRACKER in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


class ChildProcess:
    """A node's process as its supervisor sees it; `control_fd`, `log_fd` and `end_fd` are to be watched for reading."""

    def __init__(self, spec: NodeSpec, server: ForkServer) -> None:
        """Have the process forked and hand it its spec.

        Raises:
            RefusedError: the spec is too long for the line, or the machine starts no more processes.
        """
        self.name = f"{spec.node}.{spec.replica}"
        order = json.dumps({"spec": spec.as_json()}).encode()
        if len(order) > MESSAGE_BYTES_MAX:
            raise RefusedError(
                f"node {spec.node}: its options are {len(order)} bytes, at most {MESSAGE_BYTES_MAX} can be handed over;"
                " put long values into a file and name it in `with`"
            )
        if not (self._try_fork(spec, server) or self._try_fork(spec, server)):
            raise RefusedError(
                f"node {spec.node}: its process cannot be started: the fork server exited or timed out;"
                " see the lines above for its error"
            )
        self.control_fd, self.log_fd, self.end_fd = self._line.fileno(), self._log, os.pidfd_open(self.pid)
        with contextlib.suppress(OSError):  # it has ended already; we shall be told
            self._line.send(order)

    def _try_fork(self, spec: NodeSpec, server: ForkServer) -> bool:
        """Fork with a line and a log of its own; if the answer is lost, the process finds its line cut and leaves."""
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setblocking(False)
        self._log, log_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(log_end, True)
        pid = None
        try:
            pid = server.try_fork(spec, theirs.fileno(), log_end)
        finally:
            theirs.close()
            os.close(log_end)
            if pid is None:
                self._line.close()
                os.close(self._log)
        self.pid = pid or 0
        return pid is not None

    def try_order(self, order: Mapping[str, Any]) -> bool:
        """Send an order now; False: the line is full or cut."""
        try:
            self._line.send(json.dumps(order).encode())
        except OSError:
            return False
        return True

    def read_messages(self) -> list[dict[str, Any]] | None:
        """Return the child's messages; None: it has closed the line."""
        messages: list[dict[str, Any]] = []
        while len(messages) < MESSAGES_READ_MAX:
            try:
                payload = self._line.recv(MESSAGE_BYTES_MAX)
            except BlockingIOError:
                break
            except OSError:
                payload = b""
            if not payload:
                return messages or None
            with contextlib.suppress(ValueError):  # longer than a message may be, so cut; the line goes on
                messages.append(json.loads(payload))
        return messages

    def read_log(self) -> bytes | None:
        """Return new output of the child, at most `LOG_READ_BYTES`; None: all its ends are closed."""
        try:
            return os.read(self._log, LOG_READ_BYTES) or None
        except BlockingIOError:
            return b""

    def kill(self) -> None:
        """Kill the process; the processes that it started end when it is reaped."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Cut the control line: a child that has not begun to work leaves, one that works drains."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def try_reap(self, groups: ProcessGroups) -> int | None:
        """Return the exit status once the process has ended: its code, or its signal's number, negative; else None.

        The processes that it left in its group are ended with it by `groups`.
        """
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        groups.end(self.pid)  # while its number cannot be another's yet
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Let go of the line, the pipe and the process handle."""
        self._line.close()
        os.close(self._log)
        os.close(self.end_fd)
