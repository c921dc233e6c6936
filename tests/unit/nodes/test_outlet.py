"""How many frames guests hold together, which is what a ring must have to spare for them."""

from __future__ import annotations

import pytest

from detektr.nodes.guests import frames_held
from detektr.nodes.options import WhenFull
from detektr.nodes.terms import EdgeOptions


def guest(when_full: WhenFull, mark: int, window: int) -> EdgeOptions:
    return EdgeOptions(mark=mark, low=mark - 1, when_full=when_full, window_total=window, payload_bytes=64)


@pytest.mark.parametrize(
    ("guests", "frames"),
    [
        ([], 0),
        ([guest("drop-oldest", 8, 4)], 12),
        ([guest("drop-oldest", 8, 4), guest("block", 3, 1)], 13),
        ([guest("drop-oldest", 8, 4), guest("drop-newest", 3, 1)], 16),
        ([guest("drop-newest", 3, 1), guest("drop-newest", 3, 1)], 8),
    ],
)
def test_the_longest_queue_counts_unless_it_keeps_the_oldest_and_leases_add_up(
    guests: list[EdgeOptions], frames: int
) -> None:
    assert frames_held(guests) == frames
