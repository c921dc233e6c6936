"""An edge and its consumers through everything that can happen to them, against a plain model.

A producer dies at any store; its successor adopts the journal and the consumers attach again, once they notice: until
then they read on in the journal as before. Consumers die, hang, leave and come back. What must hold is in `check` and
in the drain at the end of every history.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import msgpack
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.state.lease import Replica
from detektr.memory import journal as journals
from detektr.memory import journal_reader, layout
from detektr.memory.announcement import Announcement, FrameName, Lease
from detektr.memory.journal import Journal
from detektr.memory.journal_reader import JournalReader
from detektr.options import WhenFull
from tests.harness.dying_memory import Died, DyingMemory
from tests.harness.effort import SEEDS
from tests.property.consumer import Consumer, Page, Told, Welcome, name_of
from tests.property.journal_bytes import new_memory, read_journal

T = TypeVar("T")
STREAMS = (11, 12, 13)
TIMEOUT_NS = 100
MAX_AGE_NS = 90
FPS = 1e9 / 30  # a frame for each 30 ns of the time in which histories are played
names = st.sampled_from(("motion.0", "motion.1"))


class EdgeMachine(RuleBasedStateMachine):
    """One edge, up to two replicas (or one durable consumer), and the way between them."""

    streams = 0  # that have a queue each; 0: all share one, for each input
    is_stateful = False

    @initialize(
        when_full=st.sampled_from(("drop-oldest", "drop-newest", "block")),
        inputs=st.integers(1, 2),
        mark=st.integers(1, 4),
        window=st.integers(1, 3),
        max_deliveries=st.integers(1, 3),
        is_timed=st.booleans(),
        is_durable=st.booleans(),
        is_aging=st.booleans(),
        is_thinned=st.booleans(),
        is_retried=st.booleans(),
        batch=st.sampled_from((1, 3)),
    )
    def begin(
        self,
        when_full: WhenFull,
        inputs: int,
        mark: int,
        window: int,
        max_deliveries: int,
        is_timed: bool,
        is_durable: bool,
        is_aging: bool = False,
        is_thinned: bool = False,
        is_retried: bool = False,
        batch: int = 1,
    ) -> None:
        replicas = 1 if is_durable else 2
        self.options = EdgeOptions(
            mark=mark,
            low=mark - 1 if mark < 3 else 1,
            when_full=when_full,
            inputs=inputs,
            window_total=replicas * window,
            payload_bytes=24,
            max_deliveries=max_deliveries,
            timeout_ns=TIMEOUT_NS if is_timed and not is_durable and not is_retried else None,
            is_retried=is_retried,
            max_age_ns=MAX_AGE_NS if is_aging else None,
            fps=FPS if is_thinned else None,
            streams=self.streams,
        )
        self.window, self.is_durable = window, is_durable
        self.batch = 1 if is_durable or is_retried else batch  # sinks retry, processors take batches
        self.memory = DyingMemory(bytearray(layout.journal_bytes(self.options.cells, 24)))
        Journal.format(memoryview(self.memory.memory), self.options.cells, 24, mark)
        self.reader: JournalReader = read_journal(self.memory.memory)
        self.status_blocks: dict[str, Page] = {}
        self.consumers: dict[str, Consumer] = {}
        self.last: dict[str, Consumer] = {}  # the one alive, or the one before
        self.dead: dict[str, Consumer] = {}  # not yet noticed
        self.inbox: list[Told] = []
        self.now_ns = 1
        self.sessions = 0
        self.gone: set[FrameName] = set()
        self.finished: Counter[FrameName] = Counter()
        self.attempts: Counter[FrameName] = Counter()  # ended without success, or may have
        self.at_risk: set[FrameName] = set()  # leased to a session that died, hung or was let go
        self.leased: set[tuple[FrameName, int]] = set()
        self.newest: dict[tuple[int, int], int] = {}  # session and stream: newest sequence received for the first time
        self.adopt()

    # -- the producer -----------------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """A process takes the edge over; what its predecessor had in its inbox and its head is gone."""
        self.memory.stores_left = None
        journal = Journal(self.memory.view)
        journal.open()
        self.edge = Edge("motion", self.options, journal)
        self.inbox.clear()

    def do(self, act: Callable[[Edge], T]) -> T | None:
        """Let the producer act; None: it died doing so, and its successor has taken over."""
        try:
            return act(self.edge)
        except Died:
            self.adopt()
            return None

    @rule(stores=st.integers(0, 25))
    def let_the_producer_die_soon(self, stores: int) -> None:
        self.memory.stores_left = stores

    @rule(is_heard=st.booleans())
    def producer_dies_between_two_acts(self, is_heard: bool) -> None:
        if not is_heard:  # what it had sent died with it
            for consumer in self.consumers.values():
                consumer.welcome = None
        self.adopt()

    @rule(stream=st.sampled_from(range(len(STREAMS))), count=st.integers(1, 4), is_at_once=st.booleans())
    def offer(self, stream: int, count: int, is_at_once: bool = False) -> None:
        """Offer frames; `is_at_once`: they may be leased as they come."""
        key, now_ns = STREAMS[stream], self.now_ns if is_at_once else 0
        for _ in range(count):
            input_index = stream % self.options.inputs
            if not self.edge.has_room(input_index):
                assert self.options.when_full == "block"
                return
            sequence = self.edge.journal.seen(key)
            frame = input_index, Announcement(key, sequence, self.now_ns, self.payload(key, sequence)), now_ns
            answer = self.lease(lambda edge: edge.offer(*frame))  # noqa: B023
            if self.options.when_full == "block" and self.options.fps is None:
                assert answer in ("taken", None)

    def payload(self, key: int, sequence: int) -> bytes:
        """Return what is announced: each stream is of a camera of its own."""
        packed: bytes = msgpack.packb({"camera": f"c{key}", "n": sequence})
        return packed

    @rule()
    def offer_again_what_is_known(self) -> None:
        for key in STREAMS:
            if seen := self.edge.journal.seen(key):
                assert self.edge.offer(0, Announcement(key, seen - 1, self.now_ns, b"")) == "known"

    @rule()
    def lease_queued(self) -> None:
        before = {session: replica.last_tag for session, replica in self.edge.replicas.items()}

        def lease(edge: Edge) -> set[int]:
            edge.lease_queued(self.now_ns)
            return edge.take_announced()

        announced_to = self.lease(lease)
        if announced_to is not None:
            assert {
                one for one, last_tag in before.items() if self.edge.replicas[one].last_tag > last_tag
            } <= announced_to

    def lease(self, act: Callable[[Edge], T]) -> T | None:
        """Let the producer do what may lease frames; each lease must be a new one, and announced."""
        before = {session: replica.last_tag for session, replica in self.edge.replicas.items()}
        answer = self.do(act)
        if answer is not None:
            for session, replica in self.edge.replicas.items():
                assert self.reader.last_tag(replica.entry) == replica.last_tag or replica.last_tag == before[session]
                for cell in replica.leases.values():
                    if cell.delivery_tag > before[session]:
                        assert (cell.name, cell.deliveries) not in self.leased, "one delivery was leased twice"
                        self.leased.add((cell.name, cell.deliveries))
        return answer

    @rule()
    def hear(self) -> None:
        if self.inbox:
            self.take(self.inbox.pop(0))

    def take(self, message: Told) -> None:
        def act(edge: Edge) -> None:
            edge.finish(message.session, message.finished, self.now_ns)
            for failed in message.failed:
                edge.fail(message.session, failed)
            if message.is_last:
                edge.detach(message.session)

        self.do(act)

    @rule()
    def notice_deaths(self) -> None:
        for name, consumer in list(self.dead.items()):
            status_block = self.status_blocks[name]
            progress = status_block.progress if status_block.session == consumer.session else None
            self.do(lambda edge: edge.evict(consumer.session, progress))  # noqa: B023
            if consumer.session not in self.edge.replicas or not self.edge.replicas[consumer.session].is_present:
                del self.dead[name]

    @rule(span_ns=st.sampled_from((1, 40, TIMEOUT_NS + 1)))
    def time_passes(self, span_ns: int) -> None:
        self.now_ns += span_ns
        for replica in self.edge.replicas.values():
            limit_ns, since_ns = self.options.timeout_ns, replica.head_since_ns
            if limit_ns is not None and replica.leases and since_ns and self.now_ns - since_ns > limit_ns:
                self.at_risk |= set(replica.leases)
                head = min(cell.delivery_tag for cell in replica.leases.values())
                late = (self.progress_of(replica) or (0, 0, 0))[2] or head
                for cell in replica.leases.values():
                    self.attempts[cell.key, cell.sequence] += cell.delivery_tag == late
        self.do(lambda edge: edge.expire(self.now_ns, self.progress_of))

    def progress_of(self, replica: Replica) -> tuple[int, int, int] | None:
        status_block = self.status_blocks[replica.name]
        return status_block.progress if status_block.session == replica.session else None

    # -- consumers --------------------------------------------------------------------------------------------------

    @rule(name=names, is_prompt=st.booleans())
    def start(self, name: str, is_prompt: bool = False) -> None:
        if name in self.consumers or (self.is_durable and name != "motion.0"):
            return
        old = self.last.get(name)
        self.dead.pop(name, None)
        status_block = self.status_blocks.setdefault(name, Page())
        self.sessions += 1
        previous = status_block.session, *status_block.progress
        consumer = Consumer(name, self.window, status_block, self.sessions, previous, self.reader, self.is_durable)
        consumer.is_stateful = self.is_stateful
        if self.is_durable and old is not None:
            consumer.held, consumer.seen = dict(old.held), dict(old.seen)
        consumer.leases.extend(consumer.held.values())
        consumer.begin()
        self.consumers[name] = self.last[name] = consumer
        self.attach(name, is_prompt)

    @rule(name=names, is_prompt=st.booleans())
    def attach(self, name: str, is_prompt: bool = False) -> None:
        """Attach, where that is due; `is_prompt`: the answer is there at once."""
        consumer = self.consumers.get(name)
        if consumer is not None:
            consumer.look()
        if consumer is None or consumer.is_attached:
            return
        while (sent := next((one for one in self.inbox if one.session == consumer.session), None)) is not None:
            self.inbox.remove(sent)
            self.take(sent)  # what it has sent before the attach is heard before it
        consumer.attach_epoch += 1
        who = consumer.session, name, consumer.window, consumer.state()
        if self.do(lambda edge: edge.attach(*who, is_durable=self.is_durable, now_ns=self.now_ns)):
            consumer.heard_by = self.reader.producer_epoch
            consumer.welcome = Welcome(consumer.attach_epoch, self.reader.producer_epoch)
        if is_prompt:
            consumer.hear()

    @rule(name=names)
    def be_welcomed(self, name: str) -> None:
        if name in self.consumers:
            self.consumers[name].hear()

    @rule(name=names, count=st.integers(1, 4))
    def receive(self, name: str, count: int) -> None:
        consumer = self.consumers.get(name)
        if consumer is None:
            return
        for lease in consumer.receive(count):
            assert lease.payload == self.payload(lease.key, lease.sequence)
            if lease.delivery == 1:
                stream = consumer.session, lease.key
                assert lease.sequence > self.newest.get(stream, -1), "out of order, and not marked as redelivered"
                self.newest[stream] = lease.sequence

    @rule(name=names, stream=st.sampled_from(range(len(STREAMS))), count=st.integers(1, 4))
    def let_frames_flow(self, name: str, stream: int, count: int) -> None:
        """Do at once what mostly follows on each other, so that short histories get far too."""
        self.offer(stream, count)
        self.start(name, is_prompt=True)
        self.attach(name, is_prompt=True)
        self.lease_queued()
        self.receive(name, count)

    @rule(name=names, is_good=st.sampled_from((True, True, True, False)), arrives=st.booleans())
    def work(self, name: str, is_good: bool, arrives: bool = True) -> None:
        consumer = self.consumers.get(name)
        if consumer is None:
            return
        if consumer.working is None and self.batch > 1:
            self.work_on_batch(consumer, is_good)
            return
        if consumer.working is None:
            max_age_ns = self.options.max_age_ns
            oldest_ns = 0 if max_age_ns is None else self.now_ns - max_age_ns
            begun = consumer.take(lambda lease: self.still_holds(consumer, lease), oldest_ns)
            assert begun is None or begun.captured_ns >= oldest_ns, "work began on an old frame"
            if begun is not None:
                self.note_begun(consumer, begun)
            return
        if not is_good and self.options.is_retried:
            consumer.hold()
        elif is_good or self.is_durable:
            frame = consumer.finish(lambda lease: self.still_holds(consumer, lease))
            self.finished[frame] += 1
            assert self.finished[frame] == 1 or self.is_durable or frame in self.at_risk, "finished twice for no reason"
        else:
            self.attempts[consumer.fail()] += 1
            self.flush(name, arrives)

    def note_begun(self, consumer: Consumer, lease: Lease) -> None:
        """Look at what a consumer begins to work on."""

    def note_batch_begun(self, consumer: Consumer) -> None:
        """Look at what a consumer begins to work on together."""

    def work_on_batch(self, consumer: Consumer, is_good: bool) -> None:
        """Begin a batch, hand on the next frame of it, or, as it has failed, begin with that frame alone."""

        def still_holds(lease: Lease) -> bool:
            return self.still_holds(consumer, lease)

        if not consumer.batch:
            consumer.take_batch(still_holds, self.batch)
            self.note_batch_begun(consumer)
        elif not is_good:
            consumer.begin_alone(still_holds)
        elif (frame := consumer.hand_on(still_holds)) is not None:
            self.finished[frame] += 1
            assert self.finished[frame] == 1 or frame in self.at_risk, "finished twice for no reason"

    def still_holds(self, consumer: Consumer, lease: Lease) -> bool:
        return self.reader.is_leased(lease.cell, consumer.session, lease.delivery_tag)

    @rule(name=names, arrives=st.booleans())
    def flush(self, name: str, arrives: bool = True) -> None:
        """Tell what is given back; `arrives`: at the successor too, of a producer that has died since the attach."""
        consumer = self.consumers.get(name)
        if consumer is not None and (consumer.finished or consumer.failed or consumer.has_skipped):
            message = consumer.flush()
            if consumer.heard_by == self.reader.producer_epoch:
                self.inbox.append(message)
            elif consumer.heard_by and arrives:  # a message; of the returns it reads only what comes after the attach
                self.inbox.append(message._replace(finished=()))

    @rule(name=names, is_noticed=st.booleans())
    def kill(self, name: str, is_noticed: bool) -> None:
        consumer = self.consumers.pop(name, None)
        if consumer is None:
            return
        self.risk(consumer)
        if consumer.working is not None and not consumer.is_holding:
            self.attempts[name_of(consumer.working)] += 1
        for lease in consumer.unheard if self.options.max_age_ns is not None else ():  # its word of them may be lost
            self.attempts[name_of(lease)] += self.options.max_deliveries if self.is_durable else 1
        self.dead[name] = consumer
        if is_noticed:
            self.notice_deaths()

    def risk(self, consumer: Consumer) -> None:
        replica = self.edge.replicas.get(consumer.session)
        self.at_risk |= set(replica.leases if replica is not None else ()) | set(consumer.held)

    @precondition(lambda self: not self.is_durable)
    @rule(name=names)
    def leave(self, name: str) -> None:
        consumer = self.consumers.get(name)
        if consumer is None or not consumer.is_let_in:
            return
        if consumer.working is not None:
            self.work(name, True)
        self.risk(consumer)
        del self.consumers[name]
        self.inbox.append(consumer.flush()._replace(is_last=True))
        self.dead[name] = consumer  # should its last words be lost: the kernel says that it is gone

    # -- what must hold ---------------------------------------------------------------------------------------------

    @invariant()
    def check(self) -> None:
        if not hasattr(self, "edge"):
            return
        edge, options = self.edge, self.options
        ledger = self.reader.ledger()
        assert ledger.unaccounted == 0, ledger
        assert ledger.offered == sum(edge.journal.seen_all().values())
        by_camera = sum((Counter(counts) for counts in ledger.dropped_by_camera.values()), Counter[str]())
        assert by_camera == Counter({reason: count for reason, count in ledger.dropped.items() if count}), ledger
        assert (ledger.queued, ledger.in_flight) == (edge.queued, edge.in_flight)
        held = edge.holds()
        places = [*edge._free, *(cell.index for cell in held)]
        assert sorted(places) == list(range(options.cells)), "a cell leaked or is used twice"
        frames = {(cell.key, cell.sequence) for cell in held}
        assert len(frames) == len(held), "a frame is held twice"
        assert not frames & self.gone, "a frame came back after it was settled"
        self.gone |= {(key, number) for key, seen in edge.journal.seen_all().items() for number in range(seen)} - frames
        edge.settled.clear()
        for key in STREAMS:
            lost = sum(ledger.dropped_by_camera.get(f"c{key}", {}).values())
            assert lost <= sum(frame[0] == key for frame in self.gone), "a drop was counted for another camera"
        assert edge.in_flight <= options.window_total
        for replica in edge.replicas.values():
            assert len(replica.leases) <= replica.window
        for consumer in self.consumers.values():
            if consumer.is_let_in:
                self.check_announced(consumer)
        for queue in edge.backlog._queues:
            assert sum(not cell.deliveries for cell in queue) <= options.mark
            assert [cell.ordinal for cell in queue] == sorted(cell.ordinal for cell in queue)
        allowed = {"too_old": options.max_age_ns is not None, "thinned": options.fps is not None}
        if options.when_full == "block":
            assert not any(count for reason, count in ledger.dropped.items() if not allowed.get(reason)), ledger.dropped
            unexplained = [frame for frame in self.gone if not self.is_explained(frame)]
            asked_for = ledger.dropped["too_old"] + ledger.dropped["thinned"]
            assert len(unexplained) <= asked_for, "a frame was lost"

    def check_announced(self, consumer: Consumer) -> None:
        """What a consumer that was let in has leased and not received is what it reads next, however far it reads."""
        replica = self.edge.replicas[consumer.session]
        announced_to = self.reader.last_tag(replica.entry)
        assert (consumer.entry, announced_to) == (replica.entry, replica.last_tag)
        last_tag = sorted(
            cell.delivery_tag for cell in replica.leases.values() if cell.delivery_tag > consumer.received
        )
        for last in range(consumer.received, announced_to + 1):
            leases = self.reader.leases(consumer.entry, consumer.session, consumer.received, last)
            assert [lease.delivery_tag for lease in leases] == [
                delivery_tag for delivery_tag in last_tag if delivery_tag <= last
            ], "a lease is hidden"

    def is_explained(self, frame: FrameName) -> bool:
        """Whether a frame that left a blocking edge was worked on, or has failed as often as it may."""
        return self.finished[frame] > 0 or self.attempts[frame] >= self.options.max_deliveries

    def acts(self, chance: random.Random) -> list[tuple[int, Callable[[], object]]]:
        """Return what else a random history has in it, with weights."""
        return []

    def teardown(self) -> None:
        """Everybody alive does the work that is left; then nothing may be."""
        if not hasattr(self, "edge"):
            return
        self.memory.stores_left = None
        for _ in range(200):
            self.time_passes(1)
            self.notice_deaths()
            for name in ("motion.0", "motion.1"):
                self.start(name)
                self.attach(name)
                self.be_welcomed(name)
                self.lease_queued()
                self.receive(name, 4)
                self.work(name, True)
                self.work(name, True)
                self.flush(name)
            while self.inbox:
                self.hear()
            self.check()
            if self.edge.is_empty:
                break
        ledger = self.reader.ledger()
        assert (ledger.queued, ledger.in_flight) == (0, 0), ledger
        assert len(self.edge._free) == self.options.cells


TestEdgeMachine = EdgeMachine.TestCase
TestEdgeMachine.settings = settings(stateful_step_count=50)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("room", [layout.ANNOUNCED_ROOM, 2])
@pytest.mark.parametrize("seed", SEEDS)
def test_long_histories_keep_every_frame_accounted_for(seed: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hypothesis makes short histories and shrinks them; these are long, cheap and not shrunk.

    With room for two leases in the ring where they are announced, consumers are often further behind than it reaches.
    """
    for module in (journals, journal_reader):
        monkeypatch.setattr(module, "ANNOUNCED_ROOM", room)
    assert len(announced_words(layout.ANNOUNCED_ROOM + 1)) == room, "compiled code took no notice"
    for number in range(settings().max_examples):
        chance = random.Random(1000 * seed + number)
        run_history(chance, 250, EdgeMachine())


def announced_words(last_tag: int) -> set[int]:
    """Return the words that a journal writes so many announcements into, beside their count."""
    memory = memoryview(new_memory(1, 8))
    journal, words, found = Journal(memory), memory.cast("Q"), set[int]()
    begin = layout.EDGE_WORD_ANNOUNCED + layout.ANNOUNCED_CELLS
    for delivery_tag in range(1, last_tag + 1):
        journal.announce(0, delivery_tag, delivery_tag)
        found |= {word for word in range(begin, begin + layout.ANNOUNCED_WORDS) if words[word] == delivery_tag}
    return found


def run_history(chance: random.Random, steps: int, machine: EdgeMachine, *, may_be_durable: bool = True) -> None:
    """Do `steps` random things with one edge, likelier ones more often, then drain it."""
    machine.begin(
        when_full=chance.choice(("drop-oldest", "drop-newest", "block", "block")),
        inputs=chance.randint(1, 2),
        mark=chance.randint(1, 4),
        window=chance.randint(1, 3),
        max_deliveries=chance.randint(1, 3),
        is_timed=chance.random() < 0.3,
        is_durable=may_be_durable and chance.random() < 0.3,
        is_aging=chance.random() < 0.3,
        is_thinned=chance.random() < 0.3,
        is_retried=chance.random() < 0.3,
        batch=chance.choice((1, 1, 2, 3)),
    )

    def name() -> str:
        return chance.choice(("motion.0", "motion.1"))

    acts: list[tuple[int, Callable[[], object]]] = [
        (8, lambda: machine.offer(chance.randrange(3), count=chance.randint(1, 4), is_at_once=chance.random() < 0.5)),
        (1, machine.offer_again_what_is_known),
        (10, machine.lease_queued),
        (10, machine.hear),
        (4, machine.notice_deaths),
        (1, lambda: machine.time_passes(span_ns=chance.choice((1, 40, TIMEOUT_NS + 1)))),
        (chance.choice((0, 2)), lambda: machine.let_the_producer_die_soon(stores=chance.randrange(40))),
        (chance.choice((0, 2)), lambda: machine.producer_dies_between_two_acts(is_heard=chance.random() < 0.5)),
        (8, lambda: machine.start(name(), is_prompt=chance.random() < 0.5)),
        (8, lambda: machine.attach(name(), is_prompt=chance.random() < 0.5)),
        (8, lambda: machine.be_welcomed(name())),
        (14, lambda: machine.receive(name(), count=chance.randint(1, 3))),
        (24, lambda: machine.work(name(), is_good=chance.random() < 0.8, arrives=chance.random() < 0.5)),
        (10, lambda: machine.flush(name(), arrives=chance.random() < 0.5)),
        (3, lambda: machine.kill(name(), is_noticed=chance.random() < 0.5)),
        (1, lambda: machine.is_durable or machine.leave(name())),
        *machine.acts(chance),
    ]
    for act in chance.choices([act for _, act in acts], [weight for weight, _ in acts], k=steps):
        act()
        machine.check()
    machine.teardown()
