"""Who watches a run from outside: lets it begin, and reads the CPU clocks of all its processes where it is told to.

The clocks are the kernel's own (nanoseconds, ended threads included), read twice a run: when the first consumer has the
first measured frame, and when the producer and every consumer have had their last one. Both hold still meanwhile.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

import psutil
from trial import SOCKET, Trial

SETTLE_S = 5.0  # a consumer that lost its last frame never says that it had it


class Watch:
    """Answers the lines of one run, in a thread; the processes of the run are all that descend from this one."""

    def __init__(self, trial: Trial, *, ready: int, ends: int) -> None:
        """Take how many consumers must be ready for a beginning, and how many must say that they have ended."""
        self.mark_ns = 0
        self.seconds = 0.0
        self.cpu_s: dict[int, float] = {}
        self.names: dict[int, str] = {}
        self._folder, self._ready, self._ends = trial.folder, ready, ends
        self._at_mark: dict[int, float] = {}
        self._askers: list[socket.socket] = []
        self._enders: list[socket.socket] = []
        self._deadline = 0.0
        self._door = socket.socket(socket.AF_UNIX)
        self._door.bind(str(Path(trial.folder, SOCKET)))
        self._door.listen(128)
        self._selector = selectors.DefaultSelector()
        self._bell, self._rope = socket.socketpair()
        for listened in (self._door, self._bell):
            self._selector.register(listened, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Watch:
        """Begin to listen."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; who still waits for an answer goes on."""
        self._rope.close()
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            assert isinstance(key.fileobj, socket.socket)
            key.fileobj.close()
        self._selector.close()

    def _serve(self) -> None:
        while True:
            timeout = max(0.0, self._deadline - time.monotonic()) if self._deadline else None
            events = self._selector.select(timeout)
            if self._deadline and time.monotonic() >= self._deadline:
                self._answer_ends()
            for key, _ in events:
                found = key.fileobj
                assert isinstance(found, socket.socket)
                if found is self._bell:
                    return
                if found is self._door:
                    self._selector.register(self._door.accept()[0], selectors.EVENT_READ)
                    continue
                words = b""
                with contextlib.suppress(ConnectionError):
                    words = found.recv(64)
                if not words:
                    self._selector.unregister(found)
                    found.close()
                for word in words:
                    self._hear(chr(word), found)

    def _hear(self, word: str, line: socket.socket) -> None:
        if word == "r":
            self._ready -= 1
        elif word == "g":
            self._askers.append(line)
        elif word == "f":
            self._read_clocks(family())  # so that the mark itself need not look for processes
        elif word == "w":
            if not self.mark_ns:
                self._at_mark, self.mark_ns = self._read_clocks(list(self.names)), time.monotonic_ns()
            line.send(b".")
        elif word == "e":
            self._enders.append(line)
            is_last = len(self._enders) >= self._ends
            # Looking for processes takes milliseconds: only when nobody works any more.
            spent = self._read_clocks(family() if is_last else list(self.names))
            self.seconds = (time.monotonic_ns() - self.mark_ns) / 1e9
            self.cpu_s = {pid: cpu_s - self._at_mark.get(pid, 0.0) for pid, cpu_s in spent.items()}
            self._deadline = time.monotonic() + SETTLE_S
            if is_last:
                self._answer_ends()
        if self._ready <= 0:
            for asker in self._askers:
                asker.send(b".")
            self._askers.clear()

    def _answer_ends(self) -> None:
        self._deadline = 0.0
        for line in self._enders:
            with contextlib.suppress(OSError):  # it may have been ended meanwhile
                line.send(b".")
        self._enders.clear()

    def _read_clocks(self, pids: list[int]) -> dict[int, float]:
        """Return the CPU seconds of these processes, all their threads, without those that are gone."""
        spent = {}
        for pid in pids:
            with contextlib.suppress(OSError, psutil.Error):
                # What clock_getcpuclockid(3) answers for a process: its number, inverted, over the kind of clock.
                spent[pid] = time.clock_gettime((~pid << 3) | 2)
                if pid not in self.names:
                    self.names[pid] = _name(psutil.Process(pid).cmdline(), self._folder)
        return spent


def family() -> list[int]:
    """Return all processes that descend from this one."""
    return [process.pid for process in psutil.Process().children(recursive=True)]


def _name(command: list[str], folder: str) -> str:
    """Return how a process is shown: the node of detektr that it is, or what it was told beside the run's folder."""
    if command and command[0].startswith("detektr "):
        return command[0].split()[1]
    if "detektr.supervisor.fork_server" in command:
        return "fork server"
    if "detektr" in command:
        return "up"
    return " ".join(Path(word).name for word in command[1:] if not word.startswith(folder))[-40:]
