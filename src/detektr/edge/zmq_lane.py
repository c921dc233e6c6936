"""The lane `zmq`: leases are announced and completed by messages over ZeroMQ PUSH/PULL.

An Announce message has all that is needed to read a slot, for one lease or several, and wakes a sleeping consumer. A
message can be lost when a process dies, so both sides count, and each acknowledges the other's messages:

    Announce   after, last     the delivery tags that the message stands for; a gap before them shows that one was lost
               acknowledged    how many completed leases of this session have arrived
               notify          whether the producer waits for completed leases, as in edge/wakeup
    Release    received        the last delivery tag that has arrived
               first           place of the first completed lease of the message in all of this session

Each side sends again what the other has not acknowledged in time, and ignores what it has received before. A consumer
that attaches says which leases it holds and has received, so nothing from before an attach is sent again.

Completed leases wait up to `COMPANY_NS`, to travel together. A consumer sends them at once if the producer waits for
them, or if they are half its window. A consumer that begins long work meanwhile sends them after it. So the producer
reads in the status block of a quiet consumer which lease it finished last, and settles the leases up to that one.
"""

from __future__ import annotations

import time
from collections import deque

from detektr.edge.connections import ConnectionTable, ConsumerConnection
from detektr.edge.edge import Edge
from detektr.edge.lane import NEVER_NS, Announcer, Receiver
from detektr.edge.lease import Cell, Replica
from detektr.errors import WireError
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.completion_queue import Completion
from detektr.memory.journal_reader import JournalReader
from detektr.memory.layout import NOTIFY_EACH, NOTIFY_NONE, NOTIFY_SHORT
from detektr.memory.status_block_table import StatusBlockTable
from detektr.wire.link import Outbox
from detektr.wire.message import Announce, AnnouncedLease, Attach, Release

COMPANY_NS = 40_000_000  # so long a completed lease, or an acknowledgement, waits for others to travel with ...
AWAKE_COMPANY_NS = 20_000_000  # ... or so long, where its sender is awake for another reason
AGAIN_NS = 50_000_000  # a lease that is not acknowledged is announced again after this, then after twice that ...
AGAIN_NS_MAX = 1_000_000_000  # ... and at last so often: its consumer may be in the middle of long work
LOST_NS = 250_000_000  # completed leases that are not acknowledged by then are sent again
QUIET_NS = 100_000_000  # a holder of leases that says nothing for so long may be in the middle of long work


class ZmqConnection(ConsumerConnection):
    """A replica that gets leases by messages, with what each side has acknowledged."""

    def __init__(
        self, consumer: str, replica: str, attach_epoch: int, pid: int, outbox: Outbox, completed: int
    ) -> None:
        """See `ConsumerConnection`.

        Args:
            consumer: see there, as the next four.
            replica: see there.
            attach_epoch: see there.
            pid: see there.
            outbox: see there.
            completed: how many leases the replica completed before it attached; those are settled.
        """
        super().__init__(consumer, replica, attach_epoch, pid, outbox)
        self.sent_tag = self.received = -1
        """Delivery tags of the last lease announced, and of the last one acknowledged; -1: not known yet."""
        self.sent_ns = 0
        self.again_ns = AGAIN_NS
        self.notify = NOTIFY_NONE
        """The last `notify` that the replica was told."""
        self.completed = completed
        self.owes_since_ns = 0
        """Since when completed leases wait to be acknowledged; 0: none do."""
        self.heard_ns = 0
        """When the replica was heard last, or its status block was read instead."""
        self.settled_tag = 0
        """Leases up to this one were taken back because its status block said so; messages may still tell of them."""
        self._arrived: list[Completion] = []

    @property
    def has_news(self) -> bool:
        """See `ConsumerConnection.has_news`."""
        return bool(self._arrived)

    def take(self) -> list[Completion]:
        """See `ConsumerConnection.take`."""
        arrived, self._arrived = self._arrived, []
        return arrived

    def wake(self) -> None:
        """Wake the replica, so that it looks whether the edge has ended, or its producer has changed."""
        self.outbox.ring()

    def hear(self, message: Release, now_ns: int) -> None:
        """Take a Release message; completions that are known are ignored, and those behind a gap will come again."""
        if self.received < message.received <= self.sent_tag:
            self.received, self.again_ns = message.received, AGAIN_NS
        self.heard_ns = now_ns
        known = self.completed - message.first
        if 0 <= known < len(message.completed):
            self._arrived += [one for one in message.completed[known:] if not 0 < one[2] <= self.settled_tag]
            self.completed += len(message.completed) - known
        if message.completed:
            self.owes_since_ns = self.owes_since_ns or now_ns

    @property
    def quiet_ns(self) -> int:
        """From when on the replica, if it holds leases, has said nothing for long."""
        return max(self.heard_ns, self.sent_ns) + QUIET_NS

    @property
    def due_ns(self) -> int:
        """When to announce again, or to acknowledge; `NEVER_NS`: everything is known on both sides."""
        due_ns = NEVER_NS
        if self.received < self.sent_tag:
            due_ns = self.sent_ns + self.again_ns
        if self.owes_since_ns:
            due_ns = min(due_ns, self.owes_since_ns + COMPANY_NS)
        return due_ns


class ZmqAnnouncer(Announcer):
    """The producer's end."""

    def __init__(self, connections: ConnectionTable, status_blocks: StatusBlockTable) -> None:
        """Begin without edges; `connections` are those of all lanes, `status_blocks` say what replicas finished."""
        super().__init__()
        self._connections, self._status_blocks = connections, status_blocks

    def connect(self, message: Attach, pid: int, outbox: Outbox) -> ConsumerConnection:
        """See `Announcer.connect`."""
        return ZmqConnection(message.consumer, message.replica, message.attach_epoch, pid, outbox, message.completed)

    def announce_at_once(self, edge: Edge) -> None:
        """See `Announcer.announce_at_once`: leases of one turn travel together."""

    def announce(self, edge: Edge, now_ns: int) -> None:
        """See `Announcer.announce`."""
        for session in edge.take_announced():
            self._send(edge, session, now_ns)

    def wake_up(self) -> None:
        """See `Announcer.wake_up`: messages come whether this process sleeps or not."""

    def fall_asleep(self, *, is_blocked: bool) -> bool:
        """See `Announcer.fall_asleep`: holders of leases are told when we begin to wait for completions."""
        for edge in self.edges:
            notify = NOTIFY_EACH if is_blocked else NOTIFY_SHORT if edge.backlog.count else NOTIFY_NONE
            if notify != edge.journal.notify:
                edge.journal.set_notify(notify)
            if notify == NOTIFY_NONE:
                continue
            for session in edge.group.holders():
                connection = self._connections.get(session)
                if isinstance(connection, ZmqConnection) and connection.notify < notify:
                    self._send(edge, session, time.monotonic_ns())
        return False

    def end(self, edge: Edge, now_ns: int) -> None:
        """See `Announcer.end`."""
        for session in tuple(edge.replicas):
            self._send(edge, session, now_ns, has_ended=True)

    def due_ns(self) -> int:
        """See `Announcer.due_ns`."""
        due_ns = NEVER_NS
        for edge in self.edges:
            for session, replica in edge.replicas.items():
                connection = self._connections.get(session)
                if isinstance(connection, ZmqConnection):
                    due_ns = min(due_ns, connection.due_ns)
                    if replica.leases and not replica.is_durable:
                        due_ns = min(due_ns, connection.quiet_ns)
        return due_ns

    def tick(self, now_ns: int) -> None:
        """See `Announcer.tick`: announce and acknowledge again, and look after quiet replicas."""
        for edge in self.edges:
            for session, replica in tuple(edge.replicas.items()):
                connection = self._connections.get(session)
                if not isinstance(connection, ZmqConnection):
                    continue
                if replica.leases and not replica.is_durable and now_ns >= connection.quiet_ns:
                    self._take_finished(edge, replica, connection, now_ns)
                if now_ns < connection.due_ns:
                    continue
                if connection.received < connection.sent_tag and now_ns >= connection.sent_ns + connection.again_ns:
                    connection.sent_tag = connection.received
                    connection.again_ns = min(2 * connection.again_ns, AGAIN_NS_MAX)
                self._send(edge, session, now_ns)

    def _take_finished(self, edge: Edge, replica: Replica, connection: ZmqConnection, now_ns: int) -> None:
        """Take back what a quiet replica has finished; a lease whose attempt failed is never among them."""
        connection.heard_ns = now_ns
        status_block = self._status_blocks.get(replica.name)
        progress = None if status_block is None else status_block.progress(replica.session)
        if progress is not None and progress[1] > connection.settled_tag:
            connection.settled_tag = progress[1]
            edge.finish_until(replica.session, progress[1], now_ns)

    def _send(self, edge: Edge, session: int, now_ns: int, *, has_ended: bool = False) -> None:
        """Send one replica its new leases, an acknowledgement and what we wait for."""
        connection, replica = self._connections.get(session), edge.replicas.get(session)
        if not isinstance(connection, ZmqConnection) or replica is None:
            return
        if connection.sent_tag < 0:  # it has just attached, and knows the leases that it holds
            connection.sent_tag = connection.received = edge.journal.tag_before(replica.entry)
        leases = tuple([announced(cell) for cell in _leased_after(replica, connection.sent_tag)])
        message = Announce(
            consumer=edge.consumer,
            session=session,
            producer_epoch=edge.journal.producer_epoch,
            after=connection.sent_tag,
            last=replica.last_tag,
            acknowledged=connection.completed,
            notify=edge.journal.notify,
            has_ended=has_ended,
            leases=leases,
        )
        if connection.outbox.try_send(message):
            if leases:
                connection.sent_ns = now_ns
            connection.sent_tag, connection.notify = replica.last_tag, message.notify
            connection.owes_since_ns = 0


def announced(cell: Cell) -> AnnouncedLease:
    """Return one lease as a message has it."""
    return (
        cell.delivery_tag,
        cell.deliveries,
        cell.key,
        cell.sequence,
        cell.captured_ns,
        cell.index,
        cell.payload,
    )


def _leased_after(replica: Replica, delivery_tag: int) -> list[Cell]:
    """Return a replica's leases after a delivery tag, in order; the newest are the last in its dict."""
    found: list[Cell] = []
    for cell in reversed(replica.leases.values()):
        if cell.delivery_tag <= delivery_tag:
            break
        found.append(cell)
    found.reverse()
    return found


class ZmqReceiver(Receiver):
    """The consumer's end."""

    def __init__(self, consumer: str, window: int) -> None:
        """Begin unattached.

        Args:
            consumer: whose edge it is.
            window: most leases that may be held.
        """
        self._consumer, self._window = consumer, window
        self._session = self._producer_epoch = self._received = 0
        self._journal: JournalReader | None = None
        self._entry = 0
        self._notify = NOTIFY_NONE
        self._leases: list[Lease] = []
        self._has_ended = False  # whether a lease had ended before its announcement came
        self._completed = 0  # in all of this session
        self._unsent: list[Completion] = []
        self._unsent_since_ns = 0
        self._unacknowledged: deque[Completion] = deque()
        self._acknowledged = 0
        self._unacknowledged_since_ns = 0
        self._owes_since_ns = 0  # since when a received lease waits to be acknowledged
        self._owes_answer = False

    @property
    def received(self) -> int:
        """See `Receiver.received`."""
        return self._received

    def attached(self, journal: JournalReader, entry: int, session: int, producer_epoch: int) -> None:
        """See `Receiver.attached`."""
        self._journal, self._entry, self._session, self._producer_epoch = journal, entry, session, producer_epoch
        self._received = journal.tag_before(entry)
        self._owes_since_ns, self._owes_answer = 0, False

    def left(self) -> None:
        """See `Receiver.left`."""
        self._journal, self._notify = None, NOTIFY_NONE
        self._leases.clear()
        self.look()

    def begin_session(self) -> None:
        """See `Receiver.begin_session`."""
        self._received = 0

    def restate(self) -> int:
        """See `Receiver.restate`: the leases that an attach says are held tell the completed ones too."""
        self._acknowledged = self._completed
        self._unacknowledged.clear()
        self._unsent.clear()
        self._unsent_since_ns = 0
        return self._completed

    def deliver(self, message: Announce, now_ns: int) -> None:
        """See `Receiver.deliver`.

        Raises:
            WireError: it announces leases that the journal does not have, or acknowledges what was not sent.
        """
        journal = self._journal
        if journal is None or message.producer_epoch != self._producer_epoch:
            return  # from a producer that has died since, or for a session that has ended
        last, sent = journal.last_tag(self._entry), self._completed - len(self._unsent)
        if message.last > last:
            raise WireError(f"Announce to {message.consumer}: lease {message.last}; its journal has {last} so far")
        if message.acknowledged > sent:
            raise WireError(f"Announce to {message.consumer} acknowledges {message.acknowledged} leases of {sent} sent")
        self._notify = message.notify
        while self._unacknowledged and self._acknowledged < message.acknowledged:
            self._unacknowledged.popleft()
            self._acknowledged += 1
            self._unacknowledged_since_ns = now_ns
        if message.after > self._received or message.last <= self._received:
            self._owes_answer |= message.after > self._received or bool(message.leases)  # a gap, or known already
            return
        before = len(self._leases)
        for tag, delivery, key, sequence, captured_ns, cell, payload in message.leases:
            if tag > self._received:
                self._leases.append(Lease(key, sequence, captured_ns, payload, cell, tag, delivery))
        self._has_ended |= len(self._leases) - before != message.last - self._received
        self._received = message.last
        self._owes_since_ns = self._owes_since_ns or now_ns

    def receive(self) -> tuple[list[Lease], bool]:
        """See `Receiver.receive`."""
        self.look()
        leases, self._leases = self._leases, []
        has_ended, self._has_ended = self._has_ended, False
        return leases, has_ended

    def look(self) -> None:
        """See `Receiver.look`."""
        self.is_awaited = self._notify != NOTIFY_NONE

    def complete(self, name: FrameName, delivery_tag: int) -> None:
        """See `Receiver.complete`."""
        if not self._unsent:
            self._unsent_since_ns = time.monotonic_ns()
        self._unsent.append((*name, delivery_tag))
        self._completed += 1

    def flush(self, outbox: Outbox | None, work_left: int) -> None:
        """See `Receiver.flush`."""
        if outbox is None or self._journal is None:
            return
        if self._unsent:
            is_short = self._notify == NOTIFY_SHORT and 2 * work_left <= self._window
            if self._notify == NOTIFY_EACH or is_short or 2 * len(self._unsent) >= self._window:
                self._send(outbox, time.monotonic_ns())
                return
        if self._owes_answer:
            self._send(outbox, time.monotonic_ns())
        elif self._unsent or self._unacknowledged or self._owes_since_ns:
            now_ns = time.monotonic_ns()
            if now_ns >= self._company_ns() - (COMPANY_NS - AWAKE_COMPANY_NS) or now_ns >= self.due_ns():
                self._send(outbox, now_ns)

    def fall_asleep(self, work_left: int) -> bool:
        """See `Receiver.fall_asleep`: a message wakes us, whenever it comes."""
        return False

    def due_ns(self) -> int:
        """See `Receiver.due_ns`."""
        if self._journal is None:
            return NEVER_NS
        due_ns = self._company_ns()
        return min(due_ns, self._unacknowledged_since_ns + LOST_NS) if self._unacknowledged else due_ns

    def close(self) -> None:
        """See `Receiver.close`."""

    def _company_ns(self) -> int:
        """Return until when completions and acknowledgements wait to travel together."""
        company_ns = self._unsent_since_ns + COMPANY_NS if self._unsent else NEVER_NS
        return min(company_ns, self._owes_since_ns + COMPANY_NS) if self._owes_since_ns else company_ns

    def _send(self, outbox: Outbox, now_ns: int) -> None:
        is_lost = bool(self._unacknowledged) and now_ns >= self._unacknowledged_since_ns + LOST_NS
        first = self._completed - len(self._unsent)
        completed = tuple(self._unsent)
        if is_lost or self._owes_answer:
            first, completed = self._acknowledged, (*self._unacknowledged, *self._unsent)
        if outbox.try_send(Release(self._consumer, self._session, self._received, first, completed)):
            if is_lost or not self._unacknowledged:
                self._unacknowledged_since_ns = now_ns
            self._unacknowledged.extend(self._unsent)
            self._unsent.clear()
            self._owes_since_ns, self._owes_answer = 0, False
