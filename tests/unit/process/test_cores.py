from __future__ import annotations

import os
from pathlib import Path

import pytest

from detektr.process import cores
from detektr.process.cores import THREAD_VARIABLES, core_count, thread_environment


def test_each_variable_that_nobody_told_has_the_share() -> None:
    assert thread_environment({}, 3) == dict.fromkeys(THREAD_VARIABLES, "3")


def test_what_was_told_stays() -> None:
    found = thread_environment({"MKL_NUM_THREADS": "7", "OTHER": "1"}, 3)
    assert found == {name: "3" for name in THREAD_VARIABLES if name != "MKL_NUM_THREADS"}


@pytest.mark.parametrize(("told", "count"), [("2", "2"), (" 4,2 ", "4"), ("", "3"), ("many", "3"), ("0", "3")])
def test_openmp_s_number_is_meant_for_the_others_too(told: str, count: str) -> None:
    found = thread_environment({"OMP_NUM_THREADS": told}, 3)
    assert "OMP_NUM_THREADS" not in found
    assert set(found.values()) == {count}


@pytest.mark.parametrize(
    ("quota", "count"),
    [("max 100000", 8), ("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("9900000 100000", 8), ("", 8)],
)
def test_a_container_s_quota_pays_for_so_many_cores(
    quota: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "cpu.max")
    assert core_count(range(8)) == count
    monkeypatch.setattr(cores, "_QUOTA", tmp_path / "none")
    assert core_count() == len(os.sched_getaffinity(0))
