"""Nodes that start, end and are killed again and again: nothing stays, and their parent holds no more than before."""

from __future__ import annotations

import subprocess
import sys

import pytest

from detektr.memory.run_folder import shm_root


@pytest.mark.thorough
@pytest.mark.timeout(300)
@pytest.mark.thorough
def test_100_cycles_of_starts_ends_and_kills_leave_nothing() -> None:
    command = [sys.executable, "-m", "tests.harness.cycles", "--cycles", "100", "--seed", "1"]
    # In a process of its own: it forks, which one with threads and ZeroMQ contexts must not.
    ended = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "left at the end: 0 files; wrong pixels: 0; breaches: 0" in ended.stdout
    assert not shm_root().exists()
