"""A producer and a consumer on the lane `zmq`, played in one process on a network that loses and repeats messages."""

from __future__ import annotations

import random
from collections import Counter, deque
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement, FrameName, Lease
from detektr.memory.journal import Journal
from detektr.wire.codec import decode, encode
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Announce, Attach, Message, Release
from tests.harness.interpreted import interpreted
from tests.property.journal_bytes import new_memory, read_journal

connections, _, zmq_lane, zmq_receiver = interpreted(
    "detektr.edge.connections",
    "detektr.edge.lanes.lane",
    "detektr.edge.lanes.zmq_lane",
    "detektr.edge.lanes.zmq_receiver",
)  # its clock is ours
MS = 1_000_000
KEY, WINDOW, FRAMES = 5, 4, 40
OPTIONS = EdgeOptions(mark=8, low=7, when_full="block", window_total=WINDOW, payload_bytes=16, max_deliveries=99)
QUIET_MS_MAX = 5_000  # an edge on which nothing is lost any more is empty by then


class Network:
    """One direction: messages in order, some lost, some late, some twice."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.loss = chance, 0.0
        self.queue: deque[bytes] = deque()
        self.sent = self.refused = 0
        self.is_full = False

    def try_send(self, message: Message) -> bool:
        if self.is_full:
            self.refused += 1
            return False
        self.sent += 1
        self.queue.append(encode(message))
        return True

    def ring(self) -> None:
        """Nobody sleeps here."""

    def close(self, linger_ms: int = 0) -> None:
        """Nothing is open."""

    def next(self) -> Message | None:
        """Return what arrives next; None: nothing does."""
        if not self.queue:
            return None
        payload = self.queue.popleft()
        if self.chance.random() < self.loss:
            return None
        if self.chance.random() < self.loss:
            self.queue.appendleft(payload)
        return decode(payload)


class World:
    """A producer and a consumer."""

    def __init__(self, seed: int, window: int = WINDOW) -> None:
        self.chance, self.window = random.Random(seed), window
        self.options = replace(OPTIONS, window_total=window)
        self.now_ns = 1_000 * MS
        self.down, self.up = Network(self.chance), Network(self.chance)
        self.memory = new_memory(self.options.cells, OPTIONS.payload_bytes)
        self.reader = read_journal(self.memory)
        self.worked: Counter[int] = Counter()
        self.deaths = 0
        self.session = self.attach_epoch = 0
        self.sequence = 0
        self.begin_producer()
        self.begin_consumer()

    def begin_producer(self) -> None:
        journal = Journal(memoryview(self.memory))
        journal.open()
        self.edge = Edge("motion", self.options, journal)
        link = cast(Link, SimpleNamespace(watch=lambda fd: None, unwatch=lambda fd: None))
        self.connections = connections.ConnectionTable(link)
        status_blocks = SimpleNamespace(get=lambda name: SimpleNamespace(progress=self.progress))
        self.producer = zmq_lane.ZmqAnnouncer(self.connections, status_blocks)
        self.producer.edges.append(self.edge)

    def begin_consumer(self) -> None:
        self.receiver = zmq_receiver.ZmqReceiver("motion", self.window)
        self.session += 1
        self.receiver.begin_session()
        self.held: dict[FrameName, Lease] = {}
        self.begun = self.finished = 0
        self.attach((0, 0, 0, 0))

    def attach(self, previous: tuple[int, int, int, int]) -> None:
        self.attach_epoch += 1
        state = SessionState(received=self.receiver.received, held=frozenset(self.held), previous=previous)
        message = Attach(
            "motion", "motion.0", self.session, self.attach_epoch, self.window, False, False, "", 0, (), (), (),
            previous, completed=self.receiver.restate(),
        )  # fmt: skip
        self.connections.close(self.session)
        assert self.edge.attach(self.session, "motion.0", self.window, state, is_durable=False, now_ns=self.now_ns)
        connection = self.producer.connect(message, 1 << 22, cast(Outbox, self.down))
        self.connections.add(self.session, connection)
        entry = self.reader.entry_of(self.session)
        assert entry is not None
        self.receiver.attached(self.reader, entry, self.session, self.edge.journal.producer_epoch)
        for name, lease in list(self.held.items()):
            if not self.reader.is_leased(lease.cell, self.session, lease.delivery_tag):
                del self.held[name]

    def progress(self, session: int) -> tuple[int, int, int] | None:
        """Return what the consumer's status block says."""
        return (self.begun, self.finished, 0) if session == self.session else None

    # -- what can happen ----------------------------------------------------------------------------------------------

    def offer(self) -> None:
        if self.sequence < FRAMES and self.edge.has_room(0):
            now_ns = self.chance.choice((0, self.now_ns))
            assert self.edge.offer(0, Announcement(KEY, self.sequence, 1, b"%d" % self.sequence), now_ns) == "taken"
            self.sequence += 1

    def pump(self) -> None:
        self.edge.lease_queued(self.now_ns)
        self.producer.announce(self.edge, self.now_ns)
        self.producer.fall_asleep(is_blocked=self.chance.random() < 0.2)
        if self.now_ns >= self.producer.due_ns():
            self.producer.tick(self.now_ns)

    def consumer_hears(self) -> None:
        message = self.down.next()
        if message is not None:
            assert isinstance(message, Announce)
            if message.session == self.session:
                self.receiver.deliver(message, self.now_ns)
        for lease in self.receiver.receive()[0]:
            self.held[lease.name] = lease

    def producer_hears(self) -> None:
        message = self.up.next()
        if message is None:
            return
        assert isinstance(message, Release)
        connection: Any = self.connections.get(message.session)
        if connection is not None:
            connection.hear(message, self.now_ns)
            self.edge.finish(message.session, connection.take(), self.now_ns)

    def work(self) -> None:
        if self.held:
            name, lease = next(iter(self.held.items()))
            del self.held[name]
            if self.reader.is_leased(lease.cell, self.session, lease.delivery_tag):
                self.begun = lease.delivery_tag
                self.worked[lease.sequence] += 1
                self.finished = lease.delivery_tag
                self.receiver.complete(name, lease.delivery_tag)
        self.receiver.flush(cast(Outbox, self.up), len(self.held))

    def time_passes(self) -> None:
        self.now_ns += self.chance.choice((1, 5, 20, 60)) * MS

    def consumer_dies(self) -> None:
        self.deaths += 1
        self.edge.evict(self.session, (self.begun, self.finished, 0))
        self.connections.close(self.session)
        self.begin_consumer()

    def producer_dies(self) -> None:
        self.deaths += 1
        if self.chance.random() < 0.5:
            self.down.queue.clear()  # what lay in its pipes
        self.receiver.left()
        self.begin_producer()
        self.attach((0, 0, 0, 0))

    def run(self, loss: float, deaths: float) -> None:
        self.down.loss = self.up.loss = loss
        acts = [self.offer, self.pump, self.consumer_hears, self.producer_hears, self.work, self.time_passes]
        for _ in range(600):
            self.chance.choice(acts)()
            if self.chance.random() < deaths:
                self.chance.choice((self.consumer_dies, self.producer_dies))()
            ledger = self.reader.ledger()
            assert ledger.unaccounted == 0
        self.down.loss = self.up.loss = 0.0
        quiet_ms = 0
        while not (self.sequence == FRAMES and self.edge.is_empty):
            for act in acts[:-1]:
                act()
            self.now_ns += MS
            quiet_ms = 0 if self.sequence < FRAMES else quiet_ms + 1
            assert quiet_ms < QUIET_MS_MAX, "something is waited for that never comes"


def begin(clock: dict[str, World], seed: int, window: int = WINDOW) -> World:
    """Return a world whose time is the lane's from its first moment."""
    world = clock["now"] = World.__new__(World)
    world.now_ns = 0
    World.__init__(world, seed, window)
    return world
