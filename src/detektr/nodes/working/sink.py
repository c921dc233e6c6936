"""A sink takes the events of processors, one at a time; an event is delivered once the user's `write` has returned."""

from __future__ import annotations

from typing import ClassVar

from detektr.edge.subscriber import EdgeSubscriber
from detektr.memory.announcement import Lease
from detektr.nodes.working.event_stream import identify_event, unpack_event
from detektr.nodes.working.worker import WorkerNode
from detektr.options import SinkOptions


class SinkNode(WorkerNode[SinkOptions]):
    """The one process of a sink."""

    kind: ClassVar[str] = "sink"
    method: ClassVar[str] = "write"

    def describe(self, lease: Lease) -> str:
        """Return the id of the frame that the event is about."""
        return identify_event(lease.payload)

    def work(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Let the user's code write the event."""
        event = unpack_event(lease.payload)
        if lease.delivery > 1:
            event["delivery_of_event"] = lease.delivery
        self._call(event)
