"""Whether a process is suspended, as by SIGSTOP, ctrl-Z or a debugger."""

from __future__ import annotations

from pathlib import Path


def is_suspended(pid: int) -> bool:
    """Return whether the kernel says that a process does not run until it is let go on; False for one that is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[:1] in (["T"], ["t"])
