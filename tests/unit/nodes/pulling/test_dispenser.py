"""What is out at clients: at least once, repeats marked, each lease ended once."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from detektr.nodes.pulling.dispenser import SETTLED_MAX, Dispenser
from detektr.options import PULL_DELIVERIES


def source(*items: int) -> Callable[[], int | None]:
    rest = list(items)
    return lambda: rest.pop(0) if rest else None


def test_the_window_caps_what_is_given_and_an_ack_frees_it() -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 2)
    fresh = source(1, 2, 3)
    first = dispenser.give(10, 100, fresh)
    assert [one.item for one in first] == [1, 2] and dispenser.free == 0
    assert dispenser.give(10, 100, fresh) == []
    assert dispenser.ack(first[0].lease) == ("acked", 1)
    assert [one.item for one in dispenser.give(10, 100, fresh)] == [3]


def test_a_second_ack_says_so_and_a_strange_one_is_unknown() -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 2)
    [one] = dispenser.give(1, 100, source(1))
    assert dispenser.ack(one.lease)[0] == "acked"
    assert dispenser.ack(one.lease) == ("already", None)
    assert dispenser.ack("b.0-1") == ("unknown", None)
    assert dispenser.extend("b.0-1", 5) == "unknown"


def test_an_expired_lease_gives_its_frame_out_again_marked() -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 4)
    first, second = dispenser.give(2, 100, source(1, 2))
    assert dispenser.extend(second.lease, 300) == "acked" and dispenser.due_ns() == 100
    assert dispenser.expire(99) == ([], []) and dispenser.expire(100) == ([first], [])
    assert dispenser.ack(first.lease) == ("expired", None)
    [again] = dispenser.give(1, 400, source(3))
    assert (again.item, again.delivery) == (1, 2) and again.lease != first.lease
    assert dispenser.ack(again.lease) == ("acked", 1)


def test_what_failed_often_enough_is_given_up() -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 4)
    fresh = source(1)
    for delivery in range(1, PULL_DELIVERIES):
        [one] = dispenser.give(1, 100, fresh)
        assert one.delivery == delivery and dispenser.fail(one.lease) == ("acked", None)
    [last] = dispenser.give(1, 100, fresh)
    assert dispenser.fail(last.lease) == ("acked", 1) and dispenser.is_empty


def test_what_never_reached_its_client_is_no_delivery() -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 4)
    given = dispenser.give(3, 100, source(1, 2, 3))
    assert dispenser.undo([one.lease for one in given]) == given[::-1]
    assert [(one.item, one.delivery) for one in dispenser.give(3, 100, source())] == [(1, 1), (2, 1), (3, 1)]


def test_what_is_not_ours_any_more_is_neither_acked_nor_given_again() -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 4)
    first, second = dispenser.give(2, 100, source(1, 2))
    dispenser.fail(second.lease)
    dispenser.drop(lambda item: True)
    assert dispenser.ack(first.lease) == ("expired", None)
    assert dispenser.is_empty and dispenser.give(4, 100, source()) == []


@pytest.mark.parametrize("count", [SETTLED_MAX + 5])
def test_the_memory_of_ended_leases_is_bounded(count: int) -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 1)
    leases = []
    for number in range(count):
        [one] = dispenser.give(1, 100, source(number))
        leases.append(one.lease)
        dispenser.ack(one.lease)
    assert dispenser.ack(leases[0])[0] == "unknown" and dispenser.ack(leases[-1])[0] == "already"


@over(st.lists(st.tuples(st.sampled_from(["give", "ack", "fail", "expire", "undo"]), st.integers(0, 5)), max_size=60))
def test_each_frame_is_settled_at_most_once_and_none_is_forgotten(acts: list[tuple[str, int]]) -> None:
    dispenser: Dispenser[int] = Dispenser("b.1", 3)
    fresh, out, done = source(*range(20)), list[str](), list[int]()
    seen: set[int] = set()
    for now_ns, (act, number) in enumerate(acts):
        if act == "give":
            new = dispenser.give(number, now_ns + 10, fresh)
            out += [one.lease for one in new]
            seen |= {one.item for one in new}
        elif act == "expire":
            done += dispenser.expire(now_ns)[1]
        elif out and act == "undo":
            dispenser.undo([out[number % len(out)]])
        elif out:
            item = (dispenser.ack if act == "ack" else dispenser.fail)(out[number % len(out)])[1]
            done += [] if item is None else [item]
        assert 0 <= dispenser.free <= 3
    left = dispenser.clear()
    assert sorted(done + left) == sorted(seen), "lost, or settled twice"
