"""`detektr.run`: a pipeline from a program of the user's own, which stays the user's own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

import detektr

PIPELINE = """
name: mine
nodes:
  cam: {kind: capture, source: "python:app:pictures", with: {count: 30}}
  look: {kind: processor, input: cam, use: "app:Look"}
  events: {kind: sink, input: look, use: jsonl, with: {path: events.jsonl}}
"""
APP = """
import json, logging, signal, subprocess, sys, threading
import numpy as np
import detektr

def pictures(count):
    for number in range(count):
        yield np.full((48, 64), number, np.uint8)

class Look(detektr.Processor):
    def process(self, frame):
        return {"mean": float(frame.gray.mean())}
"""


def run_app(folder: Path, main: str, *, is_guarded: bool = True) -> subprocess.CompletedProcess[str]:
    (folder / "pipeline.yaml").write_text(PIPELINE)
    guard = 'if __name__ == "__main__":\n' if is_guarded else "if True:\n"
    (folder / "app.py").write_text(APP + guard + textwrap.indent(textwrap.dedent(main), "    "))
    return subprocess.run([sys.executable, "app.py"], cwd=folder, capture_output=True, text=True, timeout=50)


def test_a_script_runs_a_pipeline_with_its_own_classes_and_gets_ledger_and_report(tmp_path: Path) -> None:
    ended = run_app(
        tmp_path,
        """
        result = detektr.run("pipeline.yaml", report="report.json")
        edges = {(edge.producer, edge.consumer): edge.delivered for edge in result.edges}
        assert edges == {("cam", "look"): 30, ("look", "events"): 30}, edges
        assert result.unaccounted == 0 and result.report["nodes"]["look"]["state"] == "ended"
        sys.exit(result.exit_code)
        """,
    )
    assert ended.returncode == 0, ended.stderr
    assert "look -> events" in ended.stdout and "unaccounted: 0" in ended.stdout
    assert len((tmp_path / "events.jsonl").read_text().splitlines()) == 30
    assert json.loads((tmp_path / "report.json").read_text())["unaccounted"] == 0


def test_what_a_program_had_of_its_own_it_has_afterwards(tmp_path: Path) -> None:
    ended = run_app(
        tmp_path,
        """
        mine = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
        logging.basicConfig(level="ERROR", format="mine: %(message)s")
        def caught(number, frame): pass
        signal.signal(signal.SIGTERM, caught)
        hook = threading.excepthook
        first = detektr.run("pipeline.yaml", quiet=True)
        again = detektr.run("pipeline.yaml", quiet=True)
        assert mine.wait() == 7, "its child's end was asked for by somebody else"
        assert signal.getsignal(signal.SIGTERM) is caught and threading.excepthook is hook
        logging.error("still here")
        print(first.exit_code, again.exit_code)
        """,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "0 0\n", "quiet prints no ledger"
    assert ended.stderr == "mine: still here\n"


def test_a_run_that_is_interrupted_drains_and_returns_130(tmp_path: Path) -> None:
    ended = run_app(
        tmp_path,
        """
        import os
        text = open("pipeline.yaml").read().replace("count: 30", "count: 100000")
        open("long.yaml", "w").write(text)
        def interrupt():
            while not os.path.exists("events.jsonl") or not os.path.getsize("events.jsonl"):
                threading.Event().wait(0.02)
            os.kill(os.getpid(), signal.SIGINT)
        threading.Thread(target=interrupt, daemon=True).start()
        result = detektr.run("long.yaml", quiet=True)
        print(result.exit_code, result.unaccounted, bool(result.edges))
        """,
    )
    assert ended.stdout == "130 0 True\n", ended.stderr


def test_a_run_that_a_node_would_begin_by_importing_its_file_is_refused_with_the_guard_to_write(tmp_path: Path) -> None:
    ended = run_app(tmp_path, 'detektr.run("pipeline.yaml")\n', is_guarded=False)
    assert ended.returncode == 1
    assert "a node imports the file that calls detektr.run('pipeline.yaml')" in ended.stderr
    assert 'write it under `if __name__ == "__main__":`' in ended.stderr


def test_a_file_that_is_refused_raises_with_all_its_faults(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("name: bad\nnodes:\n  cam: {kind: captur, source: x}\n")
    with pytest.raises(detektr.RefusedError, match="write `kind: capture`"):
        detektr.run(file, quiet=True)


def test_a_run_from_another_thread_or_for_no_time_is_refused(tmp_path: Path) -> None:
    faults: list[Exception] = []

    def work() -> None:
        try:
            detektr.run(tmp_path / "pipeline.yaml")
        except detektr.RefusedError as fault:
            faults.append(fault)

    thread = threading.Thread(target=work, name="side")
    thread.start()
    thread.join()
    assert "called by the thread 'side'; call it from the main thread" in str(faults[0])
    with pytest.raises(detektr.RefusedError, match="for_s is 0; expected seconds above 0"):
        detektr.run(tmp_path / "pipeline.yaml", for_s=0)
