"""The files in shared memory, their owners, and the removal of files that no living process owns."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from detektr.memory.run_folder import NAME, RunFolder, owner_of, shm_root

_KINDS = {
    ".ring": "ring",
    ".edge": "journal",
    ".status": "status block",
    ".completions": "completion queue",
    ".metrics": "user metrics",
    ".trail": "trail ring",
    ".sock": "socket",
    ".bell": "doorbell",
    ".retry": "outages",
    ".pull": "frames at clients",
    ".lock": "lock",
}
_MIB = 1 << 20


@dataclass(frozen=True)
class ShmFile:
    """One file of one pipeline."""

    pipeline: str
    name: str
    kind: str
    nbytes: int
    owner: str
    """The process that owns it, as node and replica; empty: it is the pipeline's."""
    pid: int | None
    """Number of that process; None: it is dead."""


def list_shm() -> list[ShmFile]:
    """Return every file of every pipeline of this user."""
    return [file for folder in _folders() for file in _files(folder)]


def clean_shm() -> tuple[list[tuple[str, str, int]], list[str]]:
    """Remove the files that no live process owns.

    Returns:
        The removed files (pipeline, name, bytes), and the reasons for leaving other pipelines alone.
    """
    removed, kept = [], []
    for folder in _folders():
        before = {file.name: file.nbytes for file in _files(folder)}
        lock = folder.try_lock()  # held meanwhile, so that no `up` begins in the middle of it
        if lock is None:
            kept.append(f"{folder.pipeline}: running, as process {folder.lock_holder()}")
            continue
        names = folder.sweep()
        lock.close()
        removed += [(folder.pipeline, name, before.get(name, 0)) for name in names if name in before]
        kept += [
            f"{folder.pipeline}: {node}.{replica} lives, process {pid}"
            for node, replica, pid in folder.live_processes()
        ]
    return removed, kept


def shm_table(files: list[ShmFile]) -> str:
    """Write the files as an aligned table, and their sum."""
    if not files:
        return "nothing of detektr's is in shared memory"
    rows = [("pipeline", "file", "kind", "MiB", "owner", "process")]
    for file in files:
        process = f"{file.pid}" if file.pid is not None else "dead"
        rows.append((file.pipeline, file.name, file.kind, f"{file.nbytes / _MIB:.2f}", file.owner or "-", process))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    dead = [file for file in files if file.pid is None]
    total = f"{len(files)} files, {sum(file.nbytes for file in files) / _MIB:.2f} MiB"
    if dead:
        total += f"; {len(dead)} of them without a live owner: `detektr shm clean` removes those"
    return "\n".join([*lines, total])


def cleaned_words(removed: list[tuple[str, str, int]], kept: list[str]) -> str:
    """Return removed files and pipelines left alone, one a line."""
    lines = [f"removed {pipeline}/{name}, {nbytes / _MIB:.2f} MiB" for pipeline, name, nbytes in removed]
    lines += [f"left alone {one}" for one in kept]
    return "\n".join(lines) or "nothing to remove"


def _folders() -> Iterator[RunFolder]:
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(shm_root().iterdir()):
            if path.is_dir() and NAME.match(path.name):
                yield RunFolder(path.name)


def _files(folder: RunFolder) -> list[ShmFile]:
    holder = folder.lock_holder()
    live = {f"{node}.{replica}": pid for node, replica, pid in folder.live_processes()}
    found = []
    with contextlib.suppress(FileNotFoundError):
        for path in sorted(folder.path.iterdir()):
            with contextlib.suppress(FileNotFoundError):  # it went while we looked
                status = path.stat()
                owner = owner_of(path.name)
                # A dead child's files belong to its supervisor: the successor adopts them.
                pid = live.get(owner, holder)
                kind = _KINDS.get(path.suffix, "record")
                found.append(ShmFile(folder.pipeline, path.name, kind, status.st_blocks * 512, owner, pid))
    return found
