"""A producer, a relay in two replicas and its two readers, through the death of anybody at any store.

The edges, the fan-out and the relay's bookkeeping are the real ones; processes, messages and the user's code are
played. What must hold: every frame is offered to each reader once with the results of one attempt, or marked as a
repeat; every ledger adds up; nothing is kept in the end.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from hypothesis import settings

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.relay.any_order import AnyOrderEdge
from detektr.edge.relay.fanout import RelayFanout
from detektr.edge.state.lease import SessionState
from detektr.memory import layout
from detektr.memory.announcement import Announcement, FrameName
from detektr.memory.journal import Journal
from detektr.memory.tombstone_journal import NamedJournal
from detektr.results import pass_on
from detektr.wire.message import FailureKind
from tests.harness.dying_memory import Died, DyingMemory
from tests.harness.effort import SEEDS
from tests.harness.interpreted import interpreted
from tests.property.journal_bytes import read_journal
from tests.property.relay_parts import READERS, Reader, Replica, Subscriber

Relay: Any = interpreted("detektr.nodes.relay")[0].Relay
KEY, BASE, TIMEOUT_NS, PAYLOAD = 11, b"\xde\x00\x00", 100, 120


def returned(sequence: int) -> bytes:
    """What the relay's code returns for a frame: nothing for every third."""
    found: bytes = msgpack.packb([{"number": sequence}] if sequence % 3 else [])
    return found


class Machine:
    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.window, self.mark, self.reader_window = chance.randint(1, 3), chance.randint(1, 2), chance.randint(1, 2)
        hold = sum(self.mark + self.reader_window for _ in READERS)
        self.is_timed, self.is_dropping = chance.random() < 0.3, chance.random() < 0.3
        self.options = EdgeOptions(
            mark=3,
            low=2,
            when_full="block",
            window_total=2 * (self.window + hold),
            payload_bytes=24,
            max_deliveries=chance.choice((1, 2, 50)),
            timeout_ns=TIMEOUT_NS if self.is_timed else None,
            passed_max=hold,
            relays_to=READERS,
        )
        self.memory = DyingMemory(bytearray(layout.journal_bytes(self.options.cells, 24)))
        Journal.format(memoryview(self.memory.memory), self.options.cells, 24, 3)
        self.reader = read_journal(self.memory.memory)
        self.replicas = [self.place(f"detect.{number}", hold) for number in range(2)]
        self.now_ns, self.sessions, self.offered = 1, 0, 0
        self.seen: dict[str, dict[int, list[int]]] = {reader: defaultdict(list) for reader in READERS}
        self.released: set[FrameName] = set()  # by the producer
        self.adopt()

    def place(self, name: str, hold: int) -> Replica:
        options = {
            reader: EdgeOptions(
                mark=self.mark,
                low=self.mark - 1,
                when_full=self.chance.choice(("block", "drop-oldest", "drop-newest")) if self.is_dropping else "block",
                window_total=self.reader_window,
                payload_bytes=PAYLOAD,
                max_deliveries=100,
                tombstones=self.window + hold,
                only_results=reader == "count",
            )
            for reader in READERS
        }
        memories = {}
        for reader, one in options.items():
            memories[reader] = DyingMemory(bytearray(layout.journal_bytes(one.cells, PAYLOAD)))
            Journal.format(memoryview(memories[reader].memory), one.cells, PAYLOAD, self.mark)
        first, second = (memories[reader] for reader in READERS)
        second.spend = first.spend  # type: ignore[method-assign]  # one process writes both: it dies in either
        replica = Replica(name, memories, options)
        replica.readers = {reader: Reader(f"{reader}.0") for reader in READERS}
        return replica

    # -- the producer -----------------------------------------------------------------------------------------------

    def adopt(self) -> None:
        self.memory.stores_left = None
        journal = Journal(self.memory.view)
        journal.open()
        self.edge = Edge("detect", self.options, journal)
        for replica in self.replicas:
            if replica.subscriber is not None:
                replica.subscriber.is_attached = False
            if not replica.is_alive:
                replica.is_noticed = False

    def do(self, act: Callable[[Edge], object]) -> bool:
        try:
            act(self.edge)
        except Died:
            self.adopt()
            return False
        return True

    def offer(self) -> None:
        if self.edge.has_room(0):
            sequence = self.edge.journal.seen(KEY)
            now_ns = self.chance.choice((0, self.now_ns))
            self.do(lambda edge: edge.offer(0, Announcement(KEY, sequence, self.now_ns, BASE), now_ns))

    def lease_queued(self) -> None:
        self.do(lambda edge: edge.lease_queued(self.now_ns))

    def reclaim(self, replica: Replica) -> None:
        subscriber = replica.subscriber
        session = replica.page.session
        if subscriber is not None and replica.is_alive and not subscriber.is_attached:
            return  # a new producer reads only what comes after the attach
        completions = list(replica.completions)
        replica.completions.clear()
        if completions:
            self.do(lambda edge: edge.finish(session, completions, self.now_ns))

    def hear_failures(self, replica: Replica) -> None:
        subscriber = replica.subscriber
        if subscriber is not None and subscriber.is_attached and replica.is_alive and subscriber.failed:
            failed, subscriber.failed = subscriber.failed, []
            subscriber.failed_lately += failed

            def act(edge: Edge) -> None:
                edge.finish(subscriber.session, (), self.now_ns)
                for one in failed:
                    edge.fail(subscriber.session, one)

            self.do(act)

    def notice(self, replica: Replica) -> None:
        if replica.is_alive or replica.is_noticed:
            return
        self.reclaim(replica)
        for session, other in list(self.edge.replicas.items()):
            if other.name == replica.name and (other.is_present or not other.is_waiting):
                progress = (replica.page.working, 0, 0) if replica.page.session == session else None
                if not self.do(lambda edge: edge.evict(session, progress, *replica.look())):  # noqa: B023
                    return
        replica.is_noticed = True
        if replica.is_over:
            self.do(lambda edge: edge.let_go(replica.name))

    def time_passes(self) -> None:
        self.now_ns += self.chance.choice((1, 40, TIMEOUT_NS + 1))
        places = {replica.name: replica for replica in self.replicas}

        def act(edge: Edge) -> None:
            for overdue in edge.overdue(self.now_ns):
                for known in places[overdue.name].look():
                    edge.note_passed(overdue.session, known)
            edge.expire(self.now_ns)

        self.do(act)

    # -- the relay --------------------------------------------------------------------------------------------------

    def start(self, replica: Replica) -> None:
        if replica.is_alive or replica.is_over:
            return
        replica.set_stores_left(None)
        replica.subscriber = Subscriber(self.reader, replica)
        replica.emitting = None
        if self.chance.random() < 0.3:  # it dies while it adopts, and another does
            replica.set_stores_left(self.chance.randrange(30))
        try:
            replica.edges = {
                reader: AnyOrderEdge(reader, replica.options[reader], self.journal_of(replica, reader))
                for reader in READERS
            }
            replica.fanout = RelayFanout(lambda edge: None)
            for edge in replica.edges.values():
                replica.fanout.add(edge)
            replica.relay = Relay(replica.fanout, [replica.subscriber], has_work=True)
        except Died:
            replica.set_stores_left(None)
            return
        replica.set_stores_left(None)
        replica.completions.clear()  # the producer begins after what was written before the attach
        replica.is_alive = True

    def journal_of(self, replica: Replica, reader: str) -> NamedJournal:
        journal = NamedJournal(replica.memories[reader].view)
        journal.open()
        return journal

    def attach(self, replica: Replica) -> None:
        subscriber = replica.subscriber
        if not replica.is_alive or subscriber is None or subscriber.is_attached:
            return
        if not subscriber.session:
            self.sessions += 1
            subscriber.session = self.sessions
            subscriber.previous = replica.page.session, replica.page.working, 0, 0
            replica.page.session, replica.page.working = subscriber.session, 0
        replica.completions.clear()  # the attach tells of them
        subscriber.failed_lately += subscriber.failed
        subscriber.failed = []
        state = SessionState(
            received=subscriber.received,
            held=frozenset(subscriber.held),
            passed=frozenset(subscriber.passed),
            done=frozenset(replica.relay.done(0)),
            failed=tuple(subscriber.failed_lately),
            previous=subscriber.previous,
        )
        who = subscriber.session, replica.name, self.window, state
        if self.do(lambda edge: edge.attach(*who, is_durable=False, now_ns=self.now_ns)):
            entry = self.reader.entry_of(subscriber.session)
            assert entry is not None
            subscriber.entry, subscriber.received = entry, self.reader.tag_before(entry)
            subscriber.is_attached = True
            replica.is_noticed = True

    def act(self, replica: Replica, act: Callable[[], None]) -> None:
        """Let a relay act; it may die doing so."""
        if not replica.is_alive:
            return
        try:
            act()
        except Died:
            self.kill(replica)

    def kill(self, replica: Replica) -> None:
        if not replica.is_alive:
            return
        replica.set_stores_left(None)
        replica.is_alive, replica.is_noticed = False, False
        if self.chance.random() < 0.5:
            replica.completions.clear()  # messages that died with it

    def receive(self, replica: Replica) -> None:
        subscriber = replica.subscriber
        if replica.is_alive and subscriber is not None and subscriber.is_attached:
            last = self.reader.last_tag(subscriber.entry)
            for lease in self.reader.leases(subscriber.entry, subscriber.session, subscriber.received, last):
                subscriber.held[lease.name] = lease
                subscriber.leases.append(lease)
                if lease.delivery > 1:
                    subscriber.failed_lately = [one for one in subscriber.failed_lately if one[:2] != lease.name]
            subscriber.received = last

    def work(self, replica: Replica) -> None:
        subscriber, relay = replica.subscriber, replica.relay
        if not replica.is_alive or subscriber is None:
            return
        if replica.emitting is not None:
            self.emit(replica)
            return
        while subscriber.leases and relay.has_room(0):
            lease = subscriber.leases.popleft()
            if subscriber.held.get(lease.name) is not lease:
                continue
            if not subscriber.still_holds(lease):
                del subscriber.held[lease.name]
                continue
            replica.page.working = lease.delivery_tag
            if relay.knows(lease.name):
                relay.keep(0, lease.name)
                return
            if self.chance.random() < 0.1:
                del subscriber.held[lease.name]
                subscriber.failed.append((*lease.name, FailureKind.RETRYABLE, "raised"))
                return
            payload = pass_on(lease.payload, b"", "detect", returned(lease.sequence), lease.delivery)
            replica.emitting = lease, payload
            if self.chance.random() < 0.7:
                self.emit(replica)
            return

    def emit(self, replica: Replica) -> None:
        subscriber = replica.subscriber
        assert replica.emitting is not None and subscriber is not None
        if not replica.relay.has_room(0):
            return
        (lease, payload), replica.emitting = replica.emitting, None
        if not subscriber.still_holds(lease):
            if subscriber.held.get(lease.name) is lease:
                del subscriber.held[lease.name]
            return
        replica.relay.pass_on(0, Announcement(lease.key, lease.sequence, lease.captured_ns, payload), self.now_ns)

    def serve(self, replica: Replica) -> None:
        """Settle, and lease queued frames to the readers."""
        replica.relay.settle()
        for edge in replica.edges.values():
            edge.lease_queued(self.now_ns)
            edge.take_announced()

    # -- the readers ------------------------------------------------------------------------------------------------

    def read(self, replica: Replica, name: str, *, dies: bool) -> None:
        """Let a reader attach if it must, work on its oldest lease, and release it unless it dies first."""
        edge, reader = replica.edges[name], replica.readers[name]
        if reader.session not in edge.replicas or not edge.replicas[reader.session].is_present or not reader.session:
            past = reader.page.session, reader.page.working, reader.page.finished, 0
            self.sessions += 1
            reader.session = reader.page.session = self.sessions
            reader.page.working = reader.page.finished = 0
            state = SessionState(previous=past)
            edge.attach(reader.session, reader.name, self.reader_window, state, is_durable=False, now_ns=self.now_ns)
            return
        leases = sorted(edge.replicas[reader.session].leases.values(), key=lambda cell: cell.delivery_tag)
        if not leases:
            return
        cell = leases[0]
        fields = msgpack.unpackb(cell.payload)
        assert msgpack.unpackb(fields["results"]) == {"detect": msgpack.unpackb(returned(cell.sequence))}
        reader.page.working = cell.delivery_tag
        self.seen[name][cell.sequence].append(fields["delivery"] + cell.deliveries - 1)
        if dies:
            reader.session = 0
            return
        reader.page.finished = cell.delivery_tag
        edge.finish(reader.session, [(cell.key, cell.sequence, cell.delivery_tag)], self.now_ns)

    def end_for_good(self, replica: Replica) -> None:
        """A replica that will have no successor: its edges end, then the producer lets go."""
        if replica.is_alive or replica.is_over:
            return
        replica.set_stores_left(None)
        replica.is_over, replica.is_noticed = True, False
        fanout = RelayFanout(lambda edge: None)
        for name in READERS:
            edge = AnyOrderEdge(name, replica.options[name], self.journal_of(replica, name))
            for one in edge.replicas.values():
                edge.finish_until(one.session, replica.readers[name].page.finished, self.now_ns)
            edge.give_up()
            fanout.add(edge)
        fanout.catch_up()
        self.notice(replica)

    # -- what must hold ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        self.released |= set(self.edge.settled)
        self.edge.settled.clear()
        assert self.reader.ledger().unaccounted == 0
        for session, replica in self.edge.replicas.items():
            assert replica.passed == sum(cell.is_passed for cell in replica.leases.values()), session
            assert len(replica.leases) <= replica.limit
            assert len(replica.leases) - replica.passed <= replica.window or not replica.is_present
        for place in self.replicas:
            for reader in READERS:
                journal = read_journal(place.memories[reader].memory)
                assert journal.ledger().unaccounted == 0, journal.ledger()
                assert not journal.names()[0] & self.released, "an edge holds a frame whose slot may be written again"
        for reader, frames in self.seen.items():
            for sequence, deliveries in frames.items():
                assert sum(delivery == 1 for delivery in deliveries) <= 1, f"{reader}: {sequence} came {deliveries}"

    def drain(self) -> None:
        """Everybody alive does the work that is left; then nothing may be."""
        self.memory.stores_left = None
        for _ in range(300):
            self.now_ns += 1
            for replica in self.replicas:
                replica.set_stores_left(None)
                self.notice(replica)
                self.start(replica)
                self.attach(replica)
                self.lease_queued()
                self.receive(replica)
                self.hear_failures(replica)
                if replica.is_alive:
                    for _ in range(3):
                        self.work(replica)
                        self.serve(replica)
                        for reader in READERS:
                            self.read(replica, reader, dies=False)
                        self.serve(replica)
                    replica.relay.sweep(is_due=True)
                    self.reclaim(replica)
                    self.hear_failures(replica)
            self.check()
        ledger = self.reader.ledger()
        assert (ledger.queued, ledger.in_flight) == (0, 0), ledger
        for replica in self.replicas:
            if replica.is_over:
                continue
            assert replica.subscriber is not None and replica.subscriber.held == {}
            for reader, edge in replica.edges.items():
                assert edge.is_empty and edge.tombstones == {}, f"{replica.name} -> {reader} kept {edge.tombstones}"
                assert len(edge._free) == edge.options.cells

    def check_all_seen(self) -> None:
        for reader, frames in self.seen.items():
            wanted = {number for number in range(self.edge.journal.seen(KEY)) if reader == "track" or number % 3}
            missing = wanted - set(frames)
            ledgers = [read_journal(place.memories[reader].memory).ledger() for place in self.replicas]
            dropped = sum(count for one in ledgers for reason, count in one.dropped.items() if reason != "filtered")
            upstream = self.reader.ledger()
            explained = dropped + upstream.dead_lettered
            assert sum(one.offered for one in ledgers) == upstream.delivered, "a frame was passed on twice, or never"
            assert len(missing) <= explained, f"{reader} never saw {sorted(missing)}; {explained} are explained"
            assert not set(frames) - wanted, f"{reader} saw what was filtered"


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_each_reader_gets_each_frame_once_or_marked(seed: int) -> None:
    for number in range(settings().max_examples):
        play(random.Random(1000 * seed + number), steps=200)


def play(chance: random.Random, steps: int) -> None:
    machine = Machine(chance)
    may_die = chance.random() < 0.8

    def replica() -> Replica:
        return chance.choice(machine.replicas)

    def one(act: Callable[[Replica], None]) -> Callable[[], None]:
        def run() -> None:
            place = replica()
            machine.act(place, lambda: act(place))

        return run

    def dying(act: Callable[[Replica], None]) -> Callable[[], None]:
        """Let a replica die right within an act."""

        def run() -> None:
            place = replica()
            place.set_stores_left(chance.randrange(5) if place.is_alive else None)
            machine.act(place, lambda: act(place))
            machine.kill(place)

        return run

    acts: list[tuple[float, Callable[[], object]]] = [
        (8, machine.offer),
        (8, machine.lease_queued),
        (8, lambda: machine.reclaim(replica())),
        (4, lambda: machine.hear_failures(replica())),
        (6, lambda: machine.notice(replica())),
        (6, lambda: machine.start(replica())),
        (8, lambda: machine.attach(replica())),
        (12, lambda: machine.receive(replica())),
        (20, one(machine.work)),
        (14, one(machine.serve)),
        (4, one(lambda place: place.relay.sweep(is_due=True))),
        (20, one(lambda place: machine.read(place, chance.choice(READERS), dies=may_die and chance.random() < 0.1))),
        (0.5 if machine.is_timed else 0, machine.time_passes),
    ]
    if may_die:
        acts += [
            (3, lambda: machine.kill(replica())),
            (3, lambda: replica().set_stores_left(chance.randrange(40))),
            (1, dying(lambda place: place.relay.sweep(is_due=True))),
            (2, dying(machine.work)),
            (1, machine.adopt),
            (1, lambda: setattr(machine.memory, "stores_left", chance.randrange(30))),
            (0.1, lambda: machine.end_for_good(machine.replicas[1])),
        ]
    for act in chance.choices([act for _, act in acts], [weight for weight, _ in acts], k=steps):
        act()
        machine.check()
    machine.drain()
    machine.check_all_seen()
