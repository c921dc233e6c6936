"""How many frames an order will let through one after another: a batch counts them as there."""

from __future__ import annotations

from detektr.edge.gathering.order import Order


def test_what_follows_what_is_out_is_counted_up_to_a_frame_that_may_still_come() -> None:
    still = {6}
    order: Order[str] = Order(lambda key, first, last: {one for one in still if first <= one < last})
    for sequence in (2, 3, 5, 7):
        order.hold((1, sequence), "")
    assert order.following == 0, "nothing is out"
    assert [name for name, _ in order.ready()] == [(1, 2)]
    assert order.following == 2, "3, and 5 as 4 will not come; 6 may"
    still.clear()
    assert order.following == 3
    order.begun((1, 2))
    assert order.following == 0


def test_each_stream_counts_for_itself() -> None:
    order: Order[str] = Order(lambda key, first, last: set())
    for key in (1, 2):
        order.hold((key, 0), "")
        order.hold((key, 1), "")
    order.ready()
    assert order.following == 2
    order.begun((1, 0))
    order.ready()
    assert order.following == 1, "of stream 1 the last one is out"
