"""One child process: its control line, its log pipe, and the kernel's word on its end. Nothing here ever waits."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from detektr.errors import RefusedError
from detektr.nodes.control import MESSAGE_BYTES_MAX
from detektr.nodes.spec import NodeSpec

LOG_READ_BYTES = 1 << 16
MESSAGES_READ_MAX = 64  # at one look, so that a talkative child does not keep out the others
# One core a process unless told otherwise: numpy's own threads in every process fight over the machine.
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
_OF_CAPTURES = {"MALLOC_ARENA_MAX": "2"}  # a decoder's threads share what one of them has freed


class ChildProcess:
    """A node's process as its supervisor sees it; `control_fd`, `log_fd` and `end_fd` are to be watched for reading."""

    def __init__(self, spec: NodeSpec) -> None:
        """Start the process and hand it its spec.

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
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._line.setblocking(False)
        self._log, log_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        os.set_blocking(log_end, True)
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-P", "-m", "detektr.pipeline.entry", self.name, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log_end,  # what the user's code prints is log; our own stdout belongs to the table
                stderr=log_end,
                pass_fds=[theirs.fileno()],
                env={**_ENVIRONMENT, **(_OF_CAPTURES if spec.options.kind == "capture" else {}), **os.environ},
                cwd=spec.folder,  # what a node writes lies beside its file, from wherever that is run
                process_group=0,  # a terminal's Ctrl-C is for the supervisor alone
            )
        except OSError as fault:
            self._line.close()
            os.close(self._log)
            raise RefusedError(
                f"node {spec.node}: its process cannot be started: {fault.strerror}; end other processes or raise the"
                " limits (ulimit -u, -n)"
            ) from None
        finally:
            theirs.close()
            os.close(log_end)
        self.pid = self._popen.pid
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
        return self._popen.wait()

    def close(self) -> None:
        """Let go of the line, the pipe and the process handle."""
        self._line.close()
        os.close(self._log)
        os.close(self.end_fd)
