"""The edges of guests: how many frames they hold together, and what a dead predecessor leaves of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detektr.memory.folder import RunFolder
from detektr.memory.journal import adopt_journal
from detektr.nodes.guests import Producer, frames_held
from detektr.nodes.options import WhenFull
from detektr.nodes.outlet import Outlet
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


def make_outlet(folder: RunFolder) -> Outlet:
    producer = Producer(node="camera", replica=0, guest_frames=16, guest_policy="block", guest_mark=8, payload_bytes=64)
    no_link: Any = None
    return Outlet(
        producer, folder, no_link, lambda event: None, identify=lambda payload: "", save_letter=lambda payload, why: ""
    )


def test_an_adopted_guest_s_edge_is_as_its_predecessor_made_it(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    first = make_outlet(folder)
    first.add_edge("beat", EdgeOptions(**{**vars(guest("block", 8, 4)), "max_deliveries": 2, "is_guest": True}))
    first.close(unlink=False)
    second = make_outlet(folder)
    second.adopt_guests()
    options = second.fanout.edges["beat"].options
    assert (options.when_full, options.mark, options.window_total, options.max_deliveries) == ("block", 8, 4, 2)
    second.close(unlink=True)
    folder.remove_if_empty()


def test_a_guest_s_edge_that_was_being_made_when_its_producer_was_killed_is_made_anew(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    adopt_journal(folder.journal("camera", 0, "beat"), 12, 64, 8)[0].close()  # named, and nothing said of it yet
    outlet = make_outlet(folder)
    outlet.adopt_guests()
    assert outlet.fanout.edges == {}
    assert list(folder.path.iterdir()) == []
    folder.remove_if_empty()
