"""A process writes all its stacks to a file on a signal, also while it hangs in C.

The file is in memory, has no name and goes with the process; its descriptor is in the status block. A reader empties
the file, sends the signal, and reads the file through /proc (see `observe.stacks`).
"""

from __future__ import annotations

import faulthandler
import os
import signal

from detektr.memory.status_block import StatusBlock

STACK_SIGNAL = signal.SIGRTMIN + 11  # not used by Python, its libraries or shells
FILE_NAME = "detektr-stacks"


def offer_stacks(status_block: StatusBlock) -> None:
    """Answer the signal from now on, and say so in the status block."""
    fd = os.memfd_create(FILE_NAME, os.MFD_CLOEXEC)
    # O_APPEND: after the file was emptied, writing begins at its start.
    appending = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    os.close(fd)
    faulthandler.register(STACK_SIGNAL, file=appending, all_threads=True, chain=False)
    status_block.set_stacks_fd(appending)
