"""Edges of guests and what a dead predecessor leaves of them; what a producer says when it sleeps."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import pytest

from detektr.edge.edge_options import EdgeOptions
from detektr.edge.ephemeral import Producer, frames_held
from detektr.edge.lanes.shm_lane import ShmConnection
from detektr.edge.outcomes import OutcomeReporter
from detektr.edge.publisher import EdgePublisher
from detektr.edge.state.lease import SessionState
from detektr.errors import WireError
from detektr.memory import layout
from detektr.memory.announcement import Announcement
from detektr.memory.completion_queue import CompletionQueueWriter, open_completion_queue
from detektr.memory.journal import adopt_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import acquire_status_block
from detektr.options import Lane, WhenFull
from detektr.wire.doorbell import Doorbell, RemoteDoorbell
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Announce, Attach


def ephemeral(when_full: WhenFull, mark: int, window: int) -> EdgeOptions:
    return EdgeOptions(mark=mark, low=mark - 1, when_full=when_full, window_total=window, payload_bytes=64, lane="shm")


@pytest.mark.parametrize(
    ("guests", "frames"),
    [
        ([], 0),
        ([ephemeral("drop-oldest", 8, 4)], 12),
        ([ephemeral("drop-oldest", 8, 4), ephemeral("block", 3, 1)], 13),
        ([ephemeral("drop-oldest", 8, 4), ephemeral("drop-newest", 3, 1)], 16),
        ([ephemeral("drop-newest", 3, 1), ephemeral("drop-newest", 3, 1)], 8),
    ],
)
def test_the_longest_queue_counts_unless_it_keeps_the_oldest_and_leases_add_up(
    guests: list[EdgeOptions], frames: int
) -> None:
    assert frames_held(guests) == frames


@pytest.mark.parametrize(("queued", "frames"), [(0, 3 + 1), (2, 1 + 1), (3, 1), (50, 1)])
def test_what_the_queues_of_other_edges_hold_too_takes_no_further_slot(queued: int, frames: int) -> None:
    assert frames_held([ephemeral("drop-oldest", 3, 1)], queued) == frames
    assert frames_held([ephemeral("drop-newest", 3, 1)], queued) == 4


def make_publisher(folder: RunFolder, link: Any = None) -> EdgePublisher:
    producer = Producer(
        node="camera", replica=0, ephemeral_frames=16, ephemeral_policy="block", ephemeral_mark=8, payload_bytes=64
    )
    return EdgePublisher(
        producer,
        folder,
        link,
        lambda event: None,
        outcomes=(quiet := OutcomeReporter("", lambda event: None, lambda payload: "", lambda payload, why: "")),
        relayed_outcomes=quiet,
    )


def test_an_adopted_guest_s_edge_is_as_its_predecessor_made_it(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    first = make_publisher(folder)
    first.add_edge(
        "beat", EdgeOptions(**{**asdict(ephemeral("block", 8, 4)), "max_deliveries": 2, "is_ephemeral": True})
    )
    first.close(unlink=False)
    second = make_publisher(folder)
    second.adopt_ephemeral_edges()
    options = second.fanout.edges["beat"].options
    assert (options.when_full, options.mark, options.window_total, options.max_deliveries) == ("block", 8, 4, 2)
    second.close(unlink=True)
    folder.remove_if_empty()


def test_a_guest_s_edge_that_was_being_made_when_its_producer_was_killed_is_made_anew(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    adopt_journal(folder.journal("camera", 0, "beat"), 12, 64, 8)[0].close()  # named, and nothing said of it yet
    publisher = make_publisher(folder)
    publisher.adopt_ephemeral_edges()
    assert publisher.fanout.edges == {}
    assert list(folder.path.iterdir()) == []
    folder.remove_if_empty()


@pytest.mark.parametrize(("before", "now"), [("zmq", "shm"), ("shm", "zmq")])
def test_a_guest_that_comes_back_by_the_other_lane_after_both_were_killed_is_announced_to_by_its_own(
    folder: RunFolder, before: Lane, now: Lane
) -> None:
    link, own = (Link(folder.inbox(name, 0), folder.doorbell(name, 0)) for name in ("camera", "beat"))
    first = make_publisher(folder, link)
    terms = {**asdict(ephemeral("block", 8, 4)), "is_ephemeral": True, "lane": before}
    first.add_edge("beat", EdgeOptions(**terms))
    first.close(unlink=False)
    second = make_publisher(folder, link)
    second.adopt_ephemeral_edges()
    status_block = acquire_status_block(folder, "beat", 0, "guest")
    completions = CompletionQueueWriter(folder.completions("beat.0", "camera.0"), 8)
    wanted = Attach("beat", "beat.0", 77, 1, 4, False, True, "block", 0, (), (), (), (0, 0, 0, 0), lane=now)
    status_block.words[layout.STATUS_WORD_INPUTS + layout.STATUS_INPUT_SESSION] = wanted.session
    second.handle(wanted, 1)
    second.fanout.edges["beat"].offer(0, Announcement(5, 0, 1, b"frame"), 2)
    second.pump(3)
    link.wait(0)
    own.wait(1_000_000_000 if now == "zmq" else 0)
    kinds = [type(message) for message in own.receive()]
    while now == "zmq" and Announce not in kinds:
        own.wait(1_000_000_000)
        kinds += [type(message) for message in own.receive()]
    assert (second.fanout.edges["beat"].options.lane, Announce in kinds) == (now, now == "zmq")
    second.close(unlink=True)
    for it in (completions, own, link):
        it.close()
    status_block.close(unlink=True)


def test_a_consumer_of_the_file_that_reads_by_another_lane_than_its_edge_is_refused_in_words(folder: RunFolder) -> None:
    link, own = (Link(folder.inbox(name, 0), folder.doorbell(name, 0)) for name in ("camera", "beat"))
    publisher = make_publisher(folder, link)
    publisher.add_edge("beat", ephemeral("block", 8, 4))
    status_block = acquire_status_block(folder, "beat", 0, "processor")
    wanted = Attach("beat", "beat.0", 77, 1, 4, False, False, "", 0, (), (), (), (0, 0, 0, 0), lane="zmq")
    status_block.words[layout.STATUS_WORD_INPUTS + layout.STATUS_INPUT_SESSION] = wanted.session
    with pytest.raises(WireError, match=r"announced by shm here, and beat\.0 reads them by zmq"):
        publisher.handle(wanted, 1)
    publisher.close(unlink=True)
    own.close()
    link.close()
    status_block.close(unlink=True)


def test_a_guest_that_comes_again_with_broken_returns_is_refused(folder: RunFolder) -> None:
    link, own = (Link(folder.inbox(name, 0), folder.doorbell(name, 0)) for name in ("camera", "guest-1"))
    publisher = make_publisher(folder, link)
    status_block = acquire_status_block(folder, "guest-1", 0, "guest")
    completions = CompletionQueueWriter(folder.completions("guest-1.0", "camera.0"), 8)
    wanted = Attach("guest-1", "guest-1.0", 77, 1, 1, False, True, "block", 0, (), (), (), (0, 0, 0, 0), lane="shm")
    status_block.words[layout.STATUS_WORD_INPUTS + layout.STATUS_INPUT_SESSION] = wanted.session
    publisher.handle(wanted, 1)
    completions.segment.words[layout.COMPLETION_WORD_COUNT] = 1 << 50  # more than there is room for
    with pytest.raises(WireError, match=r"guest-1.0 cannot attach: its completion queue is broken"):
        publisher.handle(wanted._replace(attach_epoch=2), 2)
    assert publisher.fanout.edges == {}
    publisher.close(unlink=True)
    completions.close()
    own.close()
    link.close()
    status_block.close(unlink=True)


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    folder.remove_if_empty()


@pytest.fixture
def publisher(folder: RunFolder) -> Iterator[EdgePublisher]:
    """Return one with edges to `motion` and `recorder`, where nobody is."""
    publisher = make_publisher(folder)
    for consumer in ("motion", "recorder"):
        publisher.add_edge(consumer, ephemeral("block", 8, 4))
    yield publisher
    publisher.close(unlink=True)


def test_replicas_of_a_predecessor_are_woken_so_that_they_attach_again(folder: RunFolder) -> None:
    doorbells = [Doorbell(folder.doorbell("motion", number)) for number in range(2)]
    first = make_publisher(folder)
    first.add_edge("motion", ephemeral("block", 8, 4))
    for number in range(3):  # the last one has gone as well
        edge = first.fanout.edges["motion"]
        assert edge.attach(7 + number, f"motion.{number}", 1, SessionState(), is_durable=False, now_ns=1)
    first.close(unlink=False)
    second = make_publisher(folder)
    second.add_edge("motion", ephemeral("block", 8, 4))
    second.call_back()
    assert [os.read(doorbell.fileno(), 9) for doorbell in doorbells] == [b"!", b"!"]
    for doorbell in doorbells:
        doorbell.close()
    second.close(unlink=True)


class Reading:
    """An outlet whose edge to `recorder` has one replica, which gives back what it is leased when told to."""

    def __init__(self, publisher: EdgePublisher, folder: RunFolder, window: int = 4) -> None:
        self.publisher, self.edge = publisher, publisher.fanout.edges["recorder"]
        self.completions = CompletionQueueWriter(folder.completions("recorder.0", "camera.0"), 64)
        reader = open_completion_queue(self.completions.segment.path, 0)
        assert reader is not None
        outbox = cast(Outbox, RemoteDoorbell(folder.doorbell("recorder", 0)))
        publisher._connections.add(7, ShmConnection("recorder", "recorder.0", 1, 1 << 22, outbox, reader))
        assert self.edge.attach(7, "recorder.0", window, SessionState(), is_durable=False, now_ns=1)
        self.sequence = 0

    def lease_and_return(self) -> bool:
        """Lease one frame, let it come back, and say whether it was taken back when the producer next worked."""
        self.edge.offer(0, Announcement(1, self.sequence, 1, b""), 1)
        self.completions.append(1, self.sequence, self.sequence + 1)
        self.sequence += 1
        return self.publisher.pump(1)


@pytest.fixture
def reading(publisher: EdgePublisher, folder: RunFolder) -> Iterator[Reading]:
    reading = Reading(publisher, folder)
    yield reading
    reading.completions.close()


def test_what_came_back_is_looked_at_together_once_leases_are_many(reading: Reading) -> None:
    assert [reading.lease_and_return() for _ in range(6)] == [False, False, True, False, False, True]
    reading.edge.replicas[7].window = 1
    assert [reading.lease_and_return() for _ in range(3)] == [True, True, True]


def test_what_came_back_is_looked_at_at_once_where_somebody_waits_for_it(reading: Reading) -> None:
    assert not reading.lease_and_return()
    reading.publisher.is_blocked = True
    assert reading.publisher.pump(1)
    reading.publisher.is_blocked = False
    assert not reading.lease_and_return()
    reading.edge.replicas[7].is_suspended = True  # its time was over; what it says now is a sign of life
    reading.edge.offer(0, Announcement(1, 99, 1, b""))
    assert reading.publisher.pump(1)
    assert (reading.edge.queued, reading.edge.in_flight) == (0, 1)


def test_a_lease_given_back_in_time_is_delivered_however_late_that_is_looked_at(folder: RunFolder) -> None:
    publisher = make_publisher(folder)
    publisher.add_edge("motion", EdgeOptions(**{**asdict(ephemeral("block", 8, 4)), "timeout_ns": 100}))
    edge = publisher.fanout.edges["motion"]
    completions = CompletionQueueWriter(folder.completions("motion.0", "camera.0"), 8)
    reader = open_completion_queue(completions.segment.path, 0)
    assert reader is not None
    outbox = cast(Outbox, RemoteDoorbell(folder.doorbell("motion", 0)))
    publisher._connections.add(7, ShmConnection("motion", "motion.0", 1, 1 << 22, outbox, reader))
    assert edge.attach(7, "motion.0", 4, SessionState(), is_durable=False, now_ns=1)
    edge.offer(0, Announcement(1, 0, 1, b""))
    publisher.pump(1)
    completions.append(1, 0, 1)
    publisher.tick(1000)
    assert edge.journal._words[layout.EDGE_WORD_DELIVERED : layout.EDGE_WORD_DELIVERED + 1].tolist() == [1]
    assert edge.journal._words[layout.EDGE_WORD_REFUSED] == 0
    assert edge.is_empty
    publisher.close(unlink=True)
    completions.close()


def test_completions_are_looked_at_every_time_while_the_producer_is_blocked(reading: Reading) -> None:
    reading.publisher.is_blocked = True
    assert [reading.lease_and_return() for _ in range(3)] == [True, True, True]


def test_a_replica_is_woken_at_once_for_a_lease_that_it_gets_as_the_frame_is_offered(
    reading: Reading, folder: RunFolder
) -> None:
    doorbell = Doorbell(folder.doorbell("recorder", 0))
    reading.completions.toggle_asleep()  # it sleeps
    reading.publisher.fanout.fan_out(0, Announcement(1, 0, 1, b""), 1)
    assert os.read(doorbell.fileno(), 9) == b"!"
    reading.publisher.pump(1)
    with pytest.raises(BlockingIOError):
        os.read(doorbell.fileno(), 9)
    doorbell.close()
