from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.edge.gathering.wake import wake_gatherers
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock, acquire_status_block
from detektr.memory.status_block_reader import StatusBlockTable
from detektr.wire.doorbell import Doorbell


class Sleeper:
    """A process that may hold frames back, as far as others see it."""

    def __init__(self, folder: RunFolder, replica: int) -> None:
        self.status_block: StatusBlock = acquire_status_block(folder, "track", replica, "processor")
        self.doorbell = Doorbell(folder.doorbell("track", replica))

    def close(self) -> None:
        self.doorbell.close()
        self.status_block.close(unlink=True)


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    folder.remove_if_empty()


def test_only_who_says_that_it_holds_frames_is_woken_and_who_is_not_there_is_passed_by(folder: RunFolder) -> None:
    table = StatusBlockTable(folder)
    names = ("track.0", "track.1", "track.2")
    holding, other = Sleeper(folder, 0), Sleeper(folder, 1)
    holding.status_block.note_holding(is_holding=True)
    wake_gatherers(names, table, folder)
    assert (holding.doorbell.drain(), other.doorbell.drain()) == (True, False)
    holding.status_block.note_holding(is_holding=False)
    wake_gatherers(names, table, folder)
    assert (holding.doorbell.drain(), other.doorbell.drain()) == (False, False)
    table.close()
    for one in (holding, other):
        one.close()


def test_who_died_while_it_held_frames_is_no_trouble(folder: RunFolder) -> None:
    table = StatusBlockTable(folder)
    dead = Sleeper(folder, 0)
    dead.status_block.note_holding(is_holding=True)
    dead.doorbell.close()  # its pipe goes with the process
    wake_gatherers(("track.0",), table, folder)
    table.close()
    dead.status_block.close(unlink=True)
