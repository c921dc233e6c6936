from __future__ import annotations

from detektr.edge.gathering.order import STREAMS_MAX, Order

DOOR, YARD = 1, 2


class Above:
    """What may still come, as the journals above would say; and what was asked of them."""

    def __init__(self, **open_: set[int]) -> None:
        self.open: dict[int, set[int]] = {DOOR: open_.get("door", set()), YARD: open_.get("yard", set())}
        self.asked: list[tuple[int, int, int]] = []

    def pending(self, key: int, first: int, last: int) -> set[int]:
        self.asked.append((key, first, last))
        return {sequence for sequence in self.open.get(key, set()) if first <= sequence < last}


def held(order: Order[str], *sequences: int, key: int = DOOR) -> None:
    for sequence in sequences:
        order.hold((key, sequence), f"{key}.{sequence}")


def begun(order: Order[str]) -> list[int]:
    """Begin whatever may begin, until nothing may; returns the sequences."""
    found = []
    while ready := order.ready():
        for name, item in ready:
            assert item == f"{name[0]}.{name[1]}"
            order.begun(name)
            found.append(name[1])
    return found


def test_what_came_in_another_order_begins_in_its_own() -> None:
    order: Order[str] = Order(Above().pending)
    held(order, 3, 1, 0, 2)
    assert begun(order) == [0, 1, 2, 3]
    assert not order.is_holding


def test_a_frame_waits_as_long_as_an_earlier_one_may_come_and_no_longer() -> None:
    above = Above(door={4, 6})
    order: Order[str] = Order(above.pending)
    held(order, 5, 7)
    assert begun(order) == [] and order.is_holding
    above.open[DOOR] = {6, 5, 7}  # 4 will not come; what is held here is live above too, and keeps nobody waiting
    assert begun(order) == [5]
    above.open[DOOR] = {7}
    assert begun(order) == [7]


def test_one_frame_of_each_stream_is_out_at_a_time() -> None:
    order: Order[str] = Order(Above().pending)
    held(order, 0, 1)
    held(order, 8, 9, key=YARD)
    assert [name for name, _ in order.ready()] == [(DOOR, 0), (YARD, 8)]
    assert order.ready() == []
    order.begun((YARD, 8))
    assert [name for name, _ in order.ready()] == [(YARD, 9)]


def test_a_frame_right_behind_the_last_one_asks_nobody() -> None:
    above = Above()
    order: Order[str] = Order(above.pending)
    held(order, 7)
    assert begun(order) == [7] and above.asked == [(DOOR, 0, 7)]
    held(order, 8)
    assert begun(order) == [8] and len(above.asked) == 1, "each question reads journals"
    held(order, 10)
    assert begun(order) == [10] and above.asked[1:] == [(DOOR, 9, 10)]


def test_a_frame_that_failed_begins_before_the_later_ones_that_wait() -> None:
    above = Above()
    order: Order[str] = Order(above.pending)
    held(order, 0)
    assert begun(order) == [0]
    above.open[DOOR] = {0, 1, 2}
    assert order.failed((DOOR, 0)) is None
    held(order, 2, 1)
    assert begun(order) == [], "0 is tried again first"
    held(order, 0)
    assert begun(order) == [0, 1, 2]


def test_a_frame_that_failed_and_was_given_up_keeps_nobody_waiting() -> None:
    above = Above()
    order: Order[str] = Order(above.pending)
    held(order, 0)
    assert begun(order) == [0]
    above.open[DOOR] = {0, 1}
    order.failed((DOOR, 0))
    held(order, 1)
    assert begun(order) == []
    above.open[DOOR] = {1}
    assert begun(order) == [1]


def test_a_later_frame_that_was_out_is_called_back_when_an_attempt_fails() -> None:
    above = Above()
    order: Order[str] = Order(above.pending)
    held(order, 0, 1)
    order.ready()
    order.begun((DOOR, 0))
    assert [name for name, _ in order.ready()] == [(DOOR, 1)]
    above.open[DOOR] = {0, 1}
    assert order.failed((DOOR, 0)) == 1
    assert order.is_behind((DOOR, 1)) and not order.is_behind((YARD, 1))
    held(order, 1)
    held(order, 0)
    assert begun(order) == [0, 1]
    assert not order.is_behind((DOOR, 1))


def test_an_attempt_that_failed_before_its_frame_was_begun_holds_up_nobody_by_itself() -> None:
    above = Above(door={3})
    order: Order[str] = Order(above.pending)
    held(order, 3)
    assert [name for name, _ in order.ready()] == [(DOOR, 3)]
    assert order.failed((DOOR, 3)) is None  # too old, say: its work was not begun
    assert not order.is_behind((DOOR, 4))
    held(order, 4)
    assert begun(order) == [], "it may come again all the same: it is live above"
    above.open[DOOR] = set()
    assert begun(order) == [4]


def test_a_frame_whose_lease_was_over_may_come_again_and_is_not_passed_over() -> None:
    above = Above(door={0, 1})
    order: Order[str] = Order(above.pending)
    held(order, 0, 1)
    assert [name for name, _ in order.ready()] == [(DOOR, 0)]
    order.skipped((DOOR, 0))
    assert begun(order) == [], "1 waits: 0 was never begun"
    held(order, 0)
    assert begun(order) == [0, 1]


def test_another_lease_of_a_held_frame_stands_for_the_first() -> None:
    order: Order[str] = Order(Above().pending)
    order.hold((DOOR, 0), "first lease")
    order.hold((DOOR, 0), "second lease")
    assert order.ready() == [((DOOR, 0), "second lease")]


def test_a_late_frame_begins_at_once_as_nothing_can_be_before_it() -> None:
    order: Order[str] = Order(Above(door={2}).pending)
    held(order, 5)
    order.begun((DOOR, 9))  # a predecessor's work, say
    assert begun(order) == [5]


def test_what_is_over_is_forgotten_and_told() -> None:
    order: Order[str] = Order(Above(door={0}).pending)
    held(order, 1, 2, 3)
    assert order.forget(lambda item: item == f"{DOOR}.2") == [f"{DOOR}.2"]
    order = Order(Above().pending)
    held(order, 1, 3)
    order.forget(lambda item: item == f"{DOOR}.1")
    assert begun(order) == [3]


def test_streams_that_are_over_are_forgotten_when_there_are_many_and_live_ones_are_not() -> None:
    above = Above()
    order: Order[str] = Order(above.pending)
    for key in range(10, 10 + STREAMS_MAX):
        held(order, 4, key=key)
    begun(order)
    held(order, 4)
    assert begun(order) == [4]
    above.open[DOOR] = {4}
    order.failed((DOOR, 4))
    order.forget(lambda item: False)
    above.asked.clear()
    held(order, 5)
    held(order, 5, key=10)
    assert begun(order) == [5], "the other stream's 5 waits for its 4, which has failed"
    assert (10, 0, 5) in above.asked, "of the stream that was forgotten everything is asked anew"
