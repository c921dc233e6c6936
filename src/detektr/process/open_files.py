"""The limit of open files: raises it as far as allowed, and refuses, with numbers, a limit that is too low."""

from __future__ import annotations

import resource

from detektr.errors import RefusedError

WANTED = 1 << 16  # no more: some programs look at every descriptor that there could be


def raise_open_files() -> int:
    """Raise this process's limit of open files, which those that it starts inherit; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return WANTED if soft == resource.RLIM_INFINITY else soft


def check_open_files(needed: int, what: str) -> None:
    """Refuse what needs more open files than there may be.

    Args:
        needed: how many, in one process.
        what: who needs them, in words.
    Raises:
        RefusedError: the limit is lower, and cannot be raised from here.
    """
    limit = raise_open_files()
    if needed > limit:
        raise RefusedError(
            f"{what}: up to {needed} files are open at once, and this user's processes may have {limit};"
            f" raise the hard limit to {needed} or more (ulimit -Hn; a unit: LimitNOFILE=;"
            " a container: --ulimit nofile=) or use fewer nodes"
        )
