"""`detektr.run`: a pipeline from a program of your own."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from detektr.errors import RefusedError
from detektr.process.json_file import write_json
from detektr.registry.user_code import is_importing
from detektr.supervisor.fork_client import ForkServer
from detektr.supervisor.up import RunResult, run_pipeline

FOR_S_MAX = 366 * 24 * 3600.0


def run(
    path: str | os.PathLike[str] = "pipeline.yaml",
    *,
    for_s: float | None = None,
    report: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> RunResult:
    """Run a pipeline file to its end, as `detektr up` does, and say what became of it.

    To be called by the main thread: until it returns, SIGINT, SIGTERM and SIGHUP drain the pipeline and do not raise
    KeyboardInterrupt, and log lines go to stderr. Children that your program started before stay its own.
    Nodes are processes of their own, which import your modules anew: where a node uses the file that calls this,
    the call stands under `if __name__ == "__main__":`.

    Args:
        path: the pipeline file.
        for_s: drain and end after this time, in seconds; None: when the sources end, or a signal comes.
        report: where the ledger goes, as JSON; None: nowhere.
        quiet: print nothing but warnings and errors; else a table on a terminal, log lines elsewhere, then the ledger.
    Returns:
        Exit code, ledgers and report. A node that failed for good is exit code 1, and no exception.
    Raises:
        RefusedError: the file, the machine or a node refused; says why, and nothing is left behind.
        OSError: the report could not be written at the end.
    """
    if is_importing():
        hint = 'write it under `if __name__ == "__main__":`'
        raise RefusedError(f"run: a node imports the file that calls detektr.run({str(path)!r}); {hint}")
    if threading.current_thread() is not threading.main_thread():
        name = threading.current_thread().name
        raise RefusedError(f"run: called by the thread {name!r}; call it from the main thread")
    if for_s is not None and not 0 < for_s <= FOR_S_MAX:
        raise RefusedError(f"run: for_s is {for_s!r}; expected seconds above 0, at most a year")
    place = None if report is None else Path(report)
    root = logging.getLogger()
    handlers, level, thread_hook = root.handlers[:], root.level, threading.excepthook
    try:
        with ForkServer(Path(path)) as forks:
            for_ns = None if for_s is None else round(for_s * 1e9)
            result = run_pipeline(Path(path), forks, for_ns=for_ns, report=place, quiet=quiet)
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        threading.excepthook = thread_hook
    if not quiet:
        print(result.summary, flush=True)
    if place is not None:
        write_json(place, result.report)
    return result
