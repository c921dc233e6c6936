"""A journal whose writer dies at any store: each change is done or not begun, to its successor and every reader."""

from __future__ import annotations

from collections.abc import Callable

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.relay.any_order import AnyOrderEdge
from detektr.edge.state.lease import SessionState
from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.announcement import Announcement, Lease
from detektr.memory.completion_queue import PASSED_ON
from detektr.memory.journal import Journal
from detektr.memory.journal_reader import JournalReader
from detektr.memory.tombstone_journal import NamedJournal
from detektr.results import pass_on
from detektr.wire.message import FailureKind
from tests.harness.dying_memory import Died, DyingMemory
from tests.property.journal_bytes import new_memory, read_journal

CELLS = 8
words = st.integers(layout.EDGE_WORD_OFFERED, layout.EDGE_WORD_SEEN - 1)
values = st.integers(0, (1 << 64) - 1)


@given(
    change=st.dictionaries(words, values, min_size=1, max_size=layout.EDGE_REDO_PAIRS_MAX),
    lives=st.lists(st.integers(0, 60), min_size=1, max_size=3),
)
def test_a_change_of_several_words_is_done_or_not_begun(change: dict[int, int], lives: list[int]) -> None:
    memory = DyingMemory(new_memory(CELLS, 8))
    journal = Journal(memory.view)
    before = {word: journal._words[word] for word in change}
    memory.stores_left = lives[0]
    is_done = dies(lambda: journal.apply([number for pair in change.items() for number in pair])) is False
    for stores in lives[1:]:  # whoever recovers may die of it too
        memory.stores_left = stores
        dies(lambda: Journal(memory.view))
    memory.stores_left = None
    after = Journal(memory.view)
    found = {word: after._words[word] for word in change}
    assert found == change if is_done else found in (before, change)
    assert after._words[layout.EDGE_WORD_CHANGE] % 2 == 0
    assert after._words[layout.EDGE_WORD_REDO_COUNT] == 0


def dies(act: Callable[[], object]) -> bool:
    """Do it; say whether the writer died of it."""
    try:
        act()
    except Died:
        return True
    return False


OPTIONS = EdgeOptions(
    mark=4, low=3, when_full="drop-oldest", window_total=4, payload_bytes=24, max_deliveries=2, timeout_ns=10
)
DOOR: bytes = msgpack.packb({"camera": "door"})
YARD: bytes = msgpack.packb({"camera": "yard", "frame": "1"})
HELD = frozenset({(1, 3), (1, 4)})


def offer(edge: Edge) -> object:
    return edge.offer(0, Announcement(1, edge.journal.seen(1), 1, DOOR))


def lease_and_offer(edge: Edge) -> object:
    edge.lease_queued(5)
    return offer(edge)


def offer_at_once(edge: Edge) -> None:
    """Offer to an edge that has nothing to do."""
    edge.drop_all("stopped")
    edge.offer(0, Announcement(1, edge.journal.seen(1), 1, DOOR), 5)
    assert edge.in_flight == 1


ACTS: dict[str, Callable[[Edge], object]] = {
    "offer with room": lease_and_offer,
    "offer at the mark": offer,
    "offer leased at once": lambda edge: offer_at_once(edge),
    "offer of a new stream": lambda edge: edge.offer(0, Announcement(2, 0, 1, b"")),
    "count of dropped ones": lambda edge: edge.count_dropped(1, 20, 10, "ring_full"),
    "count of a camera's first drop": lambda edge: edge.count_dropped(1, 20, 10, "filtered", YARD),
    "grant": lambda edge: edge.lease_queued(5),
    "finish": lambda edge: edge.finish(7, [(1, 0, 0), (1, 1, 0), (1, 9, 0)], 5),
    "fail": lambda edge: edge.fail(7, (1, 0, FailureKind.RETRYABLE, "raised")),
    "last failure": lambda edge: edge.fail(7, (1, 1, FailureKind.RETRYABLE, "raised")),
    "overwritten": lambda edge: edge.fail(7, (1, 0, FailureKind.OVERWRITTEN, "overwritten")),
    "time over": lambda edge: edge.expire(100),
    "burial": lambda edge: edge.evict(7, (2, 1, 0)),
    "leaving": lambda edge: edge.detach(7),
    "attaching again": lambda edge: attach(edge, 7, SessionState(received=1, held=frozenset({(1, 1)}))),
    "a successor": lambda edge: attach(edge, 8, SessionState(previous=(7, 2, 1, 0))),
    "the end of a drain": lambda edge: edge.drop_all("stopped"),
}


def attach(edge: Edge, session: int, state: SessionState) -> bool:
    return edge.attach(session, "motion.0", 2, state, is_durable=False, now_ns=1)


def new_edge() -> tuple[DyingMemory, Edge]:
    """Return an edge with two leases (one of them on its last attempt) and a full queue."""
    memory = DyingMemory(new_memory(OPTIONS.cells, OPTIONS.payload_bytes))
    edge = Edge("motion", OPTIONS, Journal(memory.view))
    attach(edge, 7, SessionState())
    offer(edge)
    offer(edge)
    edge.lease_queued(1)
    edge.fail(7, (1, 1, FailureKind.RETRYABLE, "raised"))
    edge.lease_queued(1)
    for _ in range(4):
        offer(edge)
    return memory, edge


@pytest.mark.parametrize("name", ACTS)
def test_at_every_store_each_frame_stands_in_one_term(name: str) -> None:
    act = ACTS[name]
    memory, edge = new_edge()
    begun = memory.stores
    act(edge)
    stores = memory.stores - begun
    last = read_journal(memory.memory).ledger()
    for left in range(stores + 1):
        memory, edge = new_edge()
        memory.stores_left = left
        assert dies(lambda: act(edge)) is (left < stores)  # noqa: B023
        reader = read_journal(memory.memory)
        stopped = reader.ledger()
        assert stopped.unaccounted == 0, f"{left} of {stores} stores: {stopped}"
        memory.stores_left = None
        adopted = Edge("motion", OPTIONS, Journal(memory.view))
        found = reader.ledger()
        assert found.unaccounted == 0, f"{left} of {stores} stores: {found}"
        assert terms(found) == terms(stopped), "a reader and the successor count differently"
        assert (adopted.queued, adopted.in_flight) == (found.queued, found.in_flight)
        assert len({(cell.key, cell.sequence) for cell in adopted.holds()}) == found.queued + found.in_flight
    assert terms(found) == terms(last)


def terms(ledger: EdgeLedger) -> tuple[object, ...]:
    """Return what the sum is made of."""
    assert min(unknown(ledger).values()) >= 0, "a camera has lost more frames than all have"
    cameras = {camera: counts for camera, counts in ledger.dropped_by_camera.items() if counts}
    held = ledger.queued, ledger.in_flight
    return ledger.offered, ledger.delivered, dict(ledger.dropped), cameras, ledger.dead_lettered, held


def unknown(ledger: EdgeLedger) -> dict[str, int]:
    """Return the drops whose camera is not known."""
    known = ledger.dropped_by_camera.values()
    return {reason: n - sum(counts.get(reason, 0) for counts in known) for reason, n in ledger.dropped.items()}


# -- what a consumer reads of a grant


class WatchedMemory(DyingMemory):
    """A memory whose reader looks before each store of its writer."""

    look: Callable[[], object] | None = None

    def spend(self) -> bool:
        if self.look is not None:
            self.look()
        return super().spend()


class Holder:
    """A replica that reads what it is granted, and holds all of it."""

    def __init__(self, reader: JournalReader, session: int) -> None:
        self.reader, self.session = reader, session
        self.held: list[Lease] = []
        self.entry = self.received = 0

    def attach(self, edge: Edge) -> None:
        """Attach, or attach again, and read on from where the producer says."""
        state = SessionState(received=self.received, held=frozenset((lease.key, lease.sequence) for lease in self.held))
        assert edge.attach(self.session, "motion.0", 4, state, is_durable=False, now_ns=1)
        entry = self.reader.entry_of(self.session)
        assert entry is not None
        self.entry, self.received = entry, self.reader.tag_before(entry)

    def receive(self) -> None:
        last = self.reader.last_tag(self.entry)
        found = self.reader.leases(self.entry, self.session, self.received, last)
        assert [lease.delivery_tag for lease in found] == list(range(self.received + 1, last + 1)), "one was skipped"
        self.held += found
        self.received = last

    def finish(self, edge: Edge, count: int) -> None:
        """Give the oldest leases back."""
        done, self.held = self.held[:count], self.held[count:]
        edge.finish(self.session, [(lease.key, lease.sequence, lease.delivery_tag) for lease in done], 1)


def bring(edge: Edge, count: int, *, is_at_once: bool) -> None:
    """Offer so many frames and lease them: one after the other as they come, or from the queue."""
    for _ in range(count):
        edge.offer(0, Announcement(1, edge.journal.seen(1), 1, DOOR), 5 if is_at_once else 0)
    edge.lease_queued(5)


def new_holder(memory: DyingMemory) -> tuple[Edge, Holder]:
    edge = Edge("motion", OPTIONS, Journal(memory.view))
    holder = Holder(read_journal(memory.memory), 7)
    holder.attach(edge)
    return edge, holder


@pytest.mark.parametrize("is_at_once", [False, True])
def test_a_consumer_that_looks_between_any_two_stores_receives_every_lease_once_and_in_order(is_at_once: bool) -> None:
    memory = WatchedMemory(new_memory(OPTIONS.cells, OPTIONS.payload_bytes))
    edge, holder = new_holder(memory)
    memory.look = holder.receive
    received: list[Lease] = []
    for count in (1, 3, 4, 2, 1, 4):
        bring(edge, count, is_at_once=is_at_once)
        holder.receive()
        received += holder.held
        holder.finish(edge, count)
    assert holder.held == []
    assert [lease.sequence for lease in received] == list(range(15))
    assert all(lease.payload == DOOR for lease in received)


@pytest.mark.parametrize("is_at_once", [False, True])
def test_leasing_cut_short_at_any_store_was_received_up_to_there_and_the_rest_comes_again(is_at_once: bool) -> None:
    def begin() -> tuple[DyingMemory, Edge, Holder]:
        memory = DyingMemory(new_memory(OPTIONS.cells, OPTIONS.payload_bytes))
        return memory, *new_holder(memory)

    memory, edge, _ = begin()
    before = memory.stores
    bring(edge, 4, is_at_once=is_at_once)
    stores = memory.stores - before
    seen_before_the_end = set()
    for left in range(stores + 1):
        memory, edge, holder = begin()
        memory.stores_left = left
        assert dies(lambda: bring(edge, 4, is_at_once=is_at_once)) is (left < stores)  # noqa: B023
        memory.stores_left = None
        holder.receive()
        seen_before_the_end.add(len(holder.held))
        adopted = Edge("motion", OPTIONS, Journal(memory.view))
        holder.receive()  # it has not noticed yet
        holder.attach(adopted)
        holder.receive()
        adopted.lease_queued(5)  # what comes again, first
        bring(adopted, 4 - adopted.journal.seen(1), is_at_once=is_at_once)
        holder.receive()
        assert [lease.sequence for lease in holder.held] == [0, 1, 2, 3], f"{left} of {stores} stores"
        holder.finish(adopted, 4)
        assert (adopted.is_empty, holder.reader.ledger().delivered) == (True, 4)
    assert seen_before_the_end == {0, 1, 2, 3, 4}


def test_an_attach_cut_short_at_any_store_leaves_nothing_to_be_read_before_the_next_one() -> None:
    def begin() -> tuple[DyingMemory, Edge, Holder]:
        memory = DyingMemory(new_memory(OPTIONS.cells, OPTIONS.payload_bytes))
        edge, before = new_holder(memory)
        bring(edge, 2, is_at_once=False)
        before.receive()
        return memory, edge, Holder(before.reader, 8)

    memory, edge, holder = begin()
    stores_before = memory.stores
    holder.attach(edge)
    stores = memory.stores - stores_before
    for left in range(stores + 1):
        memory, edge, holder = begin()
        memory.stores_left = left
        assert dies(lambda: holder.attach(edge)) is (left < stores)  # noqa: B023
        memory.stores_left = None
        adopted = Edge("motion", OPTIONS, Journal(memory.view))
        holder.attach(adopted)
        holder.receive()
        assert holder.held == []
        adopted.lease_queued(1)
        holder.receive()
        assert [(lease.sequence, lease.delivery) for lease in holder.held] == [(0, 2), (1, 2)]
        assert adopted.in_flight == 2


def test_a_stream_that_took_another_ones_place_when_its_writer_died_does_not_take_a_third_ones() -> None:
    memory = DyingMemory(new_memory(CELLS, 8))
    journal = Journal(memory.view)
    for key in range(1, layout.EDGE_SEEN_MAX + 1):
        journal.apply((journal.seen_word(key), key, layout.EDGE_WORD_OFFERED, key))
    journal.seen_word(1000)  # takes the oldest one's place; its writer dies before the count is there
    successor = Journal(memory.view)
    word = successor.seen_word(2000)
    successor.apply((word, 5, layout.EDGE_WORD_OFFERED, 1))
    assert successor.seen_all() == {2000: 5, **{key: key for key in range(2, layout.EDGE_SEEN_MAX + 1)}}


NAMED = EdgeOptions(
    mark=3,
    low=2,
    when_full="drop-oldest",
    window_total=3,
    payload_bytes=96,
    max_deliveries=2,
    passed_max=1,
    relays_to=("track",),
    tombstones=6,
    only_results=True,
)
BASE = b"\xde\x00\x01" + msgpack.packb("camera") + msgpack.packb("door")
FULL = pass_on(BASE, b"", "detect", b"\x91\x81\xa1a\x01", 1)
EMPTY = pass_on(BASE, b"", "detect", b"\x90", 1)


def offer_by_name(edge: AnyOrderEdge, sequence: int, payload: bytes = FULL, now_ns: int = 0) -> object:
    return edge.offer(0, Announcement(1, sequence, 1, payload), now_ns)


def each(*acts: Callable[[], object]) -> None:
    for act in acts:
        act()


NAMED_ACTS: dict[str, Callable[[AnyOrderEdge], object]] = {
    "offer out of order": lambda edge: offer_by_name(edge, 3),
    "offer at the mark": lambda edge: (offer_by_name(edge, 3), offer_by_name(edge, 2), offer_by_name(edge, 1)),
    "offer of a known one": lambda edge: offer_by_name(edge, 20),
    "offer of a settled one": lambda edge: offer_by_name(edge, 10),
    "offer leased at once": lambda edge: each(
        lambda: edge.drop_all("stopped"), lambda: offer_by_name(edge, 4, FULL, 5)
    ),
    "offer without results": lambda edge: offer_by_name(edge, 5, EMPTY),
    "finish": lambda edge: edge.finish(7, [(1, 8, 0)], 5),
    "passed on, then finished": lambda edge: edge.finish(7, [(1, 8, PASSED_ON), (1, 8, 0)], 5),
    "last failure": lambda edge: edge.fail(7, (1, 8, FailureKind.PERMANENT, "raised")),
    "forgetting": lambda edge: each(lambda: edge.forget((1, 10)), lambda: edge.forget((1, 11))),
    "burial of a relay": lambda edge: edge.evict(7, (3, 0, 0), {(1, 8)}, {(1, 9)}),
    "letting go": lambda edge: each(
        lambda: edge.evict(7, (3, 0, 0), {(1, 8)}, {(1, 9)}), lambda: edge.let_go("motion.0")
    ),
    "a successor": lambda edge: attach(
        edge, 8, SessionState(previous=(7, 2, 0, 0), held=frozenset({(1, 8)}), done=frozenset({(1, 9)}))
    ),
    "giving up": lambda edge: each(edge.give_up, lambda: offer_by_name(edge, 6)),
}


def new_named_edge() -> tuple[DyingMemory, AnyOrderEdge]:
    """Return an edge with two tombstones, two leases and a queued frame, offered from the last to the first."""
    memory = DyingMemory(new_memory(NAMED.cells, NAMED.payload_bytes))
    edge = AnyOrderEdge("motion", NAMED, NamedJournal(memory.view))
    attach(edge, 7, SessionState())
    for sequence in (11, 10):
        offer_by_name(edge, sequence)
    edge.lease_queued(1)
    edge.finish(7, [(1, 11, 0), (1, 10, 0)], 1)
    for sequence in (9, 8):
        offer_by_name(edge, sequence)
    edge.lease_queued(1)
    offer_by_name(edge, 20)
    return memory, edge


@pytest.mark.parametrize("name", NAMED_ACTS)
def test_at_every_store_each_frame_known_by_name_stands_in_one_term(name: str) -> None:
    act = NAMED_ACTS[name]
    memory, edge = new_named_edge()
    begun, known = memory.stores, set(edge._known)
    act(edge)
    stores = memory.stores - begun
    for left in range(stores + 1):
        memory, edge = new_named_edge()
        memory.stores_left = left
        assert dies(lambda: act(edge)) is (left < stores)  # noqa: B023
        reader = read_journal(memory.memory)
        stopped, names = reader.ledger(), reader.names()
        assert stopped.unaccounted == 0, f"{left} of {stores} stores: {stopped}"
        assert not any(unknown(stopped).values()), "a drop is counted, and not for its camera"
        assert not names[0] & names[1], "a frame is held and settled"
        memory.stores_left = None
        adopted = AnyOrderEdge("motion", NAMED, NamedJournal(memory.view))
        assert terms(reader.ledger()) == terms(stopped), "a reader and the successor count differently"
        assert reader.names() == names, "a producer that looks and the successor see different names"
        assert set(adopted.tombstones) == names[1] and {cell.name for cell in adopted.holds()} == names[0]
        assert adopted._known == names[0] | names[1]
        assert known <= adopted._known or name == "forgetting"
        places = [*adopted._free, *(cell.index for cell in (*adopted.holds(), *adopted.tombstones.values()))]
        assert sorted(places) == list(range(NAMED.cells)), "a cell leaked or is used twice"
