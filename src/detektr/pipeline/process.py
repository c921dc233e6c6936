"""One child process: its control line, its log pipe, and the kernel's word on its end; and what it is forked from.

Nothing here waits, but for the fork server's answer: milliseconds, and the time of its imports for the first one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from detektr.errors import RefusedError
from detektr.nodes.control import MESSAGE_BYTES_MAX
from detektr.nodes.options import CaptureOptions
from detektr.nodes.source_kind import source_kind
from detektr.nodes.spec import NodeSpec

LOG_READ_BYTES = 1 << 16
MESSAGES_READ_MAX = 64  # at one look, so that a talkative child does not keep out the others
FIRST_ANSWER_S = 60.0  # after its imports
ANSWER_S = 5.0
END_S = 1.0
# One core a process unless told otherwise: numpy's own threads in every process fight over the machine.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
_PR_SET_CHILD_SUBREAPER = 36
_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class ForkServer:
    """The supervisor's side of the process that its nodes are forked from; another is started should it be killed."""

    def __init__(self, specs: Sequence[NodeSpec]) -> None:
        """Take what will run, so that it imports what that needs."""
        self._modules, self._folder = modules_of(specs), specs[0].folder if specs else "."
        self._popen: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None

    def start(self) -> None:
        """Start it; it imports while we go on. From now on orphans of this process's descendants are its own.

        Raises:
            RefusedError: the machine starts no more processes.
        """
        # The nodes are such orphans, and what they start and leave behind.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise RefusedError(f"this process cannot take orphans in: {os.strerror(ctypes.get_errno())}")
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.settimeout(FIRST_ANSWER_S)
        command = [sys.executable, "-P", "-m", "detektr.pipeline.forkserver", str(theirs.fileno()), *self._modules]
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={**_ENVIRONMENT, **os.environ},
                cwd=self._folder,  # where a relative PYTHONPATH begins
                process_group=0,  # a terminal's Ctrl-C is for the supervisor alone
            )
        except OSError as fault:
            self._door.close()
            self._door = None
            raise RefusedError(f"no process can be started: {_why(fault.strerror, fault.errno)}") from None
        finally:
            theirs.close()

    def try_fork(self, spec: NodeSpec, line_fd: int, log_fd: int) -> int | None:
        """Fork a process for a node and hand it its ends of control line and log.

        Returns:
            Its number; None: the server does not answer. Then it may have forked all the same: hang up that line.
        Raises:
            RefusedError: the machine starts no more processes, or the folder is gone.
        """
        if self._door is None:
            self.start()
        assert self._door is not None
        request = {"name": f"{spec.node}.{spec.replica}", "kind": spec.options.kind, "folder": spec.folder}
        try:
            socket.send_fds(self._door, [json.dumps(request).encode()], (line_fd, log_fd))
            answer = self._door.recv(4096)
        except OSError:
            answer = b""
        if not answer:
            self._end()
            return None
        self._door.settimeout(ANSWER_S)
        told: dict[str, Any] = json.loads(answer)
        if "pid" not in told:
            why = _why(told["fault"], told.get("errno"))
            raise RefusedError(f"node {spec.node}: its process cannot be started: {why}")
        return int(told["pid"])

    def reap(self, own: Collection[int]) -> None:
        """Reap what nodes had started and left behind; a server that is dead is replaced, to be there when needed.

        Args:
            own: processes whose end somebody else waits for.
        """
        if self._popen is not None and self._popen.poll() is not None:
            self._end()
            with contextlib.suppress(RefusedError):  # who needs it tries again
                self.start()
        server = None if self._popen is None else self._popen.pid
        with contextlib.suppress(ChildProcessError):  # there are no children
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in own or ended.si_pid == server:
                    return  # its turn comes
                os.waitpid(ended.si_pid, 0)

    def close(self) -> None:
        """Let it end; what was forked lives on."""
        self._end()
        self.reap(())

    def _end(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._popen is not None:
            self._popen.kill()  # it holds nothing
            with contextlib.suppress(subprocess.TimeoutExpired):  # held by a device
                self._popen.wait(END_S)
            self._popen = None


def _why(what: str | None, number: int | None) -> str:
    return f"{what}; end other processes or raise the limits (ulimit -u, -n)" if number in _SCARCE else str(what)


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
        if not (self._try_fork(spec, server) or self._try_fork(spec, server)):
            raise RefusedError(
                f"node {spec.node}: its process cannot be started: what nodes are forked from ends, or does not answer;"
                " where it ends, it has said why"
            )
        self.control_fd, self.log_fd, self.end_fd = self._line.fileno(), self._log, os.pidfd_open(self.pid)
        with contextlib.suppress(OSError):  # it has ended already, which we shall be told
            self._line.send(order)

    def _try_fork(self, spec: NodeSpec, server: ForkServer) -> bool:
        """Fork with a line and a log of its own; who was forked and not told of finds its line cut, and leaves."""
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
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        """Let go of the line, the pipe and the process handle."""
        self._line.close()
        os.close(self._log)
        os.close(self.end_fd)
