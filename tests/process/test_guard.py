"""The guard of tests/conftest.py sees what a test leaves: without it no test shows that detektr cleans up."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Guard, WaitUntil

WAITS = [sys.executable, "-c", "import sys; sys.stdin.read()"]


def test_a_clean_test_has_no_faults(guard: Guard) -> None:
    assert guard.faults() == []


def test_a_file_in_shared_memory_is_a_fault_until_it_is_gone(guard: Guard, shm_dir: Path) -> None:
    ring = shm_dir / "pipeline" / "camera.1.ring"
    ring.parent.mkdir()
    ring.touch()
    assert guard.faults() == [f"{path} is left in DETEKTR_SHM_DIR" for path in (ring.parent, ring)]
    shutil.rmtree(ring.parent)
    assert guard.faults() == []


def test_a_living_child_is_a_fault_and_is_killed(guard: Guard) -> None:
    with subprocess.Popen(WAITS, stdin=subprocess.PIPE, env={}) as child:
        (fault,) = guard.faults()
        guard.clean()
    assert fault.startswith(f"process {child.pid} still lives: {sys.executable}")
    assert guard.faults() == []


def test_an_orphan_is_a_fault_and_is_killed(guard: Guard, wait_until: WaitUntil) -> None:
    # The shell ends at once, and its child is adopted by somebody else.
    shell = ["sh", "-c", "sleep 1000 >/dev/null & echo $!"]
    orphan = int(subprocess.run(shell, stdout=subprocess.PIPE, check=True, timeout=10).stdout)
    (fault,) = wait_until(lambda: [fault for fault in guard.faults() if "sleep" in fault], what="the orphan")
    guard.clean()
    assert fault == f"process {orphan} still lives: sleep 1000"
    wait_until(lambda: not guard.faults(), what="the orphan's end")


def test_a_dead_child_that_nobody_waited_for_is_reaped(guard: Guard, wait_until: WaitUntil) -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", ""], os.environ)
    wait_until(lambda: not guard.faults(), what="the child's end")
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, 0)


def test_a_thread_that_keeps_the_interpreter_alive_is_a_fault(guard: Guard) -> None:
    is_over = threading.Event()
    thread = threading.Thread(target=is_over.wait, name="decoder")
    thread.start()
    faults = guard.faults()
    is_over.set()
    thread.join()
    assert faults == ["thread 'decoder' still runs"]
    assert guard.faults() == []


def test_an_open_zeromq_context_is_a_fault_and_is_closed(guard: Guard) -> None:
    import zmq

    context = zmq.Context()
    (fault,) = guard.faults()
    guard.clean()
    assert "is open" in fault
    assert context.closed
