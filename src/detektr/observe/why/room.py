"""Whether shared memory is nearly full: what is wrong with the machine rather than with a node."""

from __future__ import annotations

import os

from detektr.memory.run_folder import RunFolder, shm_root
from detektr.observe.why.finding import Finding

LOW_SHARE = 0.1  # of the file system that is free: as the alert DetektrSharedMemory has it
_MIB = 1 << 20
_NEXT = (
    "see who holds what (`detektr shm ls`); lower `memory` or `guests` of a node, or enlarge it"
    " (a container: `--shm-size`)"
)


def low_memory(folder: RunFolder) -> list[Finding]:
    """Return that shared memory is nearly full; empty: it is not, or cannot be asked."""
    place = shm_root().parent
    try:
        stat = os.statvfs(place)
        rings = [path.stat().st_mtime for path in folder.all_rings()]  # when memory was taken last
        since_s = int(max(rings) if rings else folder.path.stat().st_mtime)
    except OSError:  # the last process has just left
        return []
    size, free = stat.f_blocks * stat.f_frsize, stat.f_bavail * stat.f_frsize
    if free >= LOW_SHARE * size:
        return []
    text = (
        f"shared memory ({place}) has {free / _MIB:.0f} MiB free of {size / _MIB:.0f}: a camera that changes its size,"
        " another pipeline or a restart may find no room"
    )
    return [Finding("memory_low", "shared memory", "the next ring", since_s, text, _NEXT)]
