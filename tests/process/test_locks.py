"""A page's lock says who lives, by the kernel's word: over kill -9, fork, exec and a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detektr.errors import RefusedError
from detektr.memory.status_block import StatusBlock
from detektr.memory.status_block_reader import StatusBlockReader, open_status_block

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

HOLDER = """
import os, signal, subprocess, sys
from pathlib import Path
from detektr.memory.status_block import StatusBlock

page = StatusBlock(Path(sys.argv[1]), "processor")
child = 0
if sys.argv[2] == "fork":
    child = os.fork()
    if child == 0:
        signal.pause()
elif sys.argv[2] == "exec":
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid
print(child, flush=True)
signal.pause()
"""


class Holder:
    """A process that holds a page, and its own child that outlives it."""

    def __init__(self, path: Path, kind: str) -> None:
        line = [sys.executable, "-c", HOLDER, str(path), kind]
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.child = int(self.process.stdout.readline())

    def end(self) -> None:
        """Kill both."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        if self.child:
            os.kill(self.child, signal.SIGKILL)


@pytest.fixture
def path(shm_dir: Path) -> Path:
    return shm_dir / "motion.0.status"


@pytest.fixture(params=["alone", "fork", "exec"])
def holder(request: pytest.FixtureRequest, path: Path) -> Iterator[Holder]:
    holder = Holder(path, request.param)
    yield holder
    holder.end()
    path.unlink(missing_ok=True)


@pytest.fixture
def reader(holder: Holder, path: Path) -> Iterator[StatusBlockReader]:
    reader = open_status_block(path, "motion", 0)
    assert reader is not None
    yield reader
    reader.close()


def test_a_page_is_alive_until_its_process_is_killed_even_when_its_child_lives_on(
    holder: Holder, reader: StatusBlockReader, path: Path, wait_until: WaitUntil
) -> None:
    assert (reader.snapshot().is_alive, reader.snapshot().pid) == (True, holder.process.pid)
    holder.process.kill()
    holder.process.wait()
    wait_until(lambda: not reader.is_alive, what="the lock to be free")
    assert reader.snapshot().state == "stopped"
    successor = StatusBlock(path, "processor")
    assert (reader.snapshot().is_alive, reader.snapshot().pid) == (True, os.getpid())
    successor.close(unlink=True)


def test_a_zombie_is_dead(holder: Holder, reader: StatusBlockReader, wait_until: WaitUntil) -> None:
    holder.process.kill()
    wait_until(lambda: not reader.is_alive, what="the lock of a process that nobody waited for")


def test_a_stopped_process_is_alive(holder: Holder, reader: StatusBlockReader) -> None:
    holder.process.send_signal(signal.SIGSTOP)
    assert reader.is_alive
    holder.process.send_signal(signal.SIGCONT)


def test_a_second_process_of_the_name_is_refused_and_the_first_keeps_its_lock(
    holder: Holder, reader: StatusBlockReader, path: Path
) -> None:
    with pytest.raises(RefusedError, match=rf"motion\.0 is running already, as process {holder.process.pid}"):
        StatusBlock(path, "processor")
    assert reader.is_alive


def test_asking_takes_no_lock(holder: Holder, reader: StatusBlockReader, path: Path, wait_until: WaitUntil) -> None:
    holder.process.kill()
    other = open_status_block(path, "motion", 0)
    assert other is not None
    wait_until(lambda: not other.is_alive, what="the lock to be free")
    assert not reader.is_alive
    assert not other.is_alive
    other.close()
