"""How many frames an order will let through one after another: a batch counts them as there."""

from __future__ import annotations

from detektr.edge.gathering.order import Order


def test_what_is_held_counts_up_to_a_frame_that_may_still_come() -> None:
    still = {6}
    order: Order[str] = Order(lambda key, first, last: {one for one in still if first <= one < last})
    for sequence in (2, 3, 5, 7):
        order.hold((1, sequence), "")
    assert order.following() == 3, "2, 3, and 5 as 4 will not come; 6 may"
    assert [name for name, _ in order.ready()] == [(1, 2)]
    assert order.following() == 2
    still.clear()
    assert order.following() == 3
    order.begun((1, 2))
    still.add(4)
    assert order.following() == 1


def test_each_stream_counts_for_itself_and_waits_for_its_own_failures() -> None:
    still: set[int] = set()
    order: Order[str] = Order(lambda key, first, last: {one for one in still if first <= one < last})
    for key in (1, 2):
        order.hold((key, 0), "")
        order.hold((key, 1), "")
    order.ready()
    assert order.following() == 2
    order.begun((1, 0))
    still.add(0)
    order.failed((1, 0))
    assert order.following() == 1, "1 of stream 1 waits for 0"
