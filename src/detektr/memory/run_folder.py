"""The run folder: names and places of all files of one pipeline: rings, journals, status blocks, sockets, and more."""

from __future__ import annotations

import contextlib
import os
import re
import select
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from detektr.errors import RefusedError
from detektr.memory.layout import PAGE_BYTES, STATUS_WORD_PID
from detektr.memory.segment import Segment, open_segment, scarcity

SOCKET_PATH_BYTES_MAX = 107  # sun_path, less its end
MAKE_TRIES = 100
LEAVING_NS = 500_000_000  # a sweep takes milliseconds; a process that has the lock for longer begins a run
LOOK_MS = 5
NAME = re.compile(r"^[A-Za-z][A-Za-z0-9_-]{0,31}\Z")
_LONGEST_FILE = len(f"/{'n' * 32}.63.sock")


class RunFolder:
    """Names of the files of one pipeline in shared memory; 0700, and so is the folder above it."""

    def __init__(self, pipeline: str) -> None:
        """Name the folder of `pipeline`; nothing is made yet.

        Raises:
            RefusedError: the name is none, or the path would be too long for a socket.
        """
        if NAME.match(pipeline) is None:
            raise RefusedError(f"{pipeline!r} is not a name; use a letter, then up to 31 letters, digits, _ or -")
        self.pipeline = pipeline
        self.path = shm_root() / pipeline
        length = len(os.fsencode(self.path)) + _LONGEST_FILE
        if length > SOCKET_PATH_BYTES_MAX:
            raise RefusedError(
                f"{self.path} is {length - SOCKET_PATH_BYTES_MAX} bytes too long for a socket's path;"
                " set DETEKTR_SHM_DIR to a shorter folder"
            )

    def make(self) -> None:
        """Make the folder, for this user only.

        Raises:
            RefusedError: the place cannot be written, or belongs to somebody else.
        """
        for left in reversed(range(MAKE_TRIES)):
            try:
                self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self.path.mkdir(mode=0o700, exist_ok=True)  # no parents: they would be open to others
                owner = self.path.parent.stat()
                break
            except OSError as fault:
                # A process that leaves now may remove the empty folder between two of our steps.
                if left and isinstance(fault, FileExistsError | FileNotFoundError):
                    continue
                raise RefusedError(
                    f"{self.path} cannot be made: {fault.strerror}; point DETEKTR_SHM_DIR at a folder in memory"
                    " (tmpfs) that you may write to"
                ) from None
        if owner.st_uid != os.getuid() or owner.st_mode & 0o077:
            raise RefusedError(f"{self.path.parent} must be this user's own and closed to others (chmod 700)")

    def ring(self, node: str, epoch: int) -> Path:
        """Path of the ring of capture `node` in `epoch`."""
        return self.path / f"{node}.{epoch}.ring"

    def rings(self, node: str) -> dict[int, Path]:
        """Rings of `node` that exist, by epoch."""
        return {int(path.name.split(".")[1]): path for path in self._found(f"{node}.*.ring")}

    def all_rings(self) -> list[Path]:
        """Rings that exist, of all captures."""
        return [path for path in self._found("*.ring") if not path.name.startswith(".")]

    def journal(self, producer: str, replica: int, consumer: str) -> Path:
        """Path of the journal of the edge from one process of `producer` to `consumer`."""
        return self.path / f"{producer}.{replica}~{consumer}.edge"

    def journals(self, producer: str | None = None, replica: int = 0) -> Iterator[tuple[str, int, str, Path]]:
        """Journals that exist: producer, replica, consumer, path; all, or those of one process."""
        pattern = "*.edge" if producer is None else f"{producer}.{replica}~*.edge"
        for path in self._found(pattern):
            left, _, consumer = path.name.removesuffix(".edge").partition("~")
            if left.startswith("."):
                continue
            name, _, number = left.rpartition(".")
            yield name, int(number), consumer, path

    def status_block(self, node: str, replica: int) -> Path:
        """Path of the status block of one process of `node`."""
        return self.path / f"{node}.{replica}.status"

    def status_blocks(self) -> Iterator[tuple[str, int, Path]]:
        """Status blocks that exist: node, replica, path."""
        for path in self._found("*.status"):
            if not path.name.startswith("."):
                name, _, number = path.name.removesuffix(".status").rpartition(".")
                yield name, int(number), path

    def user_metrics(self, node: str, replica: int) -> Path:
        """Path of the user metrics of one process of `node`."""
        return self.path / f"{node}.{replica}.metrics"

    def all_user_metrics(self) -> Iterator[tuple[str, int, Path]]:
        """Files of user metrics that exist: node, replica, path."""
        for path in self._found("*.metrics"):
            if not path.name.startswith("."):
                name, _, number = path.name.removesuffix(".metrics").rpartition(".")
                yield name, int(number), path

    def trail(self, node: str, replica: int) -> Path:
        """Path of the ring in which one process of `node` tells what became of frames."""
        return self.path / f"{node}.{replica}.trail"

    def trails(self) -> Iterator[tuple[str, int, Path]]:
        """Rings of what became of frames that exist: node, replica, path."""
        for path in self._found("*.trail"):
            if not path.name.startswith("."):
                name, _, number = path.name.removesuffix(".trail").rpartition(".")
                yield name, int(number), path

    def completions(self, consumer: str, producer: str) -> Path:
        """Path of the completion queue of one process (`motion.1`) for another (`buffer.0`)."""
        return self.path / f"{consumer}~{producer}.completions"

    def outages(self, node: str, replica: int) -> Path:
        """Path of the file in which one process of the sink `node` notes which events it could not write yet."""
        return self.path / f"{node}.{replica}.retry"

    def partition(self, consumer: str) -> Path:
        """Path of the map that says which replica of `consumer` gets the frames of which camera."""
        return self.path / f"{consumer}.partition"

    def partitions(self) -> Iterator[tuple[str, Path]]:
        """Maps of cameras and replicas that exist: consumer, path."""
        for path in self._found("*.partition"):
            if not path.name.startswith("."):
                yield path.name.removesuffix(".partition"), path

    def _found(self, pattern: str) -> list[Path]:
        """Return the files that a pattern fits, sorted; none where there is no folder, or none any more."""
        try:
            return sorted(self.path.glob(pattern))
        except FileNotFoundError:  # the last process has left while we looked
            return []

    def inbox(self, node: str, replica: int) -> Path:
        """Path of the socket at which one process of `node` takes messages."""
        return self.path / f"{node}.{replica}.sock"

    def doorbell(self, node: str, replica: int) -> Path:
        """Path of the doorbell of one process of `node`."""
        return self.path / f"{node}.{replica}.bell"

    def doorbell_of(self, process: str) -> Path:
        """Path of the doorbell of a process, by its name: `motion.1`."""
        return self.path / f"{process}.bell"

    def remove_if_empty(self) -> None:
        """Remove the folder when it is empty, and the one above it likewise."""
        with contextlib.suppress(OSError):
            self.path.rmdir()
            self.path.parent.rmdir()

    def try_lock(self) -> Segment | None:
        """Take the pipeline's lock, to supervise or to sweep, until it is closed; None: another process has it.

        Its first word is the holder's process number. The file is never replaced, so all processes lock the same one.

        Raises:
            RefusedError: the folder cannot be made, or has no room for the lock's file.
        """
        while True:
            self.make()
            try:
                fd = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            except FileNotFoundError:
                continue  # a sweep has just removed the folder
            try:
                os.posix_fallocate(fd, 0, PAGE_BYTES)
            except OSError as fault:
                os.close(fd)
                raise scarcity(self.lock, PAGE_BYTES, fault) from None
            segment = Segment(self.lock, fd, is_writable=True)
            if not segment.try_lock():
                segment.close()
                return None
            if not segment.is_unlinked:
                segment.words[0] = os.getpid()
                return segment
            segment.close()  # a sweep removed the name between our opening and our locking

    @property
    def orders(self) -> Path:
        """Path of the socket at which the supervisor takes what an operator asks for."""
        return self.path / "supervisor.orders"

    @property
    def lock(self) -> Path:
        """Path of the pipeline's lock."""
        return self.path / "supervisor.lock"

    def lock_holder(self) -> int | None:
        """Return the number of the process that has the pipeline's lock; None: none has."""
        segment = open_segment(self.lock)
        if segment is None:
            return None
        holder = segment.words[0] if segment.is_locked_elsewhere() else None
        segment.close()
        return holder

    def live_processes(self) -> list[tuple[str, int, int]]:
        """Return the processes that live here: node, replica, process number."""
        live = []
        for node, replica, path in self.status_blocks():
            segment = open_segment(path)
            if segment is not None:
                if segment.is_locked_elsewhere():
                    live.append((node, replica, segment.words[STATUS_WORD_PID]))
                segment.close()
        return live

    def sweep_if_abandoned(self) -> list[str]:
        """Remove everything unless a live process has something locked here. Returns the names removed.

        The holder of the lock may be leaving too, and may have seen us alive a moment ago, so we wait for it a while.
        """
        deadline_ns = time.monotonic_ns() + LEAVING_NS
        while self.path.is_dir():
            lock = self.try_lock()  # held meanwhile, so that no process begins here in the middle of it
            if lock is not None:
                removed = [] if self.live_processes() else self.sweep()
                lock.close()
                return removed
            if time.monotonic_ns() > deadline_ns:
                break
            select.poll().poll(LOOK_MS)
        return []

    def sweep(self, keep: Collection[str] = ()) -> list[str]:
        """Remove every file but those of live processes, then the folder if it is empty; only for the lock's holder.

        A dead process's status block is locked while its files go, so that a successor that begins waits for us.

        Args:
            keep: names that stay.
        Returns:
            The names removed.
        """
        owned: dict[str, list[Path]] = {}
        removed = []
        with contextlib.suppress(FileNotFoundError):
            for path in sorted(self.path.iterdir()):
                if path.name not in keep:
                    owned.setdefault(owner_of(path.name), []).append(path)
        for owner, paths in owned.items():
            status_block = open_segment(self.path / f"{owner}.status", is_writable=True) if owner else None
            if status_block is None or status_block.try_lock():
                for path in sorted(paths, key=lambda path: path.suffix == ".status"):  # the status block last
                    path.unlink(missing_ok=True)
                    removed.append(path.name)
            if status_block is not None:
                status_block.close()
        self.remove_if_empty()
        return removed


def owner_of(name: str) -> str:
    """Return the process that writes a file of a run folder, as node and replica, from its name; empty: none."""
    if name.startswith("."):  # half made: its name to be, and the number of the process that makes it
        name = name[1:].rpartition(".")[0]
    left, _, kind = name.rpartition(".")
    if kind == "ring":  # node.epoch.ring, of a capture, which has one process
        return f"{left.rpartition('.')[0]}.0"
    kinds = ("edge", "status", "sock", "bell", "completions", "metrics", "retry", "trail")
    return left.partition("~")[0] if kind in kinds else ""


def shm_root() -> Path:
    """Folder of all of this user's pipelines: in /dev/shm unless DETEKTR_SHM_DIR says otherwise.

    Raises:
        RefusedError: DETEKTR_SHM_DIR is no absolute path.
    """
    return (_named_folder("DETEKTR_SHM_DIR") or Path("/dev/shm")) / f"detektr-{os.getuid()}"


def state_root() -> Path:
    """Folder for what outlives a run (logs, dead letters, spools): DETEKTR_STATE_DIR or the user's state folder.

    Raises:
        RefusedError: DETEKTR_STATE_DIR or XDG_STATE_HOME is no absolute path, or this user has no home folder either.
    """
    named = _named_folder("DETEKTR_STATE_DIR")
    if named is not None:
        return named
    above = _named_folder("XDG_STATE_HOME")
    if above is None:
        try:
            above = Path.home() / ".local" / "state"
        except RuntimeError:  # as in a container that runs as a bare number
            raise RefusedError(
                f"there is no folder for logs and dead letters: user {os.getuid()} has no home folder, and HOME is not"
                " set; set DETEKTR_STATE_DIR to the absolute path of a folder that it may write to"
            ) from None
    return above / "detektr"


def _named_folder(variable: str) -> Path | None:
    """Return the folder that a variable names; a relative one would be another folder to each process of a run."""
    named = os.environ.get(variable)
    if not named:
        return None
    if not Path(named).is_absolute():
        raise RefusedError(
            f"{variable} is {named!r}, which is not an absolute path; write {variable}={Path(named).absolute()}"
        )
    return Path(named)
