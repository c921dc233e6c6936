"""The run lock: it admits one supervisor at a time to a pipeline, and sweeps the files of an earlier run."""

from __future__ import annotations

import select
import time
from collections.abc import Collection

from detektr.errors import RefusedError
from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import Segment
from detektr.observe.run_state import read_run_state

ORPHANS_NS = 5_000_000_000  # so long we wait for the children of a dead supervisor, which drain by themselves
SWEEPER_NS = 300_000_000  # the last of them holds the lock for a moment while it sweeps
_POLL_MS = 20


def acquire_run_lock(pipeline: str, names: Collection[str]) -> tuple[RunFolder, Segment]:
    """Take the pipeline's lock and sweep the files of an earlier run; files of living processes stay.

    Args:
        pipeline: its name.
        names: its nodes; processes of these names must not be there.
    Returns:
        The run folder, and the lock; close the lock to release it.
    Raises:
        RefusedError: the pipeline runs already, or processes of its nodes do.
    """
    folder = RunFolder(pipeline)
    deadline_ns = time.monotonic_ns() + SWEEPER_NS
    while (lock := folder.try_lock()) is None:
        if time.monotonic_ns() > deadline_ns:
            raise RefusedError(
                f"pipeline {pipeline!r} is running already, as process {folder.lock_holder()}{_file_of(folder)};"
                f" `detektr down {pipeline}` ends that run, and another `name` in this file begins one beside it"
            )
        select.poll().poll(_POLL_MS)
    try:
        deadline_ns = time.monotonic_ns() + ORPHANS_NS
        while living := [(f"{node}.{replica}", pid) for node, replica, pid in folder.live_processes() if node in names]:
            if time.monotonic_ns() > deadline_ns:
                who = ", ".join(f"{name} (process {pid})" for name, pid in living)
                raise RefusedError(
                    f"pipeline {pipeline!r}: {who} {'still runs' if len(living) == 1 else 'still run'} without a"
                    f" supervisor (started alone, or left over); `detektr down {pipeline}` ends what is left"
                )
            select.poll().poll(_POLL_MS)
        folder.sweep(keep=(folder.lock.name,))
    except BaseException:
        lock.close()
        raise
    return folder, lock


def _file_of(folder: RunFolder) -> str:
    file = read_run_state(folder).get("file")
    return f", from {file}" if file else ""
