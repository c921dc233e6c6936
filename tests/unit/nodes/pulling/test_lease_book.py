"""What is out at clients is the same to a successor as to the process that gave it out, after each act."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from detektr.memory.pull_table import BACK, DEAD, DONE, OUT, PullTable
from detektr.nodes.pulling.lease_book import LeaseBook, PulledFrame

WINDOW, DELIVERIES = 4, 3


def source(*numbers: int) -> Callable[[], PulledFrame | None]:
    rest = [(0, 1, number) for number in numbers]
    return lambda: rest.pop(0) if rest else None


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pull.0.pull"


def opened(path: Path) -> LeaseBook:
    return LeaseBook("pull", PullTable(path, WINDOW), WINDOW, DELIVERIES)


@pytest.fixture
def book(path: Path) -> Iterator[LeaseBook]:
    book = opened(path)
    yield book
    book.close(unlink=True)


def states(book: LeaseBook) -> dict[int, set[tuple[int, int]]]:
    return {state: book.names(0, (state,)) for state in (OUT, BACK, DONE, DEAD)}


def test_a_successor_takes_the_ack_of_what_a_killed_one_gave_out(book: LeaseBook, path: Path) -> None:
    first, second = book.give(2, 100, source(1, 2), 55)
    successor = opened(path)
    assert [one.lease for one in successor.given_for(55)] == [first.lease, second.lease]
    assert successor.ack(first.lease) == ("acked", (0, 1, 1)) and successor.ack(first.lease) == ("already", None)
    assert states(successor) == {OUT: {(1, 2)}, BACK: set(), DONE: {(1, 1)}, DEAD: set()}
    third = opened(path)  # the producer has not heard of the ack, and this one says so when it attaches
    assert third.names(0, (DONE,)) == {(1, 1)} and third.ack(first.lease) == ("already", None)
    third.forget([(0, 1, 1)])
    assert third.ack(first.lease) == ("already", None) and states(third)[DONE] == set()
    for one in (successor, third):
        one.close(unlink=False)


def test_a_deadline_and_the_count_of_deliveries_outlive_the_process(book: LeaseBook, path: Path) -> None:
    [one] = book.give(1, 100, source(1), 1)
    for delivery in range(2, DELIVERIES + 1):
        successor = opened(path)
        assert successor.due_ns() == 100 and successor.expire(99) == ([], [])
        assert [late.lease for late in successor.expire(100)[0]] == [one.lease]
        other = opened(path)
        assert other.waiting == 1 and other.ack(one.lease) == ("expired", None)
        [again] = other.give(1, 100, source(), delivery)
        assert again.delivery == delivery and again.lease != one.lease
        one = again
        successor.close(unlink=False)
        other.close(unlink=False)
    last = opened(path)
    assert last.expire(100)[1] == [(0, 1, 1)], "given up after so many deliveries"
    assert opened(path).names(0, (DEAD,)) == {(1, 1)}
    last.close(unlink=False)


def test_names_of_leases_are_never_used_again(book: LeaseBook, path: Path) -> None:
    leases = set[str]()
    for number in range(20):
        one = opened(path)
        [given] = one.give(1, 100, source(number), number + 1)
        leases.add(given.lease)
        one.ack(given.lease)
        one.forget([given.item])
        one.close(unlink=False)
    assert len(leases) == 20


def test_rows_of_an_input_that_is_no_more_are_let_go_of(book: LeaseBook, path: Path) -> None:
    book.give(2, 100, source(1, 2), 1)
    none = LeaseBook("pull", PullTable(path, WINDOW), WINDOW, DELIVERIES, inputs=0)
    assert none.due_ns() is None and none.has_free_row and not list(PullTable(path, WINDOW).rows())
    none.close(unlink=False)


def test_no_more_is_given_than_the_table_has_rows_for(book: LeaseBook) -> None:
    given = book.give(10, 100, source(*range(10)), 1)
    assert (len(given), book.has_room) == (WINDOW, False)
    book.ack(given[0].lease)
    rooms = book.has_room, book.has_free_row, book.give(1, 100, source(11), 2)
    assert rooms == (True, False, [])
    book.forget([given[0].item])  # its producer has heard
    assert [one.item for one in book.give(1, 100, source(11), 3)] == [(0, 1, 11)]


acts = st.tuples(
    st.sampled_from(["give", "ack", "fail", "expire", "undo", "extend", "forget", "kill"]), st.integers(0, 5)
)


@over(st.lists(acts, max_size=40))
def test_a_successor_knows_what_the_killed_process_knew_after_each_act(done: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pull.0.pull"
        book, fresh, leases = opened(path), source(*range(100)), list[str]()
        for now_ns, (act, number) in enumerate(done):
            lease = leases[number % len(leases)] if leases else "pull.0-0"
            if act == "give":
                leases += [one.lease for one in book.give(number, now_ns + 10, fresh, now_ns + 1)]
            elif act == "expire":
                book.expire(now_ns)
            elif act == "extend":
                book.extend(lease, now_ns + 20)
            elif act == "undo":
                book.undo([lease])
            elif act == "forget":
                book.forget([(0, *name) for name in book.names(0, (DONE, DEAD))])
            elif act != "kill":
                (book.ack if act == "ack" else book.fail)(lease)
            successor = opened(path)
            assert states(successor) == states(book) and successor.waiting == book.waiting
            assert successor.due_ns() == book.due_ns() and successor.has_room == book.has_room
            assert [successor.get(one) for one in leases] == [book.get(one) for one in leases]
            if act == "kill":
                book.close(unlink=False)
                book = successor
            else:
                successor.close(unlink=False)
        book.close(unlink=True)
