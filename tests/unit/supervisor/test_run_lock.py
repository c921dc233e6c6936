from __future__ import annotations

import os
from pathlib import Path

import pytest

from detektr.errors import RefusedError
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock
from detektr.supervisor import run_lock as claim
from detektr.supervisor.run_lock import acquire_run_lock


def test_second_claim_is_refused_with_who_has_it_and_how_to_end_it(shm_dir: Path) -> None:
    folder, lock = acquire_run_lock("demo", ["cam"])
    with pytest.raises(RefusedError, match=rf"process {lock.words[0]}; `detektr down demo` ends that run"):
        acquire_run_lock("demo", ["cam"])
    folder.sweep()
    lock.close()
    assert not folder.path.exists()


def test_claim_sweeps_the_dead_and_keeps_what_a_living_guest_owns(shm_dir: Path) -> None:
    left = RunFolder("demo")
    left.make()
    ephemeral = StatusBlock(left.status_block("guest-1", 0), "guest")
    for name in ("cam.1.ring", "cam.0~buf.edge", "cam.0.status", "run.json", "guest-1.0.sock"):
        (left.path / name).write_bytes(b"x" * 4096 if name.endswith(".status") else b"x")
    for name in ("cam.0.bell", "guest-1.0.bell"):
        os.mkfifo(left.path / name)
    folder, lock = acquire_run_lock("demo", ["cam"])
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "guest-1.0.bell", "guest-1.0.sock", "guest-1.0.status", "supervisor.lock",
    ]  # fmt: skip
    ephemeral.close(unlink=True)
    folder.sweep()
    lock.close()


def test_living_process_of_a_node_is_waited_for_and_then_named(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "ORPHANS_NS", 50_000_000)
    folder = RunFolder("demo")
    folder.make()
    status_block = StatusBlock(folder.status_block("cam", 0), "capture")
    with pytest.raises(
        RefusedError, match=rf"cam\.0 \(process {status_block.words[2]}\) still runs without a supervisor"
    ):
        acquire_run_lock("demo", ["cam"])
    status_block.close(unlink=True)
    folder, lock = acquire_run_lock("demo", ["cam"])  # the refusal let go of the lock
    folder.sweep()
    lock.close()
