"""Whether a run comes to its end, as its captures say."""

from __future__ import annotations

import time

from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block_reader import open_status_block

ENDING = ("draining", "ended", "stopped", "failed")


def brings_no_more(folder: RunFolder, quiet_ns: int | None = None) -> bool:
    """Whether no living capture of a run brings frames.

    Args:
        folder: the run's.
        quiet_ns: a capture brings none if it has brought none for so long, either, or if there is none; None: only if
            there is one, and it says that it has come to its end.
    """
    now_ns, count = time.time_ns(), 0
    for node, replica, path in folder.status_blocks():
        block = open_status_block(path, node, replica)
        if block is None:
            continue
        one = block.snapshot()
        block.close()
        if one.kind != "capture" or not one.is_alive:
            continue
        count += 1
        is_quiet = quiet_ns is not None and now_ns - one.last_frame_utc_ns > quiet_ns
        if one.state not in ENDING and not is_quiet:
            return False
    return count > 0 or quiet_ns is not None
