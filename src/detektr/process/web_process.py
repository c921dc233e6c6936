"""The web server of a run, as its supervisor sees it: a process of its own that outlives a killed supervisor."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detektr.errors import RefusedError
from detektr.source_uri import host_and_port

END_S = 5.0  # from the word that it is to end until it is killed
AGAIN_NS = 1_000_000_000  # between two starts
BACKLOG = 64
LOCK = "web.lock"  # in the state folder; a server of a run holds it
_log = logging.getLogger(__name__)


def end_left_behind(folder: Path) -> None:
    """End the web server of an earlier run whose supervisor died, so that its port is free.

    Args:
        folder: the pipeline's state folder.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return  # there was none
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if _try_lock(lock):
                return
            with contextlib.suppress(OSError, ValueError):
                pid = int(os.pread(lock, 32, 0))
                handle = os.pidfd_open(pid)
                if b"detektr" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    _log.info("ending the web server of an earlier run (process %d)", pid)
                    signal.pidfd_send_signal(handle, number)
                    poll = select.poll()
                    poll.register(handle, select.POLLIN)
                    poll.poll(END_S * 1000)
                os.close(handle)
    finally:
        os.close(lock)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class WebProcess:
    """Listens, and has a process answer; when that dies, another one does, and no client is turned away meanwhile."""

    def __init__(self, host: str, port: int, settings: Mapping[str, Any]) -> None:
        """Begin to listen, and start the process.

        Args:
            host: address of this machine.
            port: 0: any free one.
            settings: what it is told; see `detektr.web.server.WebSettings`.
        Raises:
            RefusedError: the port is in use or not allowed, or the host is not one of this machine.
        """
        self._listener = listen(host, port)
        self.url = f"http://{host_and_port(host, int(self._listener.getsockname()[1]))}"
        """Where it answers."""
        self._settings = f"{json.dumps(settings)}\n".encode()
        self._started_ns = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._start()

    @property
    def pid(self) -> int | None:
        """The process that answers; None: it died."""
        return None if self._process is None else self._process.pid

    def look(self, now_ns: int) -> None:
        """Start another process where the last one has died, at most one a second."""
        if (self._process is None or self._process.poll() is not None) and now_ns - self._started_ns >= AGAIN_NS:
            _log.warning("the web server has died: starting another")
            self._let_go()
            self._start()

    def close(self) -> None:
        """End the process, and wait for its end."""
        self._listener.close()
        process = self._process
        if process is None:
            return
        with contextlib.suppress(OSError):
            assert process.stdin is not None
            process.stdin.write(b"end\n")
            process.stdin.flush()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._let_go()

    def _start(self) -> None:
        self._started_ns = time.monotonic_ns()
        fd = self._listener.fileno()
        try:
            process = subprocess.Popen(
                [sys.executable, "-m", "detektr.web", str(fd)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(fd,),
                start_new_session=True,  # it outlives us, and no Ctrl-C ends it before our drain
            )
        except OSError as fault:
            _log.warning("the web server cannot be started now: %s", fault.strerror)
            return
        self._process = process
        with contextlib.suppress(OSError):  # it has died already; we shall see
            assert process.stdin is not None
            process.stdin.write(self._settings)
            process.stdin.flush()

    def _let_go(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self._process = None


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        RefusedError: the port is in use or not allowed, or the host is not one of this machine.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as fault:
        hint = {
            errno.EADDRINUSE: "another program uses it; set another port, or 0 for any free one",
            errno.EACCES: "this user is not allowed to; set a port of 1024 or more",
            errno.EADDRNOTAVAIL: "the host is not an address of this machine; 127.0.0.1 is",
        }.get(fault.errno or 0, f"{fault.strerror or fault}; set a host that is an address of this machine")
        raise RefusedError(f"web: cannot listen on port {port} of {host!r}: {hint}") from None
