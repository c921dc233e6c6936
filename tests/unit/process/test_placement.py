from __future__ import annotations

import os

import pytest

from detektr.errors import RefusedError
from detektr.process import placement
from detektr.process.cores import THREAD_VARIABLES
from detektr.process.placement import Placement, cpus_in_words


def test_cpus_are_told_as_the_kernel_lists_them() -> None:
    assert cpus_in_words([6, 0, 1, 2, 8, 9]) == "0-2, 6, 8-9"
    assert cpus_in_words([]) == ""


@pytest.mark.parametrize(
    ("sharers", "share"),
    [(1, "8"), (2, "4"), (3, "2"), (9, "1"), (None, "1")],
)
def test_processes_share_the_cores(sharers: int | None, share: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "core_count", lambda cpus: 8)
    found = Placement(node="work", sharers=sharers).environment({"PATH": "/bin"})
    assert found == {"PATH": "/bin", **dict.fromkeys(THREAD_VARIABLES, share)}


def test_a_node_s_own_environment_is_above_the_outer_one() -> None:
    env = {"OMP_NUM_THREADS": "5", "A": "own"}
    found = Placement(node="work", env=env).environment({"A": "outer", "B": "outer", "MKL_NUM_THREADS": "6"})
    assert (found["A"], found["B"]) == ("own", "outer")
    assert (found["OMP_NUM_THREADS"], found["OPENBLAS_NUM_THREADS"], found["MKL_NUM_THREADS"]) == ("5", "5", "6")


def test_a_priority_without_permission_is_refused_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, who: int, priority: int) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refuse)
    now = os.getpriority(os.PRIO_PROCESS, 0)
    with pytest.raises(
        RefusedError, match=rf"node work: `nice` is -5, but this user cannot go below {now}, .*LimitNICE"
    ):
        Placement(node="work", nice=-5).apply()


def test_cpus_that_have_gone_since_are_refused_with_what_there_is() -> None:
    with pytest.raises(RefusedError, match=r"node work: `cpus` has 8191, but its process may run only on 0"):
        Placement(node="work", cpus=(0, 8191)).apply()
