"""The lane `zmq`: leases are announced, and completed ones come back, in messages over ZeroMQ PUSH/PULL.

A message says all that is needed to read a slot, and wakes whoever sleeps; several leases travel in one message where
they lie ready. A message can die with either side, so both count, and each says what it has of the other's:

    Announce   after, last     the delivery tags that the message stands for; a gap before them shows that one was lost
               acknowledged    how many completed leases of this session have arrived
               notify          whether completed leases are waited for, as in edge/wakeup
    Release    received        the last delivery tag that has arrived
               first           place of the first completed lease of the message in all of this session

Either side asks where no acknowledgement comes, and sends again what the answer shows to be missing: the other may be
stopped, or in the middle of long work, and what is sent to it then piles up. What is known already is passed over. A
consumer that attaches says what it holds and has received, so nothing of before an attach is sent again. What the
outbox does not take is tried again as if it had not been acknowledged.

Completed leases wait for company, for at most `COMPANY_NS`: a consumer sends them at once where the producer waits for
them, or where half its window waits to be sent.
"""

from __future__ import annotations

import time
from collections import deque

from detektr.edge.connections import ConnectionTable, ConsumerConnection
from detektr.edge.edge import Edge
from detektr.edge.lane import NEVER_NS, Announcer, Receiver
from detektr.errors import WireError
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.completion_queue import Completion
from detektr.memory.journal_reader import JournalReader
from detektr.memory.layout import NOTIFY_EACH, NOTIFY_NONE, NOTIFY_SHORT
from detektr.wire.link import Outbox
from detektr.wire.message import Announce, Attach, Release

COMPANY_NS = 40_000_000  # so long a completed lease, or an acknowledgement, waits for others to travel with ...
AWAKE_COMPANY_NS = 20_000_000  # ... or so long, where its sender is awake for another reason
AGAIN_NS = 50_000_000  # a replica that does not acknowledge a lease is asked after this, then after twice that ...
AGAIN_NS_MAX = 1_000_000_000  # ... and at last so often: its consumer may be in the middle of long work
LOST_NS = 250_000_000  # a producer that does not acknowledge completed leases is asked after this, then after twice ...
LOST_NS_MAX = 1_000_000_000  # ... and at last so often: it may be stopped
ANNOUNCE_BYTES_MAX = 1 << 20  # of leases in one message, if it has more than one; far below what an inbox takes


class ZmqConnection(ConsumerConnection):
    """A replica that is told of leases by messages, and what it and this process know of each other."""

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
        """The last lease that was announced, and the last one that is acknowledged; -1: not known yet."""
        self.is_behind = False
        """Whether there are leases to announce again: the replica, or its inbox, did not take them."""
        self.is_asked = False
        """Whether the replica was asked what has arrived, and has not answered."""
        self.sent_ns = 0
        """When leases were announced, or the replica was asked, or that was tried."""
        self.again_ns = AGAIN_NS
        self.notify = NOTIFY_NONE
        """What the replica was told of whether completed leases are waited for."""
        self.completed = completed
        self.owes_since_ns = 0
        """Since when completed leases wait to be acknowledged; 0: none do."""
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
        """Take what a replica says; what is known already is passed over, and what follows a gap comes again."""
        if self.received < message.received <= self.sent_tag:
            self.received, self.again_ns = message.received, AGAIN_NS
        if self.is_asked and message.received <= self.sent_tag:
            self.is_asked = False
            if self.received < self.sent_tag:
                self.sent_tag, self.is_behind, self.sent_ns = self.received, True, now_ns - self.again_ns
        known = self.completed - message.first
        if 0 <= known < len(message.completed):
            self._arrived += message.completed[known:]
            self.completed += len(message.completed) - known
        if message.completed or message.asks:
            self.owes_since_ns = self.owes_since_ns or now_ns

    @property
    def due_ns(self) -> int:
        """When to announce again, to ask, or to acknowledge; `NEVER_NS`: everything is known on both sides."""
        due_ns = NEVER_NS
        if self.received < self.sent_tag or self.is_behind:
            due_ns = self.sent_ns + self.again_ns
        if self.owes_since_ns:
            due_ns = min(due_ns, self.owes_since_ns + COMPANY_NS)
        return due_ns


class ZmqAnnouncer(Announcer):
    """The producer's end."""

    def __init__(self, connections: ConnectionTable) -> None:
        """Begin without edges; `connections` are those of all lanes."""
        super().__init__()
        self._connections = connections

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
        """See `Announcer.fall_asleep`: holders of leases are told when completed ones begin to be waited for."""
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
            for session in edge.replicas:
                connection = self._connections.get(session)
                if isinstance(connection, ZmqConnection):
                    due_ns = min(due_ns, connection.due_ns)
        return due_ns

    def tick(self, now_ns: int) -> None:
        """See `Announcer.tick`: ask about what was not acknowledged, announce what is missing, and acknowledge."""
        for edge in self.edges:
            for session in tuple(edge.replicas):
                connection = self._connections.get(session)
                if not isinstance(connection, ZmqConnection) or now_ns < connection.due_ns:
                    continue
                is_open = connection.is_behind or connection.received < connection.sent_tag
                if is_open and now_ns >= connection.sent_ns + connection.again_ns:
                    connection.is_asked = not connection.is_behind
                    connection.again_ns = min(2 * connection.again_ns, AGAIN_NS_MAX)
                    connection.sent_ns = now_ns
                self._send(edge, session, now_ns)

    def _send(self, edge: Edge, session: int, now_ns: int, *, has_ended: bool = False) -> None:
        """Tell one replica of the leases that it was not told of, and what else it should know."""
        connection, replica = self._connections.get(session), edge.replicas.get(session)
        if not isinstance(connection, ZmqConnection) or replica is None:
            return
        if connection.sent_tag < 0:  # it has just attached: what it holds it knows
            connection.sent_tag = connection.received = edge.journal.tag_before(replica.entry)
        for last, leases in replica.announcements(connection.sent_tag, ANNOUNCE_BYTES_MAX):
            message = Announce(
                consumer=edge.consumer,
                session=session,
                producer_epoch=edge.journal.producer_epoch,
                after=connection.sent_tag,
                last=last,
                acknowledged=connection.completed,
                notify=edge.journal.notify,
                has_ended=has_ended,
                leases=leases,
                asks=connection.is_asked,
            )
            is_sent = connection.outbox.try_send(message)
            if last > connection.sent_tag or not is_sent:
                connection.sent_ns = now_ns
            if connection.owes_since_ns:
                connection.owes_since_ns = 0 if is_sent else now_ns
            connection.is_behind = not is_sent and (last > connection.sent_tag or connection.is_behind)
            if not is_sent:
                break
            connection.sent_tag, connection.notify = last, message.notify


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
        self._has_ended = False  # a lease before it reached us
        self._completed = 0  # in all of this session
        self._unsent: list[Completion] = []
        self._unsent_since_ns = 0
        self._unacknowledged: deque[Completion] = deque()
        self._acknowledged = 0
        self._unacknowledged_since_ns = 0
        self._lost_ns = LOST_NS
        self._is_asked = self._is_behind = False  # the producer, what has arrived; it has missed some
        self._owes_since_ns = 0  # since when the producer does not know that a lease has arrived
        self._owes_answer = False

    @property
    def received(self) -> int:
        """See `Receiver.received`."""
        return self._received

    @property
    def is_settled(self) -> bool:
        """See `Receiver.is_settled`."""
        return not self._leases and not self._unsent and not self._unacknowledged

    def attached(self, journal: JournalReader, entry: int, session: int, producer_epoch: int) -> None:
        """See `Receiver.attached`."""
        self._journal, self._entry, self._session, self._producer_epoch = journal, entry, session, producer_epoch
        self._received = journal.tag_before(entry)
        self._owes_since_ns, self._owes_answer = 0, False
        self.is_out_of_step = False

    def left(self) -> None:
        """See `Receiver.left`."""
        self._journal, self._notify = None, NOTIFY_NONE
        self._leases.clear()
        self.look()

    def begin_session(self) -> None:
        """See `Receiver.begin_session`."""
        self._received = 0

    def restate(self) -> int:
        """See `Receiver.restate`: what is not acknowledged is told by what the attach says is held."""
        self._acknowledged = self._completed
        self._unacknowledged.clear()
        self._unsent.clear()
        self._unsent_since_ns = 0
        self._lost_ns, self._is_asked, self._is_behind = LOST_NS, False, False
        return self._completed

    def deliver(self, message: Announce, now_ns: int) -> None:
        """See `Receiver.deliver`.

        Raises:
            WireError: it announces leases that the journal does not have, or acknowledges what was not sent.
        """
        journal = self._journal
        if journal is None or message.producer_epoch != self._producer_epoch:
            return  # of a producer that has died since, or to a consumer that has left
        last, sent = journal.last_tag(self._entry), self._completed - len(self._unsent)
        if message.last > last:
            raise WireError(f"Announce to {message.consumer}: lease {message.last}; its journal has {last} so far")
        if message.acknowledged > sent:  # it counts what somebody else said in our name
            self.is_out_of_step = True
            raise WireError(f"Announce to {message.consumer} acknowledges {message.acknowledged} leases of {sent} sent")
        self._notify = message.notify
        while self._unacknowledged and self._acknowledged < message.acknowledged:
            self._unacknowledged.popleft()
            self._acknowledged += 1
            self._unacknowledged_since_ns, self._lost_ns = now_ns, LOST_NS
        if self._is_asked:
            self._is_asked = False
            self._is_behind = self._owes_answer = bool(self._unacknowledged)
        self._owes_answer |= message.asks
        if message.after > self._received or message.last <= self._received:
            self._owes_answer |= message.after > self._received or bool(message.leases)  # a gap, or known already
            return
        leases = [
            Lease(key, sequence, captured_ns, payload, cell, tag, delivery)
            for tag, delivery, key, sequence, captured_ns, cell, payload in message.leases
            if tag > self._received and journal.is_leased(cell, self._session, tag)
        ]
        count = message.last - self._received
        if len(leases) != count:  # some have ended; or the message is not our producer's, and they stand
            leases = journal.leases(self._entry, self._session, self._received, message.last)
        self._has_ended |= len(leases) != count
        self._leases += leases
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
        """See `Receiver.fall_asleep`: a message that comes meanwhile wakes us."""
        return False

    def due_ns(self) -> int:
        """See `Receiver.due_ns`."""
        if self._journal is None:
            return NEVER_NS
        due_ns = self._company_ns()
        return min(due_ns, self._unacknowledged_since_ns + self._lost_ns) if self._unacknowledged else due_ns

    def close(self) -> None:
        """See `Receiver.close`."""

    def _company_ns(self) -> int:
        """Return until when what is to be told waits for others to travel with."""
        company_ns = self._unsent_since_ns + COMPANY_NS if self._unsent else NEVER_NS
        return min(company_ns, self._owes_since_ns + COMPANY_NS) if self._owes_since_ns else company_ns

    def _send(self, outbox: Outbox, now_ns: int) -> None:
        asks = bool(self._unacknowledged) and now_ns >= self._unacknowledged_since_ns + self._lost_ns
        first, completed = self._completed - len(self._unsent), tuple(self._unsent)
        if self._is_behind:
            first, completed = self._acknowledged, (*self._unacknowledged, *self._unsent)
        is_sent = outbox.try_send(Release(self._consumer, self._session, self._received, first, completed, asks))
        if asks or not is_sent:
            self._lost_ns = min(2 * self._lost_ns, LOST_NS_MAX)
        if asks or not self._unacknowledged or not is_sent:
            self._unacknowledged_since_ns = now_ns
        if is_sent:
            self._is_asked |= asks
            self._unacknowledged.extend(self._unsent)
            self._unsent.clear()
            self._owes_since_ns, self._owes_answer, self._is_behind = 0, False, False
        else:  # later: who does not read now is not asked all the time
            self._unsent_since_ns = now_ns
            self._owes_since_ns = now_ns if self._owes_since_ns else 0
