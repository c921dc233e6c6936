"""A journal whose writer dies at any store: each change is done or not begun, to its successor and every reader."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.journal import Journal
from detektr.nodes.edge import Edge
from detektr.nodes.lease import Claim
from detektr.nodes.terms import EdgeOptions
from detektr.testing.dying_memory import Died, DyingMemory
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
    before = {word: journal[word] for word in change}
    memory.stores_left = lives[0]
    is_done = dies(lambda: journal.apply([number for pair in change.items() for number in pair])) is False
    for stores in lives[1:]:  # whoever recovers may die of it too
        memory.stores_left = stores
        dies(lambda: Journal(memory.view))
    memory.stores_left = None
    after = Journal(memory.view)
    found = {word: after[word] for word in change}
    assert found == change if is_done else found in (before, change)
    assert after[layout.EDGE_WORD_CHANGE] % 2 == 0
    assert after[layout.EDGE_WORD_REDO_COUNT] == 0


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
HELD = frozenset({(1, 3), (1, 4)})


def offer(edge: Edge) -> object:
    return edge.offer(0, 1, edge.journal.seen(1), 1, b"announcement")


ACTS: dict[str, Callable[[Edge], object]] = {
    "offer with room": lambda edge: edge.grant(5) and offer(edge),
    "offer at the mark": offer,
    "offer of a new stream": lambda edge: edge.offer(0, 2, 0, 1, b""),
    "count of dropped ones": lambda edge: edge.count_dropped(1, 20, 10, "ring_full"),
    "grant": lambda edge: edge.grant(5),
    "finish": lambda edge: edge.finish(7, [(1, 0, 0), (1, 1, 0), (1, 9, 0)], 5),
    "fail": lambda edge: edge.fail(7, 1, 0, "raised"),
    "last failure": lambda edge: edge.fail(7, 1, 1, "raised"),
    "overwritten": lambda edge: edge.fail(7, 1, 0, "overwritten"),
    "time over": lambda edge: edge.expire(100),
    "burial": lambda edge: edge.bury(7, (2, 1)),
    "leaving": lambda edge: edge.detach(7),
    "attaching again": lambda edge: attach(edge, 7, Claim(received=1, held=frozenset({(1, 1)}))),
    "a successor": lambda edge: attach(edge, 8, Claim(previous=(7, 2, 1))),
    "the end of a drain": lambda edge: edge.drop_all("stopped"),
}


def attach(edge: Edge, session: int, claim: Claim) -> bool:
    return edge.attach(session, "motion.0", 2, claim, is_durable=False, now_ns=1)


def new_edge() -> tuple[DyingMemory, Edge]:
    """Return an edge with two leases (one of them on its last attempt) and a full queue."""
    memory = DyingMemory(new_memory(OPTIONS.cells, OPTIONS.payload_bytes))
    edge = Edge("motion", OPTIONS, Journal(memory.view))
    attach(edge, 7, Claim())
    offer(edge)
    offer(edge)
    edge.grant(1)
    edge.fail(7, 1, 1, "raised")
    edge.grant(1)
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
    return ledger.offered, ledger.delivered, dict(ledger.dropped), ledger.dead_lettered, ledger.queued, ledger.in_flight


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
