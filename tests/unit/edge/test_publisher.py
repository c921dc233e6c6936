"""Edges of guests and what a dead predecessor leaves of them; what a producer says when it sleeps."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from detektr.edge.connections import Way
from detektr.edge.edge_options import EdgeOptions, Haste
from detektr.edge.ephemeral import Producer, frames_held
from detektr.edge.lease import Claim
from detektr.edge.publisher import Outlet
from detektr.errors import WireError
from detektr.memory import layout
from detektr.memory.completion_queue import ReturnsWriter, open_returns
from detektr.memory.journal import adopt_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import take_page
from detektr.options import WhenFull
from detektr.wire.doorbell import Button, Doorbell
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Attach


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


def make_outlet(folder: RunFolder, link: Any = None) -> Outlet:
    producer = Producer(node="camera", replica=0, guest_frames=16, guest_policy="block", guest_mark=8, payload_bytes=64)
    return Outlet(
        producer, folder, link, lambda event: None, identify=lambda payload: "", save_letter=lambda payload, why: ""
    )


def test_an_adopted_guest_s_edge_is_as_its_predecessor_made_it(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    first = make_outlet(folder)
    first.add_edge("beat", EdgeOptions(**{**asdict(guest("block", 8, 4)), "max_deliveries": 2, "is_guest": True}))
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


def test_a_guest_that_comes_again_with_broken_returns_is_refused(folder: RunFolder) -> None:
    link, own = (Link(folder.inbox(name, 0), folder.doorbell(name, 0)) for name in ("camera", "guest-1"))
    outlet = make_outlet(folder, link)
    page = take_page(folder, "guest-1", 0, "guest")
    returns = ReturnsWriter(folder.returns("guest-1.0", "camera.0"), 8)
    wanted = Attach("guest-1", "guest-1.0", 77, 1, 1, False, True, "block", 0, (), (), (), (0, 0, 0))
    page[layout.PAGE_WORD_INPUTS + layout.PAGE_INPUT_SESSION] = wanted.session
    outlet.handle(wanted, 1)
    returns.segment.words[layout.RETURNS_WORD_COUNT] = 1 << 50  # more than there is room for
    with pytest.raises(WireError, match=r"guest-1.0 may not attach: what it gave back cannot be read"):
        outlet.handle(wanted._replace(round=2), 2)
    assert outlet.fanout.edges == {}
    outlet.close(unlink=True)
    returns.close()
    own.close()
    link.close()
    page.close(unlink=True)


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    folder.remove_if_empty()


@pytest.fixture
def outlet(folder: RunFolder) -> Iterator[Outlet]:
    """Return one with edges to `motion` and `recorder`, where nobody is."""
    outlet = make_outlet(folder)
    for consumer in ("motion", "recorder"):
        outlet.add_edge(consumer, guest("block", 8, 4))
    yield outlet
    outlet.close(unlink=True)


AHEAD = layout.WANTED_EACH | layout.WANTED_AWAKE


def words(outlet: Outlet) -> list[int]:
    """Return what each edge says of leases that come back, as consumers see it."""
    return [edge.journal[layout.EDGE_WORD_WANTED] for edge in outlet.fanout.edges.values()]


def wanted(outlet: Outlet) -> list[str]:
    """Return the edges whose consumers are to wake their producer."""
    said = zip(outlet.fanout.edges, words(outlet), strict=True)
    return [name for name, word in said if word and not word & layout.WANTED_AWAKE]


def test_leases_are_wanted_back_while_the_producer_sleeps_and_frames_wait_for_them(outlet: Outlet) -> None:
    assert not outlet.recall.fall_asleep()
    assert wanted(outlet) == []
    outlet.recall.wake()
    outlet.fanout.edges["motion"].offer(0, 1, 0, 1, b"")
    assert wanted(outlet) == [], "it is awake"
    for _ in range(2):
        outlet.recall.fall_asleep()
        assert wanted(outlet) == ["motion"]
        outlet.recall.wake()
        assert wanted(outlet) == []
        assert words(outlet) == [layout.WANTED | layout.WANTED_AWAKE, 0], "what it wants stands"
    outlet.fanout.edges["motion"].drop_all("stopped")
    outlet.recall.fall_asleep()
    assert words(outlet) == [0, 0]


def test_a_producer_that_waits_for_everything_wants_every_lease_back(outlet: Outlet) -> None:
    outlet.recall.hurry(Haste.ALL)
    assert words(outlet) == [layout.WANTED_ALL | layout.WANTED_AWAKE] * 2
    for _ in range(2):
        outlet.recall.fall_asleep()
        assert wanted(outlet) == ["motion", "recorder"]
        outlet.recall.wake()
        assert words(outlet) == [layout.WANTED_ALL | layout.WANTED_AWAKE] * 2, "who looks only now knows it too"
    outlet.recall.hurry(Haste.NONE)
    assert words(outlet) == [0, 0]
    outlet.recall.fall_asleep()
    assert words(outlet) == [0, 0]


def test_a_producer_that_is_ahead_says_so_on_every_edge_and_is_woken_by_nobody(outlet: Outlet) -> None:
    outlet.recall.hurry(Haste.OWN)
    assert words(outlet) == [AHEAD] * 2
    assert not outlet.recall.fall_asleep()
    outlet.recall.wake()
    assert words(outlet) == [AHEAD] * 2
    outlet.add_edge("late", guest("block", 8, 4))
    assert words(outlet) == [AHEAD] * 3
    outlet.fanout.edges["motion"].offer(0, 1, 0, 1, b"")
    outlet.recall.fall_asleep()
    assert words(outlet) == [layout.WANTED, AHEAD, AHEAD], "it waits for credit there"
    outlet.recall.hurry(Haste.NONE)
    assert words(outlet) == [layout.WANTED | layout.WANTED_AWAKE, 0, 0]


def test_who_passes_frames_on_for_one_that_is_ahead_is_woken_by_the_last_that_a_frame_is_out_on(
    outlet: Outlet,
) -> None:
    outlet.recall.hurry(Haste.PASSED_ON)
    for _ in range(2):
        assert words(outlet) == [AHEAD] * 2, "they are to come back soon"
        assert not outlet.recall.fall_asleep()  # nobody is there
    edges = outlet.fanout.edges
    for session, edge in enumerate(edges.values()):
        assert edge.attach(7 + session, f"{edge.consumer}.0", 4, Claim(), is_durable=False, now_ns=1)
    outlet.add_edge("guest", EdgeOptions(**{**asdict(guest("block", 8, 4)), "is_guest": True}))
    assert edges["guest"].attach(11, "guest.0", 4, Claim(), is_durable=False, now_ns=1)
    outlet.add_edge("late", guest("block", 8, 4))
    outlet.recall.fall_asleep()
    assert wanted(outlet) == [], "no frame is out"
    for name in ("motion", "recorder", "guest"):
        edges[name].offer(0, 1, 0, 1, b"", 1)
    outlet.recall.fall_asleep()
    assert words(outlet) == [AHEAD, layout.WANTED_EACH, AHEAD, AHEAD], "a guest looks on, and late has not come"
    outlet.recall.wake()
    assert words(outlet) == [AHEAD] * 4
    edges["recorder"].finish(8, [(1, 0, 1)], 1)
    outlet.recall.fall_asleep()
    assert wanted(outlet) == ["motion"], "it is the last now"
    outlet.recall.wake()
    edges["motion"].finish(7, [(1, 0, 1)], 1)
    edges["late"].offer(0, 1, 0, 1, b"")
    outlet.recall.fall_asleep()
    assert words(outlet) == [AHEAD, AHEAD, AHEAD, layout.WANTED], "for credit, not at each return"


def test_what_a_predecessor_wanted_when_it_was_killed_is_not_wanted_any_more(folder: RunFolder) -> None:
    first = make_outlet(folder)
    first.add_edge("motion", guest("block", 8, 4))
    first.recall.hurry(Haste.ALL)
    first.close(unlink=False)
    second = make_outlet(folder)
    second.add_edge("motion", guest("block", 8, 4))
    assert wanted(second) == []
    second.close(unlink=True)


def test_replicas_of_a_predecessor_are_woken_so_that_they_attach_again(folder: RunFolder) -> None:
    doorbells = [Doorbell(folder.doorbell("motion", number)) for number in range(2)]
    first = make_outlet(folder)
    first.add_edge("motion", guest("block", 8, 4))
    for number in range(3):  # the last one has gone as well
        edge = first.fanout.edges["motion"]
        assert edge.attach(7 + number, f"motion.{number}", 1, Claim(), is_durable=False, now_ns=1)
    first.close(unlink=False)
    second = make_outlet(folder)
    second.add_edge("motion", guest("block", 8, 4))
    second.call_back()
    assert [os.read(doorbell.fileno(), 9) for doorbell in doorbells] == [b"!", b"!"]
    for doorbell in doorbells:
        doorbell.close()
    second.close(unlink=True)


class Reading:
    """An outlet whose edge to `recorder` has one replica, which gives back what it is leased when told to."""

    def __init__(self, outlet: Outlet, folder: RunFolder, window: int = 4) -> None:
        self.outlet, self.edge = outlet, outlet.fanout.edges["recorder"]
        self.returns = ReturnsWriter(folder.returns("recorder.0", "camera.0"), 64)
        reader = open_returns(self.returns.segment.path, 0)
        assert reader is not None
        outbox = cast(Outbox, Button(folder.doorbell("recorder", 0)))
        outlet._ways.add(7, Way("recorder", "recorder.0", 1, 1 << 22, outbox, reader))
        assert self.edge.attach(7, "recorder.0", window, Claim(), is_durable=False, now_ns=1)
        self.sequence = 0

    def lease_and_return(self) -> bool:
        """Lease one frame, let it come back, and say whether it was taken back when the producer next worked."""
        self.edge.offer(0, 1, self.sequence, 1, b"", 1)
        self.returns.append(1, self.sequence, self.sequence + 1)
        self.sequence += 1
        return self.outlet.pump(1)


@pytest.fixture
def reading(outlet: Outlet, folder: RunFolder) -> Iterator[Reading]:
    reading = Reading(outlet, folder)
    yield reading
    reading.returns.close()


def test_what_came_back_is_looked_at_together_once_leases_are_many(reading: Reading) -> None:
    assert [reading.lease_and_return() for _ in range(6)] == [False, False, True, False, False, True]
    reading.edge.replicas[7].window = 1
    assert [reading.lease_and_return() for _ in range(3)] == [True, True, True]


def test_what_came_back_is_looked_at_at_once_where_somebody_waits_for_it(reading: Reading) -> None:
    assert not reading.lease_and_return()
    reading.outlet.recall.hurry(Haste.ALL)
    assert reading.outlet.pump(1)
    reading.outlet.recall.hurry(Haste.NONE)
    assert not reading.lease_and_return()
    reading.edge.replicas[7].is_suspended = True  # its time was over; what it says now is a sign of life
    reading.edge.offer(0, 1, 99, 1, b"")
    assert reading.outlet.pump(1)
    assert (reading.edge.queued, reading.edge.in_flight) == (0, 1)


@pytest.mark.parametrize("haste", [Haste.NONE, Haste.OWN, Haste.PASSED_ON])
def test_who_sleeps_over_leases_is_woken_once_when_frames_begin_to_wait_for_them(
    outlet: Outlet, folder: RunFolder, haste: Haste
) -> None:
    doorbell = Doorbell(folder.doorbell("recorder", 0))
    reading = Reading(outlet, folder, window=1)
    reading.edge.offer(0, 1, 0, 1, b"", 1)
    reading.returns.turn_over()
    assert not outlet.recall.fall_asleep()
    assert not doorbell_rings(doorbell), "nothing waits"
    outlet.recall.wake()
    reading.edge.offer(0, 1, 1, 1, b"", 1)
    outlet.recall.hurry(haste)  # says so too
    for rings in (True, False):
        assert not outlet.recall.fall_asleep()
        assert doorbell_rings(doorbell) is rings
        outlet.recall.wake()
        for _ in range(2):
            reading.returns.turn_over()  # it has looked, knows it now, and sleeps again
    doorbell.close()
    reading.returns.close()


def doorbell_rings(doorbell: Doorbell) -> bool:
    return bool(select.select([doorbell.fileno()], [], [], 0)[0]) and bool(os.read(doorbell.fileno(), 9))


def test_a_producer_sleeps_though_something_came_back_that_nobody_waits_for(outlet: Outlet, folder: RunFolder) -> None:
    reading = Reading(outlet, folder)
    outlet.fanout.edges["motion"].offer(0, 1, 0, 1, b"")  # waits there: nobody reads
    assert not reading.lease_and_return()
    assert not outlet.recall.fall_asleep()
    reading.edge.replicas[7].is_suspended = True
    reading.edge.offer(0, 1, 99, 1, b"")
    assert outlet.recall.fall_asleep(), "now it is waited for"
    reading.returns.close()


def test_a_lease_given_back_in_time_is_delivered_however_late_that_is_looked_at(folder: RunFolder) -> None:
    outlet = make_outlet(folder)
    outlet.add_edge("motion", EdgeOptions(**{**asdict(guest("block", 8, 4)), "timeout_ns": 100}))
    edge = outlet.fanout.edges["motion"]
    returns = ReturnsWriter(folder.returns("motion.0", "camera.0"), 8)
    reader = open_returns(returns.segment.path, 0)
    assert reader is not None
    outbox = cast(Outbox, Button(folder.doorbell("motion", 0)))
    outlet._ways.add(7, Way("motion", "motion.0", 1, 1 << 22, outbox, reader))
    assert edge.attach(7, "motion.0", 4, Claim(), is_durable=False, now_ns=1)
    edge.offer(0, 1, 0, 1, b"")
    outlet.pump(1)
    returns.append(1, 0, 1)
    outlet.tick(1000)
    assert (edge.journal[layout.EDGE_WORD_DELIVERED], edge.journal[layout.EDGE_WORD_REFUSED]) == (1, 0)
    assert edge.is_empty
    outlet.close(unlink=True)
    returns.close()


@pytest.mark.parametrize("haste", [Haste.OWN, Haste.PASSED_ON, Haste.ALL])
def test_what_came_back_is_looked_at_every_time_where_there_is_haste(reading: Reading, haste: Haste) -> None:
    reading.outlet.recall.hurry(haste)
    assert [reading.lease_and_return() for _ in range(3)] == [True, True, True]


@pytest.mark.parametrize(("haste", "at_once"), [(Haste.NONE, 1), (Haste.OWN, 1), (Haste.PASSED_ON, 0)])
def test_who_is_leased_a_frame_is_woken_at_once_or_where_frames_follow_each_other_when_all_have_it(
    reading: Reading, folder: RunFolder, haste: Haste, at_once: int
) -> None:
    doorbell = Doorbell(folder.doorbell("recorder", 0))

    def rings() -> int:
        try:
            return len(os.read(doorbell.fileno(), 9))
        except BlockingIOError:
            return 0

    reading.outlet.recall.hurry(haste)
    reading.returns.turn_over()  # it sleeps
    reading.outlet.fanout.offer(0, 1, 0, 1, b"", 1)
    assert rings() == at_once
    reading.outlet.pump(1)
    assert rings() == 1 - at_once
    doorbell.close()
