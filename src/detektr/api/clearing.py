"""Clears the queues of a buffer in a running pipeline: a message to the process that alone writes their journals."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Sequence

from detektr.api.attachment import acquire_guest
from detektr.errors import DetektrError, WireError
from detektr.memory.run_folder import RunFolder
from detektr.wire.link import Link
from detektr.wire.message import Clear, Cleared


class SilentError(DetektrError):
    """A process did not answer in time."""


def clear_queues(pipeline: str, node: str, consumers: Sequence[str], wait_ns: int) -> dict[str, int]:
    """Drop the frames that a buffer has queued, and return how many, by the consumer of each edge.

    Frames that are leased stay. The ledger counts the dropped ones as `cleared`.

    Args:
        pipeline: its name.
        node: the buffer.
        consumers: of which edges; none: of all.
        wait_ns: longest wait for the answer, in nanoseconds.
    Raises:
        SilentError: the buffer did not answer; it may still do it.
        RefusedError: this process cannot make the files that an answer needs.
    """
    folder = RunFolder(pipeline)
    silent = (
        f"the buffer {node} of {pipeline} did not answer within {wait_ns / 1e9:g} s; see whether it runs:"
        f" `detektr status {pipeline}`"
    )
    if not folder.inbox(node, 0).exists():
        raise SilentError(silent)
    block = acquire_guest(folder, node)
    own = re.sub(r"\.0$", "", block.path.stem)
    try:
        link = Link(folder.inbox(own, 0), folder.doorbell(own, 0))
        try:
            outbox = link.open_outbox(folder.inbox(node, 0), folder.doorbell(node, 0))
            try:
                request = secrets.randbits(63)
                message = Clear(f"{own}.0", request, tuple(consumers))
                deadline_ns = time.monotonic_ns() + wait_ns
                outbox.try_send(message)
                outbox.ring()
                while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
                    for answer in link.receive():
                        if isinstance(answer, Cleared) and answer.request == request:
                            return dict(answer.counts)
                        if isinstance(answer, WireError):
                            block.count_wire_error()
                    link.wait(left_ns)
                raise SilentError(silent)
            finally:
                outbox.close()
        finally:
            link.close()
    finally:
        block.close(unlink=True)
        folder.remove_if_empty()
