"""`detektr doctor`: what of this machine would hurt a pipeline, and what to do about it.

`look` reads the machine, `judge` says what that means (pure).
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import resource
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from detektr.config.load import Pipeline, check_machine, load_pipeline
from detektr.config.plan import plan_processes
from detektr.errors import DetektrError
from detektr.memory.run_folder import shm_root, state_root
from detektr.observe.shm import list_shm
from detektr.process.cores import core_count
from detektr.sources.survey import decodable

MIB = 1 << 20
SHM_STEP = 64 * MIB  # `--shm-size` is told in steps of this
FILES_ENOUGH = 4096
STATE_FREE_LOW = 1 << 30  # logs, dead letters and history may take as much
MEMORY_FREE_LOW = 256 * MIB
PROCESS_BYTES = 1 << 17  # of shared memory beside rings and journals: status block, sockets, user metrics
CODECS = ("h264", "hevc", "mjpeg", "av1")
_TIME_ERROR = 5  # adjtimex: the clock is not synchronized
_CLOCK_BYTES = 256  # more than a struct timex has
Grade = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    grade: Grade
    text: str
    next: str = ""


@dataclass(frozen=True)
class Machine:
    """What was found on this machine, and what a pipeline needs of it."""

    shm_folder: str
    shm_type: str
    """Of its file system; empty: there is no such folder."""
    shm_bytes: int
    shm_free: int
    state_folder: str
    state_free: int | None
    """None: it cannot be written."""
    files_limit: int
    cores: int
    memory_free: int | None
    codecs: tuple[str, ...]
    devices: tuple[str, ...] = ()
    """Files of graphics cards that decoders may use."""
    is_compiled: bool = True
    is_clock_synchronized: bool | None = None
    """None: the kernel does not say."""
    left_bytes: int = 0
    """Of shared memory that nobody owns any more."""
    shm_needed: int | None = None
    """Of the file; None: there is none."""
    processes: int = 0
    faults: tuple[str, ...] = ()
    """What else is wrong with the file, or missing for it."""


def examine(file: Path | None) -> list[Finding]:
    """Look at this machine, with a pipeline file for what it needs.

    Raises:
        DetektrError: the file is refused.
    """
    return judge(look(None if file is None else load_pipeline(file)))


def look(pipeline: Pipeline | None) -> Machine:
    """Read what is there."""
    shm = shm_root().parent
    stat = os.statvfs(shm) if shm.is_dir() else None
    machine = Machine(
        shm_folder=str(shm),
        shm_type=_file_system(shm) if stat is not None else "",
        shm_bytes=stat.f_blocks * stat.f_frsize if stat is not None else 0,
        shm_free=stat.f_bavail * stat.f_frsize if stat is not None else 0,
        state_folder=str(state_root()),
        state_free=_free_of(state_root()),
        files_limit=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        cores=core_count(),
        memory_free=_memory_free(),
        codecs=decodable(CODECS),
        devices=tuple(
            sorted(str(path) for path in [*Path("/dev/dri").glob("renderD*"), *Path("/dev").glob("nvidia[0-9]")])
        ),
        is_compiled=_is_compiled(),
        is_clock_synchronized=_is_clock_synchronized(),
        left_bytes=sum(file.nbytes for file in list_shm() if file.owner and file.pid is None),
    )
    return machine if pipeline is None else _with_needs(machine, pipeline)


def judge(machine: Machine) -> list[Finding]:
    """Say what of a machine is good, what is doubtful and what is bad."""
    return [
        *_of_shm(machine),
        *_of_files(machine),
        *_of_work(machine),
        *_of_sources(machine),
        *(Finding("file", "bad", fault) for fault in machine.faults),
    ]


def describe(findings: list[Finding]) -> str:
    """Write the findings, one a line, what to do below it."""
    marks = {"good": "ok  ", "warning": "warn", "bad": "BAD "}
    lines = []
    for one in findings:
        lines.append(f"{marks[one.grade]}  {one.what}: {one.text}")
        if one.next:
            lines.append(f"      {one.next}")
    return "\n".join(lines)


def _of_shm(machine: Machine) -> Iterator[Finding]:
    where = f"{machine.shm_folder} has {machine.shm_bytes / MIB:.0f} MiB, {machine.shm_free / MIB:.0f} of them free"
    if not machine.shm_type:
        yield Finding(
            "shared memory",
            "bad",
            f"there is no {machine.shm_folder}",
            "set DETEKTR_SHM_DIR to a folder in memory (tmpfs)",
        )
        return
    if machine.shm_type not in ("tmpfs", "ramfs"):
        next_ = "each frame would be written to it; set DETEKTR_SHM_DIR to a folder in memory (tmpfs)"
        yield Finding("shared memory", "bad", f"{machine.shm_folder} is on {machine.shm_type}, not in memory", next_)
    needed = machine.shm_needed
    if needed is None:
        yield Finding("shared memory", "good", where)
    else:
        size = -(-needed // SHM_STEP) * SHM_STEP // MIB
        text = f"{where}; this pipeline takes up to {needed / MIB:.0f} MiB"
        is_enough = needed <= machine.shm_free
        more = f"a container: --shm-size={size}m; else mount -o remount,size={size}m {machine.shm_folder}"
        next_ = f"{more}; or set a smaller `memory`"
        yield Finding("shared memory", "good" if is_enough else "bad", text, "" if is_enough else next_)
    if machine.left_bytes:
        text = f"{machine.left_bytes / MIB:.1f} MiB are left of processes that are dead"
        yield Finding("shared memory", "warning", text, "`detektr shm clean` removes them")


def _of_files(machine: Machine) -> Iterator[Finding]:
    free = machine.state_free
    if free is None:
        next_ = "set DETEKTR_STATE_DIR to a folder that this user may write to"
        yield Finding("state folder", "bad", f"{machine.state_folder} cannot be written", next_)
    else:
        text = f"{machine.state_folder} has {free / MIB:.0f} MiB free, for logs, dead letters and history"
        is_low = free < STATE_FREE_LOW
        yield Finding(
            "state folder",
            "warning" if is_low else "good",
            text,
            "make room, or set DETEKTR_STATE_DIR" if is_low else "",
        )
    limit = machine.files_limit
    is_unlimited = limit == resource.RLIM_INFINITY
    text = "any number of files" if is_unlimited else f"{limit} files"
    is_low = not is_unlimited and limit < FILES_ENOUGH
    next_ = "raise the hard limit (a unit: LimitNOFILE=; a container: --ulimit nofile=)" if is_low else ""
    yield Finding("open files", "warning" if is_low else "good", f"a process may have {text} open", next_)


def _of_work(machine: Machine) -> Iterator[Finding]:
    text = f"{machine.cores} to run on"
    if machine.processes:
        text += f", for {machine.processes} processes"
    yield Finding("cores", "good", text)
    if machine.memory_free is not None:
        is_low = machine.memory_free < MEMORY_FREE_LOW + (machine.shm_needed or 0)
        text = f"{machine.memory_free / MIB:.0f} MiB are free; shared memory is part of it"
        yield Finding(
            "memory",
            "warning" if is_low else "good",
            text,
            "fewer cameras, or less `memory` for each" if is_low else "",
        )
    if machine.is_compiled:
        yield Finding("detektr", "good", "its inner loops are compiled")
    else:
        next_ = "install it from a wheel, or where a C compiler is: it then takes less CPU for each frame"
        yield Finding("detektr", "warning", "it runs from its Python files", next_)
    if machine.is_clock_synchronized is False:
        next_ = "run chrony, or systemd-timesyncd: the times of frames and events are this machine's"
        yield Finding("clock", "warning", "the kernel says that it is not synchronized", next_)
    elif machine.is_clock_synchronized:
        yield Finding("clock", "good", "synchronized")


def _of_sources(machine: Machine) -> Iterator[Finding]:
    missing = [codec for codec in CODECS if codec not in machine.codecs]
    if missing:
        text = f"this PyAV cannot decode {', '.join(missing)}"
        next_ = "install PyAV's own wheel: pip install --force-reinstall av"
        yield Finding("decoders", "bad" if "h264" in missing or "hevc" in missing else "warning", text, next_)
    else:
        yield Finding("decoders", "good", f"{', '.join(CODECS)} in software")
    if machine.devices:
        yield Finding("decoders", "good", f"{', '.join(machine.devices)}: `hwaccel: auto` tries them")


def _with_needs(machine: Machine, pipeline: Pipeline) -> Machine:
    """Add what a pipeline needs: shared memory, processes; and what is wrong with it here: files, ports, CPUs."""
    options, graph = pipeline.options, pipeline.graph
    specs = plan_processes(options.name, graph, options.nodes, pipeline.folder, announce=options.announce)
    rings = [spec.ring_bytes for spec in specs]
    journals = sum(edge.journal_bytes for edge in graph.edges)
    # A camera that changes its size has two rings for a moment.
    needed = sum(rings) + max(rings, default=0) + journals + PROCESS_BYTES * len(specs)
    faults = tuple(fault.text for fault in check_machine(pipeline))
    return replace(machine, shm_needed=needed, processes=len(specs), faults=faults)


def _file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on."""
    best, kind = "", "an unknown file system"
    for line in Path("/proc/self/mounts").read_text(errors="replace").splitlines():
        _, mount, found, *_ = line.split(" ")
        mount = mount.replace("\\040", " ")
        is_above = mount == "/" or str(folder) == mount or str(folder).startswith(mount + "/")
        if is_above and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def _free_of(folder: Path) -> int | None:
    """Return the room on the disk of a folder, or of the nearest one above it; None: it cannot be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def _memory_free() -> int | None:
    """Return the memory that is free, of this machine or as much as its container may still take; None: not known."""
    free: list[int] = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        line = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemAvailable:"))
        free.append(int(line.split()[1]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # no cgroup, or `max`
        group = Path("/sys/fs/cgroup")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    return min(free, default=None)


def _is_compiled() -> bool:
    from importlib.machinery import EXTENSION_SUFFIXES
    from importlib.util import find_spec

    spec = find_spec("detektr.descriptor")
    return spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))


def _is_clock_synchronized() -> bool | None:
    library = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    adjtimex = getattr(library, "adjtimex", None)
    if adjtimex is None:
        return None
    state: int = adjtimex(ctypes.create_string_buffer(_CLOCK_BYTES))  # zeros: nothing is set
    return None if state < 0 else state != _TIME_ERROR


def refuse_bad(findings: list[Finding]) -> None:
    """Raise where something is bad.

    Raises:
        DetektrError: says how much.
    """
    bad = sum(one.grade == "bad" for one in findings)
    if bad:
        raise DetektrError(f"{bad} of these would stop or hurt a pipeline here; mend what is BAD above")
