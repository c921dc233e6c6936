"""One child process: its control line, its log pipe, and the kernel's word on its end. Nothing here ever waits long."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from detektr.errors import RefusedError
from detektr.nodes.control import MESSAGE_BYTES_MAX
from detektr.nodes.options import CaptureOptions
from detektr.nodes.source_kind import source_kind
from detektr.nodes.spec import NodeSpec

LOG_READ_BYTES = 1 << 16
MESSAGES_READ_MAX = 64  # at one look, so that a talkative child does not keep out the others
ANSWER_S = 60.0  # the fork server imports before it answers for the first time
# One core a process unless told otherwise: numpy's own threads in every process fight over the machine.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
_PR_SET_CHILD_SUBREAPER = 36
_FEWER = "end other processes or raise the limits (ulimit -u, -n)"


class ForkServer:
    """The supervisor's side of the process that its nodes are forked from; another is started should it be killed."""

    def __init__(self, specs: Iterable[NodeSpec]) -> None:
        """Take what will run, so that it imports what that needs."""
        self._modules = modules_of(specs)
        self._popen: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None
        self._groups: set[int] = set()

    def start(self) -> None:
        """Start it; it imports while we go on.

        Raises:
            RefusedError: the machine starts no more processes.
        """
        # Orphans come to us: the nodes, and what they start and leave behind.
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.settimeout(ANSWER_S)
        command = [sys.executable, "-P", "-m", "detektr.pipeline.forkserver", str(theirs.fileno()), *self._modules]
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**_ENVIRONMENT, **os.environ},
                process_group=0,  # a terminal's Ctrl-C is for the supervisor alone
            )
        except OSError as fault:
            self._door.close()
            self._door = None
            raise RefusedError(f"no process can be started: {fault.strerror}; {_FEWER}") from None
        finally:
            theirs.close()

    def fork(self, spec: NodeSpec, line_fd: int, log_fd: int) -> int:
        """Fork a process for a node and hand it its ends of control line and log; returns its number.

        Raises:
            RefusedError: the machine starts no more processes, or the server does not come up.
        """
        name = f"{spec.node}.{spec.replica}"
        request = {"name": name, "kind": spec.options.kind, "folder": spec.folder}
        answer = self._ask(request, (line_fd, log_fd)) or self._ask(request, (line_fd, log_fd))
        if "pid" not in answer:
            why = answer.get("fault", "the process that nodes are forked from ends at once; it says why")
            raise RefusedError(f"node {spec.node}: its process cannot be started: {why}; {_FEWER}")
        pid = int(answer["pid"])
        self._groups.discard(pid)
        return pid

    def _ask(self, request: Mapping[str, Any], fds: Sequence[int]) -> dict[str, Any]:
        """Ask for a process; empty: the server was not there, or went."""
        if self._door is None:
            self.start()
        assert self._door is not None
        try:
            socket.send_fds(self._door, [json.dumps(request).encode()], fds)
            answer = self._door.recv(4096)
        except OSError:
            answer = b""
        if not answer:
            self._end()
        return dict(json.loads(answer)) if answer else {}

    def expect(self, group: int) -> None:
        """Note that what is left of a process group was killed, and will have to be reaped."""
        self._groups.add(group)

    def reap(self) -> None:
        """Reap what nodes had started, left behind, and was ended with them; and the server, should it be dead."""
        if self._popen is not None and self._popen.poll() is not None:
            self._end()
        for group in tuple(self._groups):
            try:
                while os.waitid(os.P_PGID, group, os.WEXITED | os.WNOHANG) is not None:
                    continue
            except ChildProcessError:  # none is left
                self._groups.discard(group)

    def close(self) -> None:
        """Let it end; what was forked lives on."""
        self.reap()
        self._end()

    def _end(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._popen is not None:
            self._popen.kill()  # it holds nothing
            self._popen.wait()
            self._popen = None


def modules_of(specs: Iterable[NodeSpec]) -> list[str]:
    """Return the modules that processes of these specs need, without the user's own."""
    modules = set()
    for spec in specs:
        modules.add(f"detektr.nodes.{spec.options.kind}")
        if isinstance(spec.options, CaptureOptions) and source_kind(spec.options.source) != "python":
            modules.add("av")
    return sorted(modules)


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
        self._server = server
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setblocking(False)
        self._log, log_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(log_end, True)
        try:
            self.pid = server.fork(spec, theirs.fileno(), log_end)
        except RefusedError:
            self._line.close()
            os.close(self._log)
            raise
        finally:
            theirs.close()
            os.close(log_end)
        self.control_fd, self.log_fd, self.end_fd = self._line.fileno(), self._log, os.pidfd_open(self.pid)
        self._line.send(order)

    def try_order(self, order: Mapping[str, Any]) -> bool:
        """Send an order now; False: the line is full or cut."""
        try:
            self._line.send(json.dumps(order).encode())
        except OSError:
            return False
        return True

    def read_messages(self) -> list[dict[str, Any]] | None:
        """Return what the child has said; None: it has hung up."""
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
        """Return what the child has written since, at most `LOG_READ_BYTES`; None: all its ends are closed."""
        try:
            return os.read(self._log, LOG_READ_BYTES) or None
        except BlockingIOError:
            return b""

    def kill(self) -> None:
        """End the process, and what it started, without asking."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

    def hang_up(self) -> None:
        """Cut the control line: a child that has not begun to work leaves, one that works drains."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def try_reap(self) -> int | None:
        """Return the exit status once the process has ended: its code, or its signal's number, negative; else None.

        What it started and left behind in its process group is ended with it.
        """
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return None
        self.kill()  # while its number cannot be another's yet
        _, status = os.waitpid(self.pid, 0)
        self._server.expect(self.pid)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Let go of the line, the pipe and the process handle."""
        self._line.close()
        os.close(self._log)
        os.close(self.end_fd)
