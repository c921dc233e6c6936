"""A pipeline that runs for a test: started as users start it, watched through its own status, killed for real."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from detektr.errors import DetektrError
from detektr.observe.status import read_status
from detektr.options import Lane
from tests.harness.lane import lane_told

POLL_S = 0.02


class RunningPipeline:
    """`detektr pipeline up` on a graph, in a process of its own; left behind stopped and checked."""

    def __init__(
        self, folder: Path, name: str, nodes: dict[str, Any], *, announce: Lane | None = None, **top: Any
    ) -> None:
        """Write the file; `start` (or `with`) runs it.

        Args:
            folder: for the file, the report and the log.
            name: the pipeline's.
            nodes: as in a pipeline file.
            announce: the lane; None: the one that the environment names.
            top: other keys of the file.
        """
        self.name, self.folder, self.announce = name, folder, announce or lane_told()
        self.file, self.report_file, self.log = folder / "pipeline.yaml", folder / "report.json", folder / "up.log"
        text = {"name": name, "announce": self.announce, "nodes": nodes, **top}
        self.file.write_text(yaml.safe_dump(text, sort_keys=False))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> RunningPipeline:
        """Start it; returns at once."""
        command = [sys.executable, "-m", "detektr", "pipeline", "up", str(self.file), "--report", str(self.report_file)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
        return self

    def status(self) -> dict[str, Any]:
        """Return what `status --json` says; empty when there is none."""
        try:
            return read_status(self.name)
        except DetektrError:
            return {"nodes": {}, "edges": []}

    def edge(self, producer: str, consumer: str) -> dict[str, Any]:
        """Return the ledger of one edge; empty before it exists."""
        for edge in self.status()["edges"]:
            if (edge["from"], edge["to"]) == (producer, consumer):
                return dict(edge)
        return {}

    def pids(self, node: str) -> list[int]:
        """Return the processes of a node that live."""
        return [pid for pid in self.status()["nodes"].get(node, {}).get("pids", []) if pid]

    def kill(self, node: str, number: int = signal.SIGKILL, place: int = 0) -> int:
        """Send a signal to one process of a node; returns its id."""
        pid = self.wait(lambda: self._signalled(node, number, place), what=f"process {place} of {node}")
        return int(pid)

    def _signalled(self, node: str, number: int, place: int) -> int:
        """Send a signal to a process of a node; returns its id, or 0: there is none, or it has ended just then."""
        for pid in self.pids(node)[place : place + 1]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
                return pid
        return 0

    def wait(self, condition: Callable[[], Any], within_s: float = 20.0, what: str = "the condition") -> Any:
        """Wait until a condition holds; returns its value."""
        deadline = time.monotonic() + within_s
        while True:
            value = condition()
            if value:
                return value
            assert time.monotonic() < deadline, f"not within {within_s} s: {what}\n{self.tail()}"
            time.sleep(POLL_S)

    def wait_delivered(self, producer: str, consumer: str, count: int, within_s: float = 20.0) -> dict[str, Any]:
        """Wait until an edge has delivered that many."""

        def reached() -> dict[str, Any] | None:
            edge = self.edge(producer, consumer)
            assert edge or self.exit_code is None, f"`up` has ended with {self.exit_code}\n{self.tail()}"
            return edge if edge.get("delivered", 0) >= count else None

        return dict(self.wait(reached, within_s, f"{count} delivered from {producer} to {consumer}"))

    def end(self, number: int | None = signal.SIGTERM, within_s: float = 40.0) -> dict[str, Any]:
        """Send a signal (None: wait for the end by itself) and return the report."""
        assert self.process is not None
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        try:
            self.process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still running after {within_s} s\n{self.tail()}") from None
        assert self.report_file.exists(), self.tail()
        report: dict[str, Any] = json.loads(self.report_file.read_text())
        return report

    @property
    def exit_code(self) -> int | None:
        """How `up` ended; None while it runs."""
        return None if self.process is None else self.process.poll()

    def tail(self, lines: int = 60) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def __enter__(self) -> RunningPipeline:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        """See to it that nothing runs on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
