"""Where a process is, told by itself at any moment, also while it hangs in C: on a signal, all stacks go to a file.

The file is in memory, has no name and goes with the process; its descriptor stands in the node's status block. A reader
empties it, sends the signal, and reads it through /proc (see `observe.stacks`).
"""

from __future__ import annotations

import faulthandler
import os
import signal

from detektr.memory import layout
from detektr.memory.status_block import StatusBlock

STACK_SIGNAL = signal.SIGRTMIN + 11  # of those that the user's code, its libraries and shells leave alone
FILE_NAME = "detektr-stacks"


def offer_stacks(status_block: StatusBlock) -> None:
    """Let this process answer the signal from now on, and say so in its status block."""
    fd = os.memfd_create(FILE_NAME, os.MFD_CLOEXEC)
    # O_APPEND: what is written after the file was emptied begins at its beginning.
    appending = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    os.close(fd)
    faulthandler.register(STACK_SIGNAL, file=appending, all_threads=True, chain=False)
    status_block[layout.STATUS_WORD_STACKS_FD] = appending
