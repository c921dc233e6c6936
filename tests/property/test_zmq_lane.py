"""Both ends of the lane `zmq` on a network that loses, delays and repeats messages, with deaths on either side.

The edge is the real one on a journal in plain memory; each message goes through the codec. In the end nothing is lost:
every frame is worked on, at least once and more than once only where somebody died, and the ledger adds up.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import pytest

from detektr.edge.lanes.lane import NEVER_NS
from detektr.memory.announcement import Announcement
from detektr.wire.codec import decode
from detektr.wire.message import Announce, Release
from tests.property.zmq_world import FRAMES, KEY, MS, OPTIONS, WINDOW, World, begin, zmq_lane, zmq_receiver


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> dict[str, World]:
    """Let the lane's clock be the world's."""
    worlds: dict[str, World] = {}
    for module in (zmq_lane, zmq_receiver):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic_ns=lambda: worlds["now"].now_ns))
    return worlds


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.4])
def test_every_frame_is_worked_on_once_over_a_network_that_loses_and_repeats(
    clock: dict[str, World], loss: float
) -> None:
    for seed in range(60):
        world = begin(clock, seed)
        world.run(loss, deaths=0.0)
        assert world.worked == Counter(range(FRAMES))
        ledger = world.reader.ledger()
        assert (ledger.delivered, ledger.redelivered, ledger.refused) == (FRAMES, 0, 0)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_with_deaths_on_either_side_nothing_is_lost_and_doubles_are_marked(
    clock: dict[str, World], loss: float
) -> None:
    for seed in range(60):
        world = begin(clock, seed)
        world.run(loss, deaths=0.02)
        assert set(world.worked) == set(range(FRAMES))
        assert world.reader.ledger().delivered == FRAMES
        doubles = sum(world.worked.values()) - FRAMES
        assert doubles <= world.reader.ledger().redelivered


def test_what_everybody_knows_is_told_to_nobody_again(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    for _ in range(3):
        world.offer()
    for _ in range(200):
        for act in (world.pump, world.consumer_hears, world.work, world.producer_hears):
            act()
        world.now_ns += 10 * MS
    sent = world.down.sent, world.up.sent
    assert world.edge.is_empty
    assert (world.producer.due_ns(), world.receiver.due_ns()) == (NEVER_NS, NEVER_NS)
    for _ in range(200):
        world.pump()
        world.work()
        world.now_ns += 10 * MS
    assert (world.down.sent, world.up.sent) == sent


def test_leases_that_lie_ready_travel_in_one_message(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    for sequence in range(3):
        world.edge.offer(0, Announcement(KEY, sequence, 1, b""), world.now_ns)
    world.producer.announce(world.edge, world.now_ns)
    message = world.down.next()
    assert isinstance(message, Announce)
    assert (world.down.sent, len(message.leases)) == (1, 3)


@pytest.mark.parametrize("fps", [25, 30, 60])
def test_completions_at_the_pace_of_a_camera_travel_together_and_the_last_ones_within_a_tick(
    clock: dict[str, World], fps: int
) -> None:
    world = begin(clock, 1, window=16)
    for sequence in range(FRAMES):
        world.edge.offer(0, Announcement(KEY, sequence, 1, b""), world.now_ns)
        world.edge.lease_queued(world.now_ns)
        world.producer.announce(world.edge, world.now_ns)
        next_ns = world.now_ns + 1_000 * MS // fps
        world.consumer_hears()
        world.work()
        world.producer_hears()
        assert min(world.producer.due_ns(), world.receiver.due_ns()) >= next_ns, "a wake-up for nothing but messages"
        world.now_ns = next_ns
    assert world.down.sent == FRAMES
    assert world.up.sent <= FRAMES / 4 + 1
    while not world.edge.is_empty:
        assert world.now_ns <= next_ns + 50 * MS, "nobody waits longer than a tick"
        world.work()
        world.producer_hears()
        world.now_ns += MS
    assert world.down.sent == FRAMES, "nobody had to ask"


def test_who_is_about_to_be_blamed_is_looked_at_first(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    world.edge.options = replace(OPTIONS, timeout_ns=20 * MS)
    for sequence in range(2):
        world.edge.offer(0, Announcement(KEY, sequence, 1, b""), world.now_ns)
    world.pump()
    world.consumer_hears()
    world.edge.overdue(world.now_ns)  # from here on its time counts
    world.work()  # the lease waits for company
    world.now_ns += 30 * MS
    (late,) = world.edge.overdue(world.now_ns)
    world.producer.catch_up(world.edge, late, world.now_ns)
    assert not world.edge.overdue(world.now_ns)
    world.edge.expire(world.now_ns)
    ledger = world.reader.ledger()
    assert (ledger.delivered, ledger.redelivered, ledger.in_flight) == (1, 0, 1)


def test_a_consumer_that_is_in_the_middle_of_long_work_is_told_again_less_and_less(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    world.edge.offer(0, Announcement(KEY, 0, 1, b""), world.now_ns)
    world.producer.announce(world.edge, world.now_ns)
    for _ in range(1000):
        if world.now_ns >= world.producer.due_ns():
            world.producer.tick(world.now_ns)
        world.now_ns += 10 * MS
    assert 10 <= world.down.sent <= 20  # in 10 s


def test_what_was_finished_before_long_work_is_taken_back_while_that_lasts(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    for sequence in range(3):
        world.edge.offer(0, Announcement(KEY, sequence, 1, b""), world.now_ns)
    world.pump()
    world.consumer_hears()
    world.work()  # it waits for company; the next work takes long
    while world.now_ns < 2_000 * MS:
        world.pump()
        world.now_ns += 10 * MS
    assert (world.up.sent, world.reader.ledger().delivered) == (0, 1)
    for _ in range(9):
        world.work()
        world.producer_hears()
        world.now_ns += 50 * MS
    assert (world.reader.ledger().delivered, world.reader.ledger().refused) == (3, 0)


def test_a_consumer_whose_leases_are_over_is_not_told_so_over_and_over(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    world.edge.options = replace(OPTIONS, timeout_ns=500 * MS)
    for sequence in range(3):
        world.edge.offer(0, Announcement(KEY, sequence, 1, b""), world.now_ns)
    world.producer.announce(world.edge, world.now_ns)
    for _ in range(1000):
        world.edge.expire(world.now_ns)
        if world.now_ns >= world.producer.due_ns():
            world.producer.tick(world.now_ns)
        world.now_ns += 10 * MS
    assert world.down.sent <= 20  # in 10 s


def test_leases_lie_once_before_a_consumer_that_does_not_read(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    for sequence in range(WINDOW):
        world.edge.offer(0, Announcement(KEY, sequence, 1, bytes(16)), world.now_ns)
    world.producer.announce(world.edge, world.now_ns)
    for _ in range(6000):
        if world.now_ns >= world.producer.due_ns():
            world.producer.tick(world.now_ns)
        world.now_ns += 10 * MS
    messages = [decode(payload) for payload in world.down.queue]
    assert sum(len(message.leases) for message in messages if isinstance(message, Announce)) == WINDOW


def test_completed_leases_lie_once_before_a_producer_that_does_not_read(clock: dict[str, World]) -> None:
    world = begin(clock, 1)
    for _ in range(WINDOW):
        world.offer()
        world.pump()
        world.consumer_hears()
    for _ in range(6000):
        if world.now_ns >= world.receiver.due_ns() or world.held:
            world.work()
        world.now_ns += 10 * MS
    messages = [decode(payload) for payload in world.up.queue]
    told = sum(len(message.completed) for message in messages if isinstance(message, Release))
    assert told == sum(world.worked.values()) > 1
    assert world.up.sent <= 80  # in 60 s


@pytest.mark.parametrize("way", ["down", "up"])
def test_what_a_full_outbox_did_not_take_is_told_later_and_not_tried_all_the_time(
    clock: dict[str, World], way: str
) -> None:
    for seed in range(20):
        world = begin(clock, seed)
        network = getattr(world, way)
        acts = [world.offer, world.pump, world.consumer_hears, world.producer_hears, world.work]
        for _ in range(seed):
            world.chance.choice(acts)()
        network.is_full = True
        tried_at_once = 0
        for _ in range(500):
            for act in acts:
                act()
            due_ns = min(world.producer.due_ns(), world.receiver.due_ns())
            tried_at_once += due_ns <= world.now_ns
            world.now_ns += 20 * MS
        assert tried_at_once <= 5, "who does not read is not waited for awake"
        network.is_full = False
        world.run(0.0, deaths=0.0)
        assert world.worked == Counter(range(FRAMES))


def test_leases_that_are_larger_together_than_an_inbox_takes_travel_in_several_messages(
    clock: dict[str, World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zmq_lane, "ANNOUNCE_BYTES_MAX", 400)
    world = begin(clock, 1)
    for _ in range(WINDOW):
        world.offer()
    world.edge.lease_queued(world.now_ns)
    world.producer.announce(world.edge, world.now_ns)
    messages = [decode(payload) for payload in world.down.queue]
    assert [len(message.leases) for message in messages if isinstance(message, Announce)] == [2, 2]
    world.run(0.2, deaths=0.0)
    assert world.worked == Counter(range(FRAMES))
