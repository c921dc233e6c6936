"""Opens the consumer's end of a lane."""

from __future__ import annotations

from detektr.edge.lanes.lane import Receiver
from detektr.edge.lanes.shm_lane import ShmReceiver
from detektr.edge.lanes.zmq_receiver import ZmqReceiver
from detektr.edge.upstream import Upstream
from detektr.memory.completion_queue import CompletionQueueWriter
from detektr.memory.run_folder import RunFolder


def open_receiver(upstream: Upstream, folder: RunFolder, replica: str) -> Receiver:
    """Return the consumer's end of one edge, on its lane.

    Args:
        upstream: the edge.
        folder: the run's.
        replica: our process, as in `motion.0`.
    Raises:
        NoRoomError: shared memory has no room for the completion queue.
    """
    if upstream.lane == "shm":
        path = folder.completions(replica, f"{upstream.producer}.{upstream.producer_replica}")
        return ShmReceiver(CompletionQueueWriter(path, upstream.notes_max), upstream.window)
    # Whoever gathers frames holds many, and may die with each that nobody was told of: it waits for no company.
    return ZmqReceiver(upstream.consumer, 1 if upstream.is_gathering else upstream.window)
