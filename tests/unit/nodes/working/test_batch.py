"""When a batch begins, and how one that failed is split until what fails is found alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detektr.nodes.working.batch import ANSWER_NS, NEVER_NS, BatchGate, PartQueue, Supply

WAIT_NS = 20_000_000


@pytest.mark.parametrize(
    ("waiting", "supply", "is_repeated", "due_ns"),
    [
        (0, Supply.OPEN, False, NEVER_NS),
        (8, Supply.OPEN, False, 100),
        (9, Supply.OPEN, False, 100),
        (3, Supply.NONE, False, 100),
        (3, Supply.OPEN, True, 100),
        (3, Supply.OPEN, False, 100 + WAIT_NS),
        (3, Supply.STUCK, False, 100 + ANSWER_NS),
    ],
)
def test_a_batch_begins_when_it_is_full_or_has_waited_or_nobody_could_add_to_it(
    waiting: int, supply: Supply, is_repeated: bool, due_ns: int
) -> None:
    assert BatchGate(8, WAIT_NS).due_ns(waiting, supply, 100, is_repeated=is_repeated) == due_ns


def test_the_wait_counts_from_the_first_frame_and_anew_for_what_a_batch_has_left() -> None:
    gate = BatchGate(8, WAIT_NS)
    assert gate.due_ns(1, Supply.OPEN, 100) == 100 + WAIT_NS
    assert gate.due_ns(5, Supply.OPEN, 900) == 100 + WAIT_NS, "more frames do not make the first one wait longer"
    gate.begin(2, 1000)
    assert gate.due_ns(2, Supply.OPEN, 5000) == 1000 + WAIT_NS
    gate.begin(0, 6000)
    assert gate.due_ns(1, Supply.OPEN, 9000) == 9000 + WAIT_NS


def test_without_a_wait_whatever_is_there_is_a_batch() -> None:
    assert BatchGate(8, 0).due_ns(1, Supply.OPEN, 100) == 100


@given(count=st.integers(1, 64), poison=st.sets(st.integers(0, 63)))
def test_exactly_the_items_that_fail_are_found_and_all_items_are_done_in_order(count: int, poison: set[int]) -> None:
    """Work on a batch as the node does: a part with poison in it fails, one item alone has failed for good."""
    parts: PartQueue[int] = PartQueue()
    parts.add(list(range(count)))
    done, failed, calls = list[int](), list[int](), 0
    while part := parts.take():
        calls += 1
        is_poisoned = bool(poison & set(part))
        assert part == list(range(part[0], part[-1] + 1)), "a part is a piece of the batch"
        assert part[0] == len(done) + len(failed), "all before it are done"
        if not is_poisoned:
            done += part
        elif len(part) == 1:
            failed += part
        else:
            parts.split(part)
    assert failed == sorted(poison & set(range(count)))
    assert done == sorted(set(range(count)) - poison)
    guilty = len(failed)
    assert calls <= 1 + 2 * guilty * math.ceil(math.log2(count)) if count > 1 else calls == 1
    assert len(parts) == 0


def test_one_item_cannot_be_split_and_parts_can_be_forgotten() -> None:
    parts: PartQueue[int] = PartQueue()
    with pytest.raises(AssertionError, match="a part of 1 items cannot be split"):
        parts.split([1])
    parts.add([1, 2])
    parts.clear()
    assert parts.take() == []
