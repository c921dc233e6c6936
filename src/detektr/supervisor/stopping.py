"""Ending a running pipeline from outside: its supervisor is told, or, without one, each of its processes."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

from detektr.errors import DetektrError
from detektr.observe.run_reader import RunReader
from detektr.observe.status import find_running


def stop_pipeline(name: str, wait_ns: int) -> bool:
    """Ask a pipeline to drain and end, and wait until it is gone; without a supervisor, each of its processes is asked.

    Args:
        name: the pipeline.
        wait_ns: longest wait, in nanoseconds.
    Returns:
        True: it is gone; False: it has not ended yet.
    Raises:
        DetektrError: no pipeline of this name runs, or this process is not allowed to end it.
    """
    folder = find_running(name)
    deadline_ns = time.monotonic_ns() + wait_ns
    holder = folder.lock_holder()
    if holder is not None:
        asked = [(folder.lock, holder)]
    else:
        reader = RunReader(folder)  # ephemeral consumers are scripts and notebooks; we do not end them
        snapshots = [snapshot for snapshot in reader.read()[1] if snapshot.is_alive and snapshot.kind != "guest"]
        reader.close()
        asked = [(folder.status_block(snapshot.node, snapshot.replica), snapshot.pid) for snapshot in snapshots]
    for path, pid in asked:
        if not order_end(pid, path) and path.exists():
            raise DetektrError(
                f"pipeline {name!r}: process {pid} of {path.name} cannot be told to end; it belongs to another user or"
                " lives in another container: end it there"
            )
    return all([wait_end(pid, deadline_ns - time.monotonic_ns()) for _, pid in asked])


def wait_end(pid: int, within_ns: int) -> bool:
    """Wait until a process has ended; False: it lives on.

    Args:
        pid: its number.
        within_ns: longest wait, in nanoseconds.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        return bool(poll.poll(max(0, within_ns) / 1e6))
    finally:
        os.close(handle)


def order_end(pid: int, file: Path) -> bool:
    """Send SIGTERM to the process that has `file` mapped; False: no process of that number has.

    A number alone proves nothing: it may be another's by now, or be meant in another container.
    """
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        inode = file.stat().st_ino
        lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        if not any(fields[4] == str(inode) for fields in map(str.split, lines)):
            return False
        signal.pidfd_send_signal(handle, signal.SIGTERM)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return False
    finally:
        os.close(handle)
    return True
