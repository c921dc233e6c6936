"""The CPUs that this process may use, and how many threads the libraries' pools make of them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",  # OpenMP: torch, scikit-learn, and the others where their own is not set
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""From which libraries read, as they are imported, how many threads they may use."""
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # a container's own, as it sees it
# An OpenBLAS that is imported no longer looks at its variable; numpy's wheel has renamed the function.
_SETTERS = (
    "scipy_openblas_set_num_threads64_",
    "scipy_openblas_set_num_threads",
    "openblas_set_num_threads64_",
    "openblas_set_num_threads",
    "MKL_Set_Num_Threads",
    "bli_thread_set_num_threads",
)


def core_count(cpus: Collection[int] | None = None) -> int:
    """Return how many cores a process can keep busy: those of its CPUs that its container's quota pays for.

    Args:
        cpus: those that it will be bound to; None: those that this one may run on.
    """
    count = len(os.sched_getaffinity(0) if cpus is None else cpus)
    with contextlib.suppress(OSError, ValueError):  # no cgroup, of version 1, or `max`: there is no quota to read
        quota, period = map(int, _QUOTA.read_text().split())
        count = min(count, -(-quota // period))
    return max(1, count)


def thread_environment(told: Mapping[str, str], share: int) -> dict[str, str]:
    """Return the thread variables that nobody has told, with a process's share of the cores.

    Where `OMP_NUM_THREADS` was told, whoever told it means the others too. Pure.

    Args:
        told: the process's environment without them.
        share: how many threads it may use.
    """
    first = told.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    count = first if first.isascii() and first.isdigit() and int(first) else str(share)
    return {name: count for name in THREAD_VARIABLES if name not in told}


def limit_imported_pools(environment: Mapping[str, str]) -> None:
    """Have the linear algebra below numpy, where that is imported already, use as many threads as variables say.

    Everything else reads its variables when the user's code imports it, which has not run yet.
    """
    core = sys.modules.get("numpy.linalg._umath_linalg")
    told = next(
        (environment[name] for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS") if environment.get(name)), ""
    )
    if core is None or core.__file__ is None or not told.isascii() or not told.isdigit() or not int(told):
        return
    library = ctypes.CDLL(core.__file__)  # a handle on what is loaded; functions of what it needs are found through it
    setter = next((found for name in _SETTERS if (found := getattr(library, name, None)) is not None), None)
    if setter is not None:
        setter(ctypes.c_int(int(told)))
