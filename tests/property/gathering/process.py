"""A played process: one replica of a node with its real edges, subscribers, relay and gate. It may die at any store.

Its memories, its status block and what it has sent outlive it. It acts in phases, as the loop of a node does, and
others act between them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack

from detektr.edge.connections import session_state
from detektr.edge.edge import Edge
from detektr.edge.edge_options import FrameOutcome
from detektr.edge.fanout import Fanout
from detektr.edge.gathering.gate import Gate
from detektr.edge.gathering.known_above import KnownAbove
from detektr.edge.gathering.outlook import Outlook
from detektr.edge.relay.any_order import AnyOrderEdge
from detektr.edge.relay.fanout import RelayFanout
from detektr.edge.relay.look import merged
from detektr.edge.tombstone_edge import TombstoneEdge
from detektr.memory import layout
from detektr.memory.announcement import Announcement, FrameName, Lease
from detektr.memory.journal import Journal
from detektr.memory.status_block import StatusBlock
from detektr.memory.status_block_reader import StatusBlockReader
from detektr.memory.tombstone_journal import NamedJournal, TombstoneJournal
from detektr.nodes.spec import NodeSpec
from detektr.options import inputs_of
from detektr.results import pass_on
from detektr.wire.message import Attach, Failure, Welcome
from tests.harness.dying_memory import Died, DyingMemory
from tests.property.gathering.lanes import (
    Completions,
    GatheringSubscriber,
    Journals,
    Receiver,
    Relay,
    Subscriber,
    Surroundings,
)

if TYPE_CHECKING:
    from tests.property.gathering.world import World

TICK_NS = 50_000_000  # so an attach without an answer is sent again after some turns of all
__all__ = ["Process", "Receiver"]


@dataclass
class Connection:
    """A producer's connection to one session of a consumer."""

    consumer: str
    process: Process
    life: int
    attach_epoch: int
    completions: Completions


class Process:
    def __init__(self, world: World, spec: NodeSpec[Any]) -> None:
        self.world, self.spec, self.name = world, spec, f"{spec.node}.{spec.replica}"
        self.page = DyingMemory(bytearray(layout.STATUS_WORDS * layout.WORD_BYTES))
        words: Any = SimpleNamespace(words=memoryview(self.page.memory).cast("Q"))
        self.progress = StatusBlockReader.__new__(StatusBlockReader)
        self.progress.segment = words
        self.memories: dict[str, DyingMemory] = {}
        for consumer, options in spec.edges.items():
            memory = DyingMemory(bytearray(layout.journal_bytes(options.cells, options.payload_bytes)))
            Journal.format(memoryview(memory.memory), options.cells, options.payload_bytes, options.mark)
            memory.spend = self.page.spend  # type: ignore[method-assign]  # one process writes all: it dies in any
            self.memories[consumer] = memory
        self.completions = {f"{one.producer}.{one.producer_replica}": Completions() for one in spec.upstreams}
        self.inbox: deque[tuple[str, Any]] = deque()
        self.is_alive, self.is_over, self.life = False, False, 0

    def spend(self) -> None:
        """Count one store that no memory counts; we may die at it."""
        if not self.page.spend():
            raise Died

    # -- life and death ---------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Prepare as a node does, from what a predecessor left."""
        for _ in range(self.world.chance.randrange(len(self.inbox) + 1)):
            self.inbox.popleft()  # what had arrived died with it
        self.life += 1
        self.is_alive = True
        self.connections: dict[int, Connection] = {}
        self.fanout, self.relayed = Fanout(lambda edge: None), RelayFanout(lambda edge: None)
        self.edges: dict[str, Edge] = {}
        surroundings: Any = Surroundings(self)
        self.status_block = StatusBlock.__new__(StatusBlock)
        self.status_block.path, self.status_block.words = PurePath(f"{self.name}.status"), self.page.view.cast("Q")  # type: ignore[assignment]
        self.subscribers: list[Any] = [
            (GatheringSubscriber if upstream.is_gathering else Subscriber)(
                upstream, entry, surroundings, surroundings, self.status_block, done=self.done
            )
            for entry, upstream in enumerate(self.spec.upstreams)
        ]
        self.relay: Any = None
        self.gate: Gate | None = None
        self.emitting: tuple[Any, Lease, bytes] | None = None
        self.loop: Iterator[None] = iter(())
        self.turn = 0
        for consumer in self.spec.edges:
            edge = self.edges[consumer] = self.open_edge(consumer)
            (self.relayed if isinstance(edge, AnyOrderEdge) else self.fanout).add(edge)
        if self.spec.forks:
            above: Any = KnownAbove(surroundings, self.spec.forks)
            above._journals = Journals(self)
            self.relayed.above = above.names
        if self.relayed.edges:
            self.relay = Relay(self.relayed, self.subscribers, has_work=True)
        elif self.edges:
            self.fanout.catch_up()
        if self.spec.ways:
            self.gate = self.world.gate(self, surroundings)
            for subscriber in self.subscribers:
                subscriber.open_gate(self.gate)

    def open_gate(self, surroundings: Any) -> Gate:
        outlook: Any = Outlook(surroundings, self.spec.node, self.spec.ways)
        outlook._journals = Journals(self)
        return Gate(
            outlook,
            self.status_block,
            self.spec.replica,
            None,
            inputs_of(self.spec.options) if self.spec.options.join else (),
            is_ordered=self.spec.is_ordered,
            is_passed_on=None if self.relay is None else self.relay.knows,
        )

    def open_edge(self, consumer: str) -> Edge:
        options, view = self.spec.edges[consumer], self.memories[consumer].view

        def keep(outcome: FrameOutcome) -> None:
            self.world.keep(self.spec.node, consumer, outcome)

        if options.tombstones:
            named = NamedJournal(view)
            named.open()
            return AnyOrderEdge(consumer, options, named, keep)
        if options.keeps_settled:
            keeping = TombstoneJournal(view)
            keeping.open()
            return TombstoneEdge(consumer, options, keeping, keep)
        journal = Journal(view)
        journal.open()
        return Edge(consumer, options, journal, keep)

    def kill(self) -> None:
        """Die: what is on its way may be lost with us, the last of it first."""
        self.is_alive, self.page.stores_left = False, None
        chance = self.world.chance
        for told in self.completions.values():
            left = told.sent if self.world.lane == "shm" else chance.randint(min(told.read, told.sent), told.sent)
            del told.all[left:]
            told.sent = left
        for other in self.world.processes.values():
            sent = [one for one in other.inbox if one[0] == self.name]
            for one in sent[chance.randint(0, len(sent)) :]:
                other.inbox.remove(one)

    def act(self) -> None:
        """Go on to the next phase of our loop; we may die doing so."""
        try:
            if self.is_over:
                return
            if not self.is_alive:
                self.start()
            elif next(self.loop, self) is self:
                self.loop = self.turns()
        except Died:
            self.world.died(self)

    def turns(self) -> Iterator[None]:
        """One turn of our loop."""
        chance = self.world.chance
        if chance.random() < 0.8:
            while self.inbox:
                self.handle(self.inbox.popleft()[1])
            yield
        for subscriber in self.subscribers:
            subscriber.receive()
        yield
        yield from self.step() if self.subscribers else self.capture()
        self.pump()
        self.settle()
        for subscriber in self.subscribers:
            subscriber.flush()
        yield
        if self.world.is_calm or chance.random() < 0.3 or not all(one.is_attached for one in self.subscribers):
            self.tick()

    def tick(self) -> None:
        self.world.now_ns += TICK_NS
        for subscriber in self.subscribers:
            subscriber.tick(self.world.now_ns)
        for edge in self.edges.values():
            self.reclaim(edge)
            if edge.options.relays_to:
                for replica in edge.overdue(self.world.now_ns):
                    for names in self.world.processes[replica.name].passed_on():
                        edge.note_passed(replica.session, names)
            edge.expire(
                self.world.now_ns, lambda replica: self.world.processes[replica.name].progress.progress(replica.session)
            )
            self.evict_dead(edge)
            self.obey(edge)
        if self.relay is not None:
            self.relay.sweep(is_due=True)

    # -- as a producer ----------------------------------------------------------------------------------------------

    def capture(self) -> Iterator[None]:
        """Offer the next frames of all streams, as whoever is above all others."""
        for number, key in enumerate(self.world.streams):
            if self.world.chance.random() < 0.7 and self.fanout.has_room(number) and not self.world.is_calm:
                self.fanout.fan_out(number, self.world.frame(key, self.following(key)), self.world.now_ns)
        yield

    def following(self, key: int) -> int:
        """Return the first sequence of a stream that some edge was not offered yet."""
        return min([edge.journal.seen(key) for edge in self.fanout.edges.values()])

    def exists(self) -> bool:
        """Whether our socket is there."""
        return self.life > 0

    def handle(self, message: Any) -> None:
        if isinstance(message, Attach):
            self.attach(message)
        elif isinstance(message, Failure):
            edge = self.edges[message.consumer]
            edge.finish(message.session, (), self.world.now_ns)
            for failed in message.failed:
                edge.fail(message.session, failed)
        else:
            for subscriber in self.subscribers:
                if subscriber.owns(message.session):
                    subscriber.handle(message, self.world.now_ns)

    def attach(self, message: Attach) -> None:
        """See `EdgePublisher._attach`."""
        consumer, known = self.world.processes[message.replica], self.connections.get(message.session)
        if not consumer.is_alive or consumer.progress.progress(message.session) is None:
            return
        if known is not None and message.attach_epoch <= known.attach_epoch:
            return
        edge, session = self.edges[message.consumer], message.session
        self.reclaim(edge)
        state = session_state(message)
        assert edge.attach(session, message.replica, message.window, state, is_durable=False, now_ns=self.world.now_ns)
        for other, connection in list(self.connections.items()):
            if other == session or (connection.consumer == message.consumer and other not in edge.replicas):
                del self.connections[other]
        completions = consumer.completions[self.name]
        completions.read = message.completed
        self.connections[session] = Connection(
            message.consumer, consumer, consumer.life, message.attach_epoch, completions
        )
        self.spend()
        consumer.inbox.append((self.name, Welcome(session, message.attach_epoch, edge.journal.producer_epoch)))

    def pump(self) -> None:
        for edge in self.edges.values():
            edge.lease_queued(self.world.now_ns)
            if self.reclaim(edge):
                edge.lease_queued(self.world.now_ns)
            edge.take_announced()

    def reclaim(self, edge: Edge) -> bool:
        has_some = False
        for session in tuple(edge.replicas):
            connection = self.connections.get(session)
            if connection is not None and connection.completions.read < connection.completions.sent:
                has_some, told = True, connection.completions
                news, told.read = told.all[told.read : told.sent], told.sent
                edge.finish(session, news, self.world.now_ns)
        return has_some

    def evict_dead(self, edge: Edge) -> None:
        for session, replica in list(edge.replicas.items()):
            process, connection = self.world.processes[replica.name], self.connections.get(session)
            is_there = process.is_alive and (connection is None or connection.life == process.life)
            if not is_there and (replica.is_present or not replica.is_waiting):
                self.reclaim(edge)
                edge.evict(session, process.progress.progress(session), *process.passed_on())
                self.connections.pop(session, None)

    def obey(self, edge: Edge) -> None:
        """Do what the supervisor orders about consumers that have failed for good."""
        replicas = [one for one in self.world.processes.values() if one.spec.node == edge.consumer]
        if all(one.is_over for one in replicas) and not edge.is_given_up:
            edge.give_up()
        for one in replicas:
            if one.is_over and edge.options.relays_to:
                edge.let_go(one.name)

    def end_for_good(self) -> None:
        """Let the supervisor end our edges, see `orphaned_edges`: we are dead, and will have no successor."""
        self.is_over = True
        relayed = RelayFanout(lambda edge: None)
        for consumer in self.spec.edges:
            edge = self.open_edge(consumer)
            for replica in edge.replicas.values():
                process = self.world.processes[replica.name]
                _, finished, _ = process.progress.progress(replica.session) or (0, 0, 0)
                edge.finish_until(replica.session, finished, self.world.now_ns)
                if edge.options.relays_to:
                    edge.note_passed(replica.session, set().union(*process.passed_on()))
            edge.give_up()
            relayed.add(edge)
        relayed.catch_up()
        for edge in relayed.edges.values():
            edge.journal.end()

    def passed_on(self) -> tuple[Collection[FrameName], Collection[FrameName]]:
        """Return what our producers read in our journals."""
        readers = [self.world.readers[self.spec.node, self.spec.replica, consumer] for consumer in self.spec.edges]
        return merged([reader.names() for reader in readers])

    def settle(self) -> None:
        for edge in self.edges.values():
            edge.take_outcomes()
        self.world.check()  # what is forgotten next was seen
        self.world.released |= set(self.fanout.collect())
        if self.relay is not None:
            self.relay.settle()

    def done(self, entry: int) -> list[FrameName]:
        found: list[FrameName] = [] if self.relay is None else self.relay.done(entry)
        return found

    # -- as a processor ---------------------------------------------------------------------------------------------

    def step(self) -> Iterator[None]:
        """See `ProcessorNode.step`."""
        if self.relay is not None:
            self.relay.sweep(is_due=False)
        self.emit()
        if self.gate is not None:
            self.gate.look()
        if (self.gate is not None and self.gate.is_holding) or not self.may_work():
            for subscriber in self.subscribers:
                subscriber.note_alive()
        idle, inputs = 0, len(self.subscribers)
        for _ in range(self.world.chance.randint(1, 3) * inputs):
            if idle == inputs or not self.may_work():
                break
            subscriber = self.subscribers[self.turn]
            self.turn = (self.turn + 1) % inputs
            lease = subscriber.take(self.world.now_ns) if subscriber.leases else None
            idle = 0 if lease is not None else idle + 1
            if lease is not None:
                yield from self.work_on(subscriber, lease)

    def may_work(self) -> bool:
        relay = self.relay
        has_room = relay is None or all(relay.has_room(subscriber.entry) for subscriber in self.subscribers)
        return self.emitting is None and has_room

    def work_on(self, subscriber: Any, lease: Lease) -> Iterator[None]:
        if self.relay is not None and self.relay.knows(lease.name):
            self.relay.keep(subscriber.entry, lease.name)
            return
        self.world.begun(self, lease)
        yield
        if self.world.fails(self, lease):
            subscriber.fail(lease.name, "raised")
            subscriber.flush()
            self.world.ended(self, "failed")
            return
        if not subscriber.is_wanted(lease):
            subscriber.refuse(lease)
            self.world.ended(self, "refused")
            return
        fields = msgpack.unpackb(lease.payload)
        attempt = fields.get("delivery", 1) + lease.delivery - 1
        returned = self.world.returned(self.spec.node, lease.name)
        payload = pass_on(lease.payload, fields.get("results", b""), self.spec.node, returned, attempt)
        self.emitting = subscriber, lease, payload
        self.emit()

    def emit(self) -> None:
        if self.emitting is None:
            return
        subscriber, lease, payload = self.emitting
        if self.relay is None:
            self.emitting = None
            subscriber.finish(lease.name, lease.delivery_tag)
            self.world.ended(self, "done")
        elif self.relay.has_room(subscriber.entry):
            self.emitting = None
            if not subscriber.is_wanted(lease):
                subscriber.refuse(lease)
                self.world.ended(self, "refused")
                return
            announcement = Announcement(lease.key, lease.sequence, lease.captured_ns, payload)
            self.relay.pass_on(subscriber.entry, announcement, self.world.now_ns)
            self.world.ended(self, "done")
