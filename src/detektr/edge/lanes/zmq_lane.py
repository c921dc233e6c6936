"""The lane `zmq`: leases are announced and completed by messages over ZeroMQ PUSH/PULL.

An Announce message has all that is needed to read a slot, for one lease or several, and wakes a sleeping consumer. A
message can be lost when a process dies, so both sides count, and each acknowledges the other's messages:

    Announce   after, last     the delivery tags that the message stands for; a gap before them shows that one was lost
               acknowledged    how many completed leases of this session have arrived
               notify          whether the producer waits for completed leases, as in edge/lanes/wakeup
    Release    received        the last delivery tag that has arrived
               first           place of the first completed lease of the message in all of this session

A side that misses an acknowledgement asks for it, and sends again only what the answer shows to be missing: the other
may be stopped, or in the middle of long work, and messages to it would pile up. Each side ignores what it has received
before. A consumer that attaches says which leases it holds and has received, so nothing from before an attach is sent
again. A message that the outbox refuses is tried again like one without an acknowledgement.

Who wakes whom:

                        consumer asleep                          consumer awake
    producer asleep     nobody, until either is due to ask       its Release wakes the producer
                        or to acknowledge
    producer awake      its Announce wakes the consumer          nobody sleeps; messages wait for the next turn

Completed leases wait for others to travel with: until none has come for `COMPANY_NS`, at most `COMPANY_NS_MAX`. A
consumer sends them at once if the producer waits for them, or if they are half its window. A consumer that begins long
work meanwhile sends them after it. So the producer reads in the status block of a quiet consumer, and of one that it is
about to blame for taking too long, which lease it finished last, and settles the leases up to that one.
"""

from __future__ import annotations

import time

from detektr.edge.connections import ConnectionTable, ConsumerConnection
from detektr.edge.edge import Edge
from detektr.edge.lanes.lane import NEVER_NS, Announcer
from detektr.edge.state.lease import Replica
from detektr.memory.completion_queue import Completion
from detektr.memory.layout import NOTIFY_EACH, NOTIFY_NONE, NOTIFY_SHORT
from detektr.memory.status_block_reader import StatusBlockTable
from detektr.wire.link import Outbox
from detektr.wire.message import Announce, Attach, Release

COMPANY_NS = 45_000_000  # so long the last completed lease, or acknowledgement, waits for others to travel with ...
COMPANY_NS_MAX = 160_000_000  # ... and so long the first: cameras of 25 frames/s and more never let the other run out
AGAIN_NS = 50_000_000  # a replica that does not acknowledge a lease is asked after this, then after twice that ...
AGAIN_NS_MAX = 1_000_000_000  # ... and at last so often: its consumer may be in the middle of long work
QUIET_NS = 100_000_000  # a holder of leases that says nothing for so long may be in the middle of long work
ANNOUNCE_BYTES_MAX = 1 << 20  # of leases in one message, if it has more than one; far below what an inbox takes


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
        self.is_behind = False
        """Whether there are leases to announce again: the replica, or its inbox, did not take them."""
        self.is_asked = False
        """Whether the replica was asked what has arrived, and has not answered."""
        self.sent_ns = 0
        """When leases were announced, or the replica was asked, or that was tried."""
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
        if self.is_asked and message.received <= self.sent_tag:
            self.is_asked = False
            if self.received < self.sent_tag:
                self.sent_tag, self.is_behind, self.sent_ns = self.received, True, now_ns - self.again_ns
        known = self.completed - message.first
        if 0 <= known < len(message.completed):
            self._arrived += [one for one in message.completed[known:] if not 0 < one[2] <= self.settled_tag]
            self.completed += len(message.completed) - known
        if message.completed or message.asks:
            self.owes_since_ns = self.owes_since_ns or now_ns

    @property
    def quiet_ns(self) -> int:
        """From when on the replica, if it holds leases, has said nothing for long."""
        return max(self.heard_ns, self.sent_ns) + QUIET_NS

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
        """See `Announcer.tick`: ask about missing acknowledgements, announce what is missing, acknowledge."""
        for edge in self.edges:
            for session, replica in tuple(edge.replicas.items()):
                connection = self._connections.get(session)
                if not isinstance(connection, ZmqConnection):
                    continue
                if replica.leases and not replica.is_durable and now_ns >= connection.quiet_ns:
                    self._take_finished(edge, replica, connection, now_ns)
                if now_ns < connection.due_ns:
                    continue
                is_open = connection.is_behind or connection.received < connection.sent_tag
                if is_open and now_ns >= connection.sent_ns + connection.again_ns:
                    connection.is_asked = not connection.is_behind
                    connection.again_ns = min(2 * connection.again_ns, AGAIN_NS_MAX)
                    connection.sent_ns = now_ns
                self._send(edge, session, now_ns)

    def catch_up(self, edge: Edge, replica: Replica, now_ns: int) -> None:
        """See `Announcer.catch_up`: completed leases may still wait for company."""
        connection = self._connections.get(replica.session)
        if isinstance(connection, ZmqConnection) and not replica.is_durable:
            self._take_finished(edge, replica, connection, now_ns)

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
