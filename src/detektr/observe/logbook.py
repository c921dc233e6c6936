"""The output of a pipeline's processes: kept in files that rotate, with the last lines in memory, and read back."""

from __future__ import annotations

import contextlib
import heapq
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from detektr.errors import DetektrError
from detektr.memory.run_folder import NAME, state_root
from detektr.redaction import disarm, mask

FILE_BYTES_MAX = 5 << 20  # then the file becomes NAME.log.1, in the place of an older one
LAST_LINES = 50
LINE_BYTES_MAX = 16384
WAITING_BYTES_MAX = 4 << 20  # for a slow disk; output beyond it is lost, and that is said
FOLLOW_S = 0.3
_OURS = re.compile(r"^(\d\d:\d\d:\d\d\.\d{3}) [A-Z]+ ")


def log_folder(pipeline: str) -> Path:
    """Return the folder of a pipeline's logs."""
    return state_root() / pipeline / "logs"


class Logbook:
    """Takes the output of children as it comes. A thread of its own writes the files, so that no disk holds us up."""

    def __init__(self, folder: Path, show: Callable[[str], None]) -> None:
        """Open the book.

        Args:
            folder: where `NAME.log` and `NAME.log.1` go; made if missing.
            show: takes every line, prefixed with its process; must not wait.
        """
        self._folder, self._show = folder, show
        self._rests: dict[str, bytes] = {}
        self._last: dict[str, deque[str]] = {}
        self._waiting: deque[tuple[str, str]] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._change = threading.Condition()  # guards the lines that wait; never held during output
        self._is_closing = False
        self._writer = threading.Thread(target=self._write, name="logbook", daemon=True)
        self._writer.start()

    def take(self, name: str, chunk: bytes) -> None:
        """Take output of process `name`: whole lines go on, the beginning of a line waits for its end."""
        *lines, rest = (self._rests.get(name, b"") + chunk).split(b"\n")
        while len(rest) > LINE_BYTES_MAX:
            lines.append(rest[:LINE_BYTES_MAX])
            rest = rest[LINE_BYTES_MAX:]
        self._rests[name] = rest
        for line in lines:
            self._line(name, line)

    def end(self, name: str) -> None:
        """Note that process `name` has ended: an unfinished line is a line."""
        rest = self._rests.pop(name, b"")
        if rest:
            self._line(name, rest)

    def note(self, name: str, what: str) -> None:
        """Write down with the lines of process `name` what its supervisor knows of it, and has shown already."""
        self._keep(name, f"{_clock()} WARNING {name}: {what}")

    def last(self, name: str) -> tuple[str, ...]:
        """Return the last lines of process `name`, at most `LAST_LINES`."""
        return tuple(self._last.get(name, ()))

    def path(self, name: str) -> Path:
        """Return the file that the lines of process `name` go to."""
        return self._folder / f"{name}.log"

    def close(self, timeout_s: float) -> None:
        """Write the lines that wait, for at most this time."""
        with self._change:
            self._is_closing = True
            self._change.notify()
        self._writer.join(timeout_s)

    def _line(self, name: str, raw: bytes) -> None:
        text = disarm(mask(raw[:LINE_BYTES_MAX].decode(errors="replace").rstrip("\r")))
        if _OURS.match(text) is None:  # from a library or a print(): say when and who
            text = f"{_clock()} PRINT {name}: {text}"
        self._show(text)
        self._keep(name, text)

    def _keep(self, name: str, text: str) -> None:
        self._last.setdefault(name, deque(maxlen=LAST_LINES)).append(text)
        with self._change:
            if self._waiting_bytes + len(text) > WAITING_BYTES_MAX:
                self._lost += 1
                return
            self._waiting.append((name, text))
            self._waiting_bytes += len(text)
            self._change.notify()

    def _write(self) -> None:
        files: dict[str, BinaryIO] = {}
        is_told = False
        while True:
            with self._change:
                self._change.wait_for(lambda: self._waiting or self._is_closing)
                lines, lost = list(self._waiting), self._lost
                self._waiting.clear()
                self._waiting_bytes = self._lost = 0
                if not lines and self._is_closing:
                    break
            if lost:
                lines.append((lines[-1][0], f"{_clock()} WARNING logbook: {lost} lines lost: the disk was too slow"))
            try:
                for name, text in lines:
                    self._append(files, name, text)
                for file in files.values():
                    file.flush()
            except OSError as fault:  # a full disk must not end the pipeline; the lines are still shown
                _close(files)
                if not is_told:
                    is_told = True
                    self._show(f"{_clock()} WARNING logbook: {self._folder} cannot be written: {fault.strerror}")
        _close(files)

    def _append(self, files: dict[str, BinaryIO], name: str, text: str) -> None:
        file = files.get(name)
        if file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = files[name] = self.path(name).open("ab")
        file.write(f"{_day(text, time.time())} {text}\n".encode())
        if file.tell() > FILE_BYTES_MAX:
            file.close()
            del files[name]
            path = self.path(name)
            path.replace(path.with_name(f"{name}.log.1"))


def read_logs(pipeline: str, node: str | None = None, *, follow: bool = False) -> Iterator[str]:
    """Yield the log lines of a pipeline, oldest first, those of all its processes in order of time.

    Args:
        pipeline: its name.
        node: only this node (`motion`) or process (`motion.0`); None: all.
        follow: go on with lines as they come, until nobody asks any more.
    Raises:
        DetektrError: there is no such log.
    """
    return _lines(LogReader(pipeline, node), follow=follow)


class LogReader:
    """Reads the log lines of a pipeline on from where it was."""

    def __init__(self, pipeline: str, node: str | None = None) -> None:
        """Look which logs there are.

        Args:
            pipeline: its name.
            node: see `read_logs`.
        Raises:
            DetektrError: there is no such log.
        """
        folder = log_folder(pipeline)
        if NAME.match(pipeline) is None or not folder.is_dir():
            known = sorted(path.parent.name for path in state_root().glob("*/logs")) if state_root().is_dir() else []
            raise DetektrError(f"pipeline {pipeline!r} has no logs; these have: {', '.join(known) or 'none'}")
        if not _log_names(folder, node):
            names = ", ".join(sorted({name.rpartition(".")[0] for name in _log_names(folder, None)}))
            raise DetektrError(f"node {node!r} of pipeline {pipeline!r} has no logs; these have: {names or 'none'}")
        self._folder, self._node, self._tails = folder, node, dict[str, _Tail]()

    def read(self) -> Iterator[str]:
        """Yield the lines that have come since the last time, at first all, in order of time."""
        for name in _log_names(self._folder, self._node):
            self._tails.setdefault(name, _Tail(self._folder / f"{name}.log"))
        return _merged(self._tails.values())

    def close(self) -> None:
        """Close the files."""
        for tail in self._tails.values():
            tail.close()


def _lines(reader: LogReader, *, follow: bool) -> Iterator[str]:
    try:
        yield from reader.read()
        while follow:
            select.select([], [], [], FOLLOW_S)
            yield from list(reader.read())  # all of them read before the first line is taken from us
    finally:
        reader.close()


def _merged(tails: Iterable[_Tail]) -> Iterator[str]:
    """Yield new lines of several logs in order of time; the lines of one log stay in their own order."""
    return (line for _, line in heapq.merge(*map(_timed, tails), key=lambda timed: timed[0]))


def _timed(tail: _Tail) -> Iterator[tuple[str, str]]:
    """Give each line its time: of a line that is a little older than the one before it, that one's."""
    latest = ""
    for line in tail.read():
        latest = max(latest, line[: len("2000-01-01 00:00:00.000")])
        yield latest, line


def _log_names(folder: Path, node: str | None) -> list[str]:
    names = [path.name.removesuffix(".log") for path in sorted(folder.glob("*.log"))]
    return [name for name in names if node is None or node in (name, name.rpartition(".")[0])]


class _Tail:
    """Reads one log on from where it was, over the change of its file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""
        self._has_begun = False

    def read(self) -> Iterator[str]:
        if not self._has_begun:
            self._has_begun = True
            with contextlib.suppress(FileNotFoundError):
                yield from self._path.with_name(f"{self._path.name}.1").read_text(errors="replace").splitlines()
        while True:
            if self._file is None:
                try:
                    self._file = self._path.open("rb")
                except FileNotFoundError:
                    return
            while chunk := self._file.read(1 << 16):
                *lines, self._rest = (self._rest + chunk).split(b"\n")
                yield from (line.decode(errors="replace") for line in lines)
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._path).st_ino == os.fstat(self._file.fileno()).st_ino:
                    return
            self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _day(text: str, now_s: float) -> str:
    """Return the day of a line that begins with its time of day and came just now, maybe over midnight."""
    now = time.localtime(now_s)
    is_of_yesterday = now.tm_hour == 0 and text.startswith("23:")
    return time.strftime("%Y-%m-%d", time.localtime(now_s - 3600) if is_of_yesterday else now)


def _clock() -> str:
    now = time.time()
    return f"{time.strftime('%H:%M:%S', time.localtime(now))}.{int(now * 1000) % 1000:03d}"


def _close(files: dict[str, BinaryIO]) -> None:
    """Close the files, whatever the disk says of what they still hold, and forget them."""
    for file in files.values():
        with contextlib.suppress(OSError):
            file.close()
    files.clear()
