"""A sink takes the events of processors, one at a time; an event is delivered once the user's `write` has returned.

With `retry`, an event that cannot be written stays leased and is tried again, while the events of the same producer's
process wait behind it: here as far as the window goes, the others in the edge's journal. A kill ends no such wait: the
event is leased again to the successor, which knows of the outage from a file in the run folder.
"""

from __future__ import annotations

from typing import ClassVar

from detektr.edge.subscriber import EdgeSubscriber
from detektr.errors import ResultError
from detektr.memory.announcement import Lease
from detektr.nodes.working.event_stream import identify_event, unpack_event
from detektr.nodes.working.outages import Outages
from detektr.nodes.working.worker import WHY_CHARS_MAX, WorkerNode
from detektr.options import SinkOptions
from detektr.process.fault_text import fault_line, fault_traceback
from detektr.wire.message import FailureKind


class SinkNode(WorkerNode[SinkOptions]):
    """The one process of a sink."""

    kind: ClassVar[str] = "sink"
    method: ClassVar[str] = "write"
    _outages: Outages | None = None

    def prepare(self) -> None:
        """Import and construct the user's code; with `retry`, take over the outages that a predecessor knew."""
        super().prepare()
        self._held: dict[str, Lease] = {}  # by input: the event that is tried again
        retry = self.spec.options.retry
        if retry is not None:
            path = self.folder.outages(self.spec.node, self.spec.replica)
            self._outages = Outages(retry, path, [_name(subscriber) for subscriber in self.subscribers])

    def describe(self, lease: Lease) -> str:
        """Return the id of the frame that the event is about."""
        return identify_event(lease.payload)

    def work(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Let the user's code write the event."""
        event, outages = unpack_event(lease.payload), self._outages
        delivery = lease.delivery
        if outages is not None and outages.is_any:
            delivery += outages.tries(_name(subscriber), lease)
        if delivery > 1:
            event["delivery_of_event"] = delivery
        self._call(event)

    # -- retry ------------------------------------------------------------------------------------------------------

    def next_lease(self, subscriber: EdgeSubscriber, now_ns: int) -> Lease | None:
        """Return the event that is to be tried again, if its pause is over, else the next one."""
        outages = self._outages
        if outages is None or not outages.is_any:
            return super().next_lease(subscriber, now_ns)
        name = _name(subscriber)
        held = self._held.get(name)
        if held is not None and subscriber.still_holds(held):
            return held if now_ns >= outages.due_ns(name) else None
        if held is not None:  # its producer has ended, or leases it anew
            del self._held[name]
            subscriber.let_go(held)
        lease = super().next_lease(subscriber, now_ns)
        if lease is not None and outages.tries(name, lease):  # a predecessor has failed with it
            subscriber.progress.begun(0)  # that lease is kept, and no attempt at it counted should we die
        return lease

    def failed(self, subscriber: EdgeSubscriber, lease: Lease, fault: BaseException) -> None:
        """Hold an event that was not written, to try it again; without `retry`, or when its time is over, fail it."""
        outages = self._outages
        if outages is None or isinstance(fault, ResultError):
            self._held.pop(_name(subscriber), None)
            super().failed(subscriber, lease, fault)
            return
        name, traceback = _name(subscriber), fault_traceback(fault)[-WHY_CHARS_MAX:]
        why = outages.note_failure(name, lease, fault_line(fault), traceback)
        self.look_soon()  # so that the status says it
        if why is None:
            self._held[name] = lease
            subscriber.progress.begun(0)  # that lease is kept, and no attempt at it counted should we die
            return
        self._held.pop(name, None)
        subscriber.fail((lease.key, lease.sequence), why, FailureKind.PERMANENT)
        subscriber.flush()

    def hand_on(self, lease: Lease, subscriber: EdgeSubscriber) -> None:
        """Release a written event; an outage of its input is over."""
        super().hand_on(lease, subscriber)
        if self._outages is not None and self._outages.is_any:
            name = _name(subscriber)
            self._held.pop(name, None)
            self._outages.note_success(name)
            self.look_soon()

    def has_work(self) -> bool:
        """Whether events wait to be written that no other event holds up; `due_ns` wakes us for those."""
        if not self._held:
            return super().has_work()
        if not self.may_work() or (self.is_stopping and not self.is_final):
            return False
        return any([subscriber.leases and _name(subscriber) not in self._held for subscriber in self.subscribers])

    def due_ns(self) -> int:
        """Return when to look next: also when a pause is over."""
        due_ns = super().due_ns()
        if self._outages is not None and not self.is_paused:
            for name in self._held:
                due_ns = min(due_ns, self._outages.due_ns(name))
        return due_ns

    def state(self) -> tuple[str, str]:
        """Return the node's state, and why."""
        state, why = super().state()
        if self._outages is not None and self._outages.is_any and state == "running":
            return "retrying", self._outages.words()
        return state, why

    def hasten(self) -> None:
        """Try what is held at once, and once more every first pause: the run ends soon."""
        if self._outages is not None:
            self._outages.hasten()

    def died(self, why: str) -> None:
        """Count the attempt at the current event, unless it is one that is tried again for as long as it is told."""
        if self._working is not None and self._outages is not None:
            subscriber, lease = self._working
            if self._outages.tries(_name(subscriber), lease):
                return
        super().died(why)

    def _leave(self) -> None:
        """Leave the edges; without a successor, nobody needs to know of an outage."""
        if self._outages is not None and (self.control is None or self.control.is_cut):
            self._outages.forget()
        super()._leave()


def _name(subscriber: EdgeSubscriber) -> str:
    """Return the process that an input comes from: `see.0`."""
    return f"{subscriber.upstream.producer}.{subscriber.upstream.producer_replica}"
