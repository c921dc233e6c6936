"""The supervisor's side of the fork server. It imports little, as it is started before the file is read."""

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
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detektr.errors import RefusedError
from detektr.process.cores import THREAD_VARIABLES

if TYPE_CHECKING:
    from detektr.nodes.spec import NodeSpec

FIRST_ANSWER_S = 60.0  # after its imports
ANSWER_S = 5.0
END_S = 1.0
_ONE_THREAD = dict.fromkeys(THREAD_VARIABLES, "1")  # in what is forked; its nodes share the cores by themselves
_PR_SET_CHILD_SUBREAPER = 36
_SCARCE = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


class ForkServer:
    """The supervisor's side of the fork server; if the server is killed, another is started."""

    def __init__(self, file: Path) -> None:
        """Start nothing yet; a relative PYTHONPATH begins in the folder of the pipeline's `file`."""
        self._modules: set[str] = set()  # beside those of the kinds of nodes
        self._file = file
        self._is_reaper = False
        self._strangers: frozenset[int] = frozenset()  # earlier children of a program that runs a pipeline
        self._popen: subprocess.Popen[bytes] | None = None
        self._door: socket.socket | None = None

    def start(self) -> None:
        """Start it, unless it runs; it imports while we go on. Orphans of our descendants become our children.

        Raises:
            RefusedError: the machine starts no more processes.
        """
        if self._door is not None:
            return
        # The nodes are such orphans, and what they start and leave behind.
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            what = f"this process cannot adopt orphaned processes: {os.strerror(ctypes.get_errno())}"
            raise RefusedError(f"{what}; allow prctl where a policy forbids it")
        self._is_reaper = True
        self._strangers = _children()
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.settimeout(FIRST_ANSWER_S)
        modules = sorted(self._modules)
        command = [sys.executable, "-P", "-m", "detektr.supervisor.fork_server", str(theirs.fileno()), *modules]
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))  # until it can take one; see `fork_server`
        try:
            self._popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env={"PYTHONUNBUFFERED": "1", **os.environ, **_ONE_THREAD},
                cwd=self._file.absolute().parent,
                process_group=0,  # a terminal's Ctrl-C is for the supervisor alone
            )
        except OSError as fault:
            self._door.close()
            self._door = None
            raise RefusedError(f"no process can be started: {_why(fault.strerror, fault.errno)}") from None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def need(self, modules: Iterable[str]) -> None:
        """Let the server import these modules too, while the caller goes on; starts it.

        Raises:
            RefusedError: the machine starts no more processes.
        """
        more = set(modules) - self._modules
        self._modules |= more
        if self._door is None:
            self.start()
        elif more:
            with contextlib.suppress(OSError):  # it has ended: `fork` will notice, and start another
                self._door.send(json.dumps({"import": sorted(more)}).encode())

    def try_fork(self, spec: NodeSpec, line_fd: int, log_fd: int) -> int | None:
        """Fork a process for a node, and pass it its ends of the control line and the log.

        Returns:
            Its number; None: the server does not answer. It may have forked all the same, so close that line.
        Raises:
            RefusedError: the machine starts no more processes, or the folder is gone.
        """
        self.start()
        assert self._door is not None
        request = {
            "name": f"{spec.node}.{spec.replica}",
            "folder": spec.folder,
            "environment": {name: os.environ.get(name) for name in THREAD_VARIABLES},
        }
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
        """Reap processes that nodes started and left behind; replace a dead server, so that it is ready when needed.

        Args:
            own: processes whose end another part waits for.
        """
        if self._popen is not None and self._popen.poll() is not None:
            self._end()
            with contextlib.suppress(RefusedError):  # `fork` tries again
                self.start()
        server = None if self._popen is None else self._popen.pid
        if self._strangers:  # the owner of these asks how they end
            for pid in _children() - self._strangers - {server, *own}:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            return
        with contextlib.suppress(ChildProcessError):  # there are no children
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in own or ended.si_pid == server:
                    return  # its turn comes
                os.waitpid(ended.si_pid, 0)

    def close(self) -> None:
        """Let it end; forked processes live on."""
        self._end()
        self.reap(())
        if self._is_reaper:
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
            self._is_reaper = False

    def __enter__(self) -> ForkServer:
        """Return itself."""
        return self

    def __exit__(self, *fault: object) -> None:
        """See `close`."""
        self.close()

    def _end(self) -> None:
        if self._door is not None:
            self._door.close()
            self._door = None
        if self._popen is not None:
            self._popen.kill()  # it holds nothing
            with contextlib.suppress(subprocess.TimeoutExpired):  # held by a device
                self._popen.wait(END_S)
            self._popen = None


def _children() -> frozenset[int]:
    """Return our children, ended ones too; none where the kernel does not list them."""
    found: set[int] = set()
    for file in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # that thread has ended; its children are seen next time
            found.update(map(int, file.read_text().split()))
    return frozenset(found)


def _why(what: str | None, number: int | None) -> str:
    return (
        f"{what}; end other processes or raise the limits (ulimit -u, -n)"
        if number in _SCARCE
        else f"{what}; see the kernel's log (dmesg)"
    )
