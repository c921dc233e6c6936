"""Wakes the processes that hold frames back, when a frame that they may wait for has ended."""

from __future__ import annotations

from collections.abc import Iterable

from detektr.memory.run_folder import RunFolder
from detektr.memory.segment import fence
from detektr.memory.status_block_reader import StatusBlockTable
from detektr.wire.doorbell import ring_once


def wake_gatherers(names: Iterable[str], status_blocks: StatusBlockTable, folder: RunFolder) -> None:
    """Wake those that hold frames back now, as their status blocks say; the others look after they have said so.

    Args:
        names: of the processes, as in `track.0`.
        status_blocks: of the run.
        folder: of the run, with their doorbells.
    """
    fence()  # what has ended stands in our journals by now
    for name in names:
        status_block = status_blocks.get(name)
        if status_block is not None and status_block.is_holding:
            ring_once(folder.doorbell_of(name))
