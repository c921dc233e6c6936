"""A terminal in which one command of ours runs: what it said, and how it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

END_S = 20.0
WRITER = """
import os


class Write:
    def __init__(self, path, die_at=-1):
        self.path, self.die_at = path, die_at

    def open(self):
        self.file = open(self.path, "a")

    def process(self, frame):
        if frame.sequence == self.die_at and frame.delivery == 1:
            os.kill(os.getpid(), 9)
        self.file.write(f"{frame.sequence} {int(frame.gray.sum())}\\n")
        self.file.flush()
        return {"number": frame.sequence}

    def close(self):
        self.file.close()


class Keep:
    def __init__(self, path):
        self.file = open(path, "a")

    def write(self, event):
        self.file.write(f"{event['data']['number']}\\n")
        self.file.flush()
"""


class Terminal:
    """One running `python -m detektr ...`."""

    def __init__(self, folder: Path, *arguments: str | Path) -> None:
        """Start it in `folder`, which holds the module `writer`."""
        (folder / "writer.py").write_text(WRITER)
        self.arguments = arguments
        self._out, self._err = (folder / f"{id(self):x}.{end}" for end in ("out", "err"))
        with self._out.open("w") as out, self._err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "detektr", *map(str, arguments)],
                cwd=folder,
                env={**os.environ, "NO_COLOR": "1", "TERM": "dumb"},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    @property
    def out(self) -> str:
        """What it printed."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it logged."""
        return self._err.read_text()

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait_says(self, text: str, within_s: float = END_S) -> None:
        """Wait until it has logged a text; fails the test when it ends or takes too long without."""
        deadline = time.monotonic() + within_s
        while text not in self.err:
            if self.process.poll() is not None or time.monotonic() > deadline:
                if text in self.err:
                    return
                pytest.fail(
                    f"{' '.join(map(str, self.arguments))} has not said {text!r}; it said:\n{self.out}{self.err}"
                )
            time.sleep(0.005)

    def end(self, within_s: float = END_S) -> int:
        """Wait for its end; returns its exit code."""
        try:
            return self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{' '.join(map(str, self.arguments))} has not ended; it said:\n{self.out}{self.err}")

    def counts(self, edge: str) -> dict[str, int]:
        """Return the numbers of the row of an edge in the ledger that it printed at its end."""
        names = ("offered", "delivered", "dropped", "dead-lettered", "queued", "in flight", "redelivered")
        for line in self.out.splitlines():
            if line.startswith(f"{edge}  "):
                return dict(zip(names, map(int, line.removeprefix(edge).split()[:7]), strict=True))
        pytest.fail(f"no ledger of {edge}:\n{self.out}{self.err}")


class Terminals:
    """All terminals of a test."""

    def __init__(self, folder: Path) -> None:
        """Open none yet."""
        self.folder = folder
        self.all: list[Terminal] = []

    def __call__(self, *arguments: str | Path) -> Terminal:
        """Run a command in a terminal of its own."""
        self.all.append(Terminal(self.folder, *arguments))
        return self.all[-1]


@contextmanager
def open_terminals(folder: Path) -> Iterator[Terminals]:
    """Give a test its terminals; what still runs at the end is killed."""
    terminals = Terminals(folder)
    try:
        yield terminals
    finally:
        for terminal in terminals.all:
            if terminal.process.poll() is None:
                terminal.process.kill()
            terminal.process.wait()
