from __future__ import annotations

import os
from pathlib import Path

import pytest

from detektr.errors import RefusedError
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import NodePage
from detektr.supervisor import run_lock as claim
from detektr.supervisor.run_lock import claim_run


def test_second_claim_is_refused_with_who_has_it_and_how_to_end_it(shm_dir: Path) -> None:
    folder, lock = claim_run("demo", ["cam"])
    with pytest.raises(RefusedError, match=rf"process {lock.words[0]}; `detektr pipeline down demo` ends it"):
        claim_run("demo", ["cam"])
    folder.sweep()
    lock.close()
    assert not folder.path.exists()


def test_claim_sweeps_the_dead_and_keeps_what_a_living_guest_owns(shm_dir: Path) -> None:
    left = RunFolder("demo")
    left.make()
    guest = NodePage(left.page("guest-1", 0), "guest")
    for name in ("cam.1.ring", "cam.0~buf.edge", "cam.0.page", "run.json", "guest-1.0.sock"):
        (left.path / name).write_bytes(b"x" * 4096 if name.endswith(".page") else b"x")
    for name in ("cam.0.bell", "guest-1.0.bell"):
        os.mkfifo(left.path / name)
    folder, lock = claim_run("demo", ["cam"])
    assert sorted(path.name for path in folder.path.iterdir()) == [
        "guest-1.0.bell", "guest-1.0.page", "guest-1.0.sock", "supervisor.lock",
    ]  # fmt: skip
    guest.close(unlink=True)
    folder.sweep()
    lock.close()


def test_living_process_of_a_node_is_waited_for_and_then_named(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claim, "ORPHANS_NS", 50_000_000)
    folder = RunFolder("demo")
    folder.make()
    page = NodePage(folder.page("cam", 0), "capture")
    with pytest.raises(RefusedError, match=rf"cam\.0 \(process {page.words[2]}\) runs still, without a supervisor"):
        claim_run("demo", ["cam"])
    page.close(unlink=True)
    folder, lock = claim_run("demo", ["cam"])  # the refusal let go of the lock
    folder.sweep()
    lock.close()
