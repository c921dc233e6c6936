from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from detektr.memory.run_folder import RunFolder
from detektr.observe.why.room import low_memory

MIB = 1 << 20


@pytest.mark.parametrize(("free_mib", "is_low"), [(64, False), (7, False), (6, True), (0, True)])
def test_less_than_a_tenth_of_shared_memory_is_little(
    shm_dir: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, is_low: bool
) -> None:
    folder = RunFolder("demo")
    folder.make()
    ring = folder.ring("cam", 1)
    ring.touch()
    os.utime(ring, (1_000, 1_000))
    stat = SimpleNamespace(f_blocks=64, f_frsize=MIB, f_bavail=free_mib)
    monkeypatch.setattr(os, "statvfs", lambda place: stat)
    found = low_memory(folder)
    ring.unlink()
    folder.remove_if_empty()
    assert [(one.code, one.since_s) for one in found] == [("memory_low", 1_000)] * is_low
    assert not found or f"({shm_dir}) has {free_mib} MiB free of 64" in found[0].text


def test_nothing_is_said_of_a_run_that_has_just_gone(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_blocks=64, f_frsize=MIB, f_bavail=0))
    assert low_memory(RunFolder("demo")) == []
