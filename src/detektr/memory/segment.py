"""Files in shared memory: reserved in full before they are mapped, named only when they are ready."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import resource
import struct
import threading
from collections.abc import Callable
from pathlib import Path

from detektr.errors import NoRoomError

_MIB = 1 << 20
_FEWER = "use fewer slots (a lower high_water_mark), smaller pictures (width, height)"
_SCARCE = (errno.ENOSPC, errno.ENOMEM, errno.EFBIG, errno.EDQUOT)
_LIMITS = (
    (errno.EFBIG, resource.RLIMIT_FSIZE, "files", "ulimit -f"),
    (errno.ENOMEM, resource.RLIMIT_AS, "an address space", "ulimit -v"),
)
_CGROUPS = Path("/sys/fs/cgroup")
_FENCE = threading.Lock()
_LOCK = struct.Struct("@hhqqi4x")  # struct flock: kind, whence, start, length, pid


def fence() -> None:
    """Make earlier stores visible to other processes before any later load.

    One process writes "I have something for you", another "I go to sleep"; each then reads the other's word.
    Without this fence both could miss it. Taking a lock is the one full fence that Python offers.
    """
    _FENCE.acquire()
    _FENCE.release()


class Segment:
    """One mapped file. `words` are its 64-bit words, `bytes` its bytes; both are read-only for a reader.

    Close it before the process ends; views taken from it must be gone by then or the mapping stays until they are.
    """

    def __init__(self, path: Path, fd: int, *, is_writable: bool) -> None:
        """Map the open file `fd`; the descriptor belongs to the segment from now on."""
        self.path = path
        self._fd = fd
        self._lock_fd = -1
        access = mmap.PROT_READ | (mmap.PROT_WRITE if is_writable else 0)
        self.map = mmap.mmap(fd, 0, prot=access)
        self.bytes = memoryview(self.map)
        self.words = self.bytes.cast("Q")

    @property
    def is_unlinked(self) -> bool:
        """Whether the file's name is gone: its owner has left."""
        return os.fstat(self._fd).st_nlink == 0

    def try_lock(self) -> bool:
        """Take the file's lock for as long as this process lives; False: another holds it.

        The file is opened once more for it: the mapping keeps a copy of our descriptor, which a forked child cannot
        close, and the lock would live as long as that child.
        """
        fd = os.open(f"/proc/self/fd/{self._fd}", os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _lock_request(fcntl.F_WRLCK))
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock_fd = fd
        return True

    def is_locked_elsewhere(self) -> bool:
        """Ask the kernel whether the process that locked this file is alive; asking takes no lock."""
        answer = fcntl.fcntl(self._fd, fcntl.F_OFD_GETLK, _lock_request(fcntl.F_RDLCK))
        kind: int = _LOCK.unpack(answer)[0]
        return kind != fcntl.F_UNLCK

    def close_descriptor(self) -> None:
        """Close the file but not the mapping: for a forked child, so that it does not hold the lock."""
        for fd in (self._fd, self._lock_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock_fd = -1

    def close(self) -> None:
        """Unmap; views that somebody still holds keep the memory until they are dropped."""
        with contextlib.suppress(BufferError):
            self.words.release()
            self.bytes.release()
            self.map.close()
        self.close_descriptor()


def create_segment(path: Path, nbytes: int, fill: Callable[[Segment], None], *, may_replace: bool = True) -> Segment:
    """Reserve `nbytes` in shared memory, let `fill` write the first words, and only then give the file its name.

    The memory is allocated, not only promised: touching it later cannot end in a SIGBUS.

    Args:
        path: the name; a file that had it is replaced (readers keep their mapping).
        nbytes: size in bytes.
        fill: writes the header.
        may_replace: False: the name must be free.
    Returns:
        The segment, mapped for writing.
    Raises:
        NoRoomError: the file system has not that much left, or the control group allows less.
        FileExistsError: the name is taken, and may not be replaced.
    """
    limit = memory_limit_bytes()
    if limit is not None and nbytes > limit:  # reserving it would be answered with a SIGKILL
        raise NoRoomError(
            f"{path.name} needs {nbytes / _MIB:.1f} MiB of shared memory and this process's control group allows"
            f" {limit / _MIB:.1f} MiB in all; {_FEWER}, or a higher limit (a container: --memory)"
        )
    free = free_bytes(path.parent)
    if nbytes > free:
        raise _no_room(path, nbytes, free)
    for half_made in path.parent.glob(f".{path.name}.*"):  # by a predecessor that was killed meanwhile
        half_made.unlink(missing_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_native_id()}")
    fd, segment = -1, None
    try:  # from the first: a signal that ends us may come as soon as the file is there
        fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.posix_fallocate(fd, 0, nbytes)
        segment = Segment(path, fd, is_writable=True)
        fill(segment)
        if may_replace:
            fresh.rename(path)
        else:
            os.link(fresh, path)
            fresh.unlink(missing_ok=True)
    except BaseException as fault:
        if segment is not None:
            segment.close()
        elif fd >= 0:
            os.close(fd)
        fresh.unlink(missing_ok=True)
        if segment is None and isinstance(fault, OSError) and fault.errno in _SCARCE:
            raise scarcity(path, nbytes, fault) from None
        raise
    return segment


def open_segment(path: Path, *, is_writable: bool = False) -> Segment | None:
    """Map an existing file; None when there is none (yet)."""
    try:
        fd = os.open(path, (os.O_RDWR if is_writable else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    if os.fstat(fd).st_size == 0:
        os.close(fd)
        return None
    return Segment(path, fd, is_writable=is_writable)


def _lock_request(kind: int) -> bytes:
    return _LOCK.pack(kind, os.SEEK_SET, 0, 0, 0)


def free_bytes(folder: Path) -> int:
    """Bytes that can still be reserved in the file system of `folder`."""
    stats = os.statvfs(folder)
    return stats.f_bavail * stats.f_frsize


def memory_limit_bytes() -> int | None:
    """Bytes that the control groups of this process allow it in all, shared memory included; None: no limit.

    In a container the groups' own path is often not there, but the root is: then that is the container's.
    """
    limits = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for _, controllers, path in (line.split(":", 2) for line in lines):
        if controllers and "memory" not in controllers.split(","):
            continue
        root = _CGROUPS / "memory" if controllers else _CGROUPS
        group = root / path.lstrip("/")
        for folder in (group, *group.parents):
            with contextlib.suppress(OSError, ValueError):  # no such group here; or "max"
                limits.append(int((folder / ("memory.limit_in_bytes" if controllers else "memory.max")).read_text()))
            if folder == root:
                break
    return min(limits, default=None)


def scarcity(path: Path, needed: int, fault: OSError) -> NoRoomError:
    """Return why a file could not be reserved or mapped: a limit of this process, or the memory itself."""
    for number, kind, what, option in _LIMITS:
        limit, _ = resource.getrlimit(kind)
        if fault.errno == number and limit != resource.RLIM_INFINITY:
            return NoRoomError(
                f"{path.name} needs {needed / _MIB:.1f} MiB and this process may have {what} of at most"
                f" {limit / _MIB:.1f} MiB ({option}); raise that limit ({option} unlimited), or {_FEWER}"
            )
    return _no_room(path, needed, free_bytes(path.parent))


def _no_room(path: Path, needed: int, free: int) -> NoRoomError:
    return NoRoomError(
        f"{path.name} needs {needed / _MIB:.1f} MiB of shared memory and {path.parent.parent.parent} has"
        f" {free / _MIB:.1f} MiB free; {_FEWER},"
        f" or more shared memory (a container: --shm-size; elsewhere: mount -o remount,size=...)"
    )
