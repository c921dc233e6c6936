"""The lane `shm`: leases are read in the journal and completed in a queue beside it; doorbells wake sleepers.

It saves the two threads that a ZeroMQ message wakes on its way: some 0.2 ms a hop where cores sleep.
"""

from __future__ import annotations

from detektr.edge.connections import ConnectionTable, ConsumerConnection
from detektr.edge.edge import Edge
from detektr.edge.lanes.lane import NEVER_NS, Announcer, Receiver
from detektr.edge.lanes.wakeup import ConsumerWakeup, ProducerWakeup
from detektr.edge.state.lease import Replica
from detektr.errors import WireError
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.completion_queue import (
    Completion,
    CompletionQueueReader,
    CompletionQueueWriter,
    open_completion_queue,
)
from detektr.memory.journal_reader import JournalReader
from detektr.memory.layout import NOTIFY_EACH
from detektr.memory.run_folder import RunFolder
from detektr.wire.link import Outbox
from detektr.wire.message import Announce, Attach


class ShmConnection(ConsumerConnection):
    """A replica that completes leases in a queue in shared memory, and sleeps until its doorbell rings."""

    def __init__(
        self,
        consumer: str,
        replica: str,
        attach_epoch: int,
        pid: int,
        outbox: Outbox,
        completions: CompletionQueueReader,
    ) -> None:
        """See `ConsumerConnection`; the queue belongs to the connection from now on."""
        super().__init__(consumer, replica, attach_epoch, pid, outbox)
        self.completions = completions
        self._woken = 0  # the sleep count at which the replica was woken last

    @property
    def has_news(self) -> bool:
        """See `ConsumerConnection.has_news`."""
        return self.completions.has_news

    def take(self) -> list[Completion]:
        """See `ConsumerConnection.take`."""
        return self.completions.take()

    def wake(self) -> None:
        """Wake the replica once each time it sleeps; write, and fence, what it is to see before."""
        sleep_count = self.completions.sleep_count
        if sleep_count & 1 and sleep_count != self._woken:
            self._woken = sleep_count
            self.outbox.ring()

    def close(self) -> None:
        """See `ConsumerConnection.close`."""
        super().close()
        self.completions.close()


class ShmAnnouncer(Announcer):
    """The producer's end. The edge has written each lease into the journal, so only sleeping replicas must be woken."""

    def __init__(self, producer: str, folder: RunFolder, connections: ConnectionTable) -> None:
        """Begin without edges.

        Args:
            producer: this process: `camera.0`.
            folder: where completion queues lie.
            connections: of all lanes.
        """
        super().__init__()
        self._producer, self._folder = producer, folder
        self._wakeup = ProducerWakeup(connections)

    def connect(self, message: Attach, pid: int, outbox: Outbox) -> ConsumerConnection:
        """See `Announcer.connect`."""
        path = self._folder.completions(message.replica, self._producer)
        completions = open_completion_queue(path, message.completed)
        if completions is None:
            raise WireError(f"{message.replica} cannot attach: its completion queue {path.name} does not exist")
        return ShmConnection(message.consumer, message.replica, message.attach_epoch, pid, outbox, completions)

    def announce_at_once(self, edge: Edge) -> None:
        """See `Announcer.announce_at_once`."""
        self._wakeup.wake_consumers(edge.take_announced())

    def announce(self, edge: Edge, now_ns: int) -> None:
        """See `Announcer.announce`."""
        self._wakeup.wake_consumers(edge.take_announced())

    def wake_up(self) -> None:
        """See `Announcer.wake_up`."""
        if self._wakeup.is_asleep:
            self._wakeup.wake_up(self.edges)

    def fall_asleep(self, *, is_blocked: bool) -> bool:
        """See `Announcer.fall_asleep`."""
        self._wakeup.is_blocked = is_blocked
        return self._wakeup.fall_asleep(self.edges)

    def end(self, edge: Edge, now_ns: int) -> None:
        """See `Announcer.end`: its state stands in the journal."""
        self._wakeup.wake_consumers(tuple(edge.replicas))

    def due_ns(self) -> int:
        """See `Announcer.due_ns`: nothing is ever due, since shared memory loses nothing on the way."""
        return NEVER_NS

    def tick(self, now_ns: int) -> None:
        """See `Announcer.tick`."""

    def catch_up(self, edge: Edge, replica: Replica, now_ns: int) -> None:
        """See `Announcer.catch_up`: what lies in the completion queue was reclaimed just before."""


class ShmReceiver(Receiver):
    """The consumer's end: reads the journal, completes in its queue, and rings if the producer waits for that."""

    def __init__(self, completions: CompletionQueueWriter, window: int) -> None:
        """Begin unattached.

        Args:
            completions: its completion queue; belongs to the receiver from now on.
            window: most leases that may be held.
        """
        self._completions, self._wakeup = completions, ConsumerWakeup(completions, window)
        self._journal: JournalReader | None = None
        self._entry = self._session = self._received = 0

    @property
    def received(self) -> int:
        """See `Receiver.received`."""
        return self._received

    def attached(self, journal: JournalReader, entry: int, session: int, producer_epoch: int) -> None:
        """See `Receiver.attached`."""
        self._journal, self._entry, self._session = journal, entry, session
        self._received = journal.tag_before(entry)

    def left(self) -> None:
        """See `Receiver.left`."""
        self._journal = None
        self.look()

    def begin_session(self) -> None:
        """See `Receiver.begin_session`."""
        self._received = 0

    def restate(self) -> int:
        """See `Receiver.restate`."""
        return self._completions.restate()

    def deliver(self, message: Announce, now_ns: int) -> None:
        """Refuse a message: on this lane announcements lie in the journal.

        Raises:
            WireError: always.
        """
        raise WireError(f"Announce to {message.consumer}, which reads its leases from the journal (announce: shm)")

    def receive(self) -> tuple[list[Lease], bool]:
        """See `Receiver.receive`."""
        self._wakeup.wake_up()
        self.look()
        journal = self._journal
        last = self._received if journal is None else journal.last_tag(self._entry)
        if journal is None or last == self._received:
            return [], False
        leases = journal.leases(self._entry, self._session, self._received, last)
        has_ended = len(leases) != last - self._received
        self._received = last
        return leases, has_ended

    def look(self) -> None:
        """See `Receiver.look`."""
        self._wakeup.look(self._journal)
        self.is_awaited = self._wakeup.is_awaited
        self.is_needed = self._wakeup.notify == NOTIFY_EACH

    def complete(self, name: FrameName, delivery_tag: int) -> None:
        """See `Receiver.complete`."""
        self._completions.append(*name, delivery_tag)
        self._wakeup.note_completed()

    def flush(self, outbox: Outbox | None, work_left: int) -> None:
        """See `Receiver.flush`."""
        journal = self._journal
        if outbox is not None and journal is not None and self._wakeup.must_ring(journal, work_left):
            self._wakeup.note_told()
            outbox.ring()

    def fall_asleep(self, work_left: int) -> bool:
        """See `Receiver.fall_asleep`."""
        self._wakeup.fall_asleep()
        self.look()
        journal = self._journal
        if journal is None:
            return False
        return journal.last_tag(self._entry) != self._received or self._wakeup.must_ring(journal, work_left)

    def due_ns(self) -> int:
        """See `Receiver.due_ns`."""
        return NEVER_NS

    def close(self) -> None:
        """See `Receiver.close`."""
        self._completions.close()
