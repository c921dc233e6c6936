from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgpack
import pytest

from detektr.descriptor import Descriptor
from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.frame_trail import WHOLE, FrameTrail, about_of, is_in_share
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement, Lease
from detektr.memory.journal import DROPPED, Journal
from detektr.memory.layout import (
    EDGE_WORD_DEAD_LETTERED,
    EDGE_WORD_DELIVERED,
    TRAIL_FAILED,
    TRAIL_NOBODY,
    TRAIL_WORKED,
)
from detektr.memory.trail_ring import TrailReader, TrailRecord, TrailWriter, open_trail
from detektr.wire.message import FailureKind
from tests.property.journal_bytes import new_memory

FRAME = Descriptor("cam", "cam_1", 77, 1, 0, 1, 41, 5, 1_753_608_701_224_000_000, None)
OPTIONS = EdgeOptions(mark=2, low=1, when_full="drop-oldest", window_total=4, payload_bytes=200, max_deliveries=2)
Told = Callable[[], list[TrailRecord]]


class Ring:
    """A ring on disk, and what a reader finds in it."""

    def __init__(self, path: Path) -> None:
        self.writer = TrailWriter(path, 64)
        reader = open_trail(path)
        assert reader is not None
        self.reader: TrailReader = reader

    def trail(self, share: int) -> FrameTrail:
        return FrameTrail(self.writer, "buf.0", share)

    def told(self) -> list[tuple[int, int, int, int]]:
        """Return outcome, sequence, replica and delivery of each new record."""
        return [(one.outcome, one.sequence, one.replica, one.delivery) for one in self.reader.take()]


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring(tmp_path / "buf.0.trail")
    yield made
    made.reader.close()
    made.writer.close(unlink=True)


def edge_on(memory: bytearray, ring: Ring, share: int = WHOLE) -> Edge:
    edge = Edge("motion", OPTIONS, Journal(memoryview(memory)))
    edge.trail = ring.trail(share).of_edge("motion", are_events=False)
    return edge


def new_edge(ring: Ring, share: int = WHOLE) -> Edge:
    return edge_on(new_memory(OPTIONS.cells, OPTIONS.payload_bytes), ring, share)


def offer(edge: Edge, *sequences: int, now_ns: int = 0) -> None:
    for sequence in sequences:
        edge.offer(0, Announcement(9, sequence, 1, b"frame"), now_ns)


def attach(edge: Edge, name: str = "motion.3") -> None:
    assert edge.attach(7, name, 4, SessionState(), is_durable=False, now_ns=1)


def test_a_delivered_frame_is_told_once_with_its_times_and_its_holder(ring: Ring) -> None:
    edge = new_edge(ring)
    offer(edge, 5, now_ns=100)
    attach(edge)
    edge.lease_queued(200)
    edge.finish(7, [(9, 5, 1)], 300)
    (record,) = ring.reader.take()
    assert (record.outcome, record.key, record.sequence) == (EDGE_WORD_DELIVERED, 9, 5)
    assert (record.queued_ns, record.leased_ns, record.replica, record.delivery) == (100, 200, 3, 1)
    assert record.at_ns > 200 and ring.reader.edge(record.edge) == ("buf.0", "motion")


def test_a_frame_that_waited_over_the_producers_death_has_waited_from_its_offer_on(ring: Ring) -> None:
    memory = new_memory(OPTIONS.cells, OPTIONS.payload_bytes)
    offer(edge_on(memory, ring), 5, now_ns=100)
    successor = edge_on(memory, ring)
    attach(successor)
    successor.lease_queued(200)
    successor.finish(7, [(9, 5, 1)], 300)
    (record,) = ring.reader.take()
    assert (record.queued_ns, record.leased_ns) == (100, 200)


def test_each_attempt_that_failed_is_told_and_then_that_the_frame_was_given_up(ring: Ring) -> None:
    edge = new_edge(ring)
    attach(edge)
    offer(edge, 5)
    for _ in range(2):
        edge.lease_queued(200)
        edge.fail(7, (9, 5, FailureKind.RETRYABLE, "it raised"))
    assert ring.told() == [(TRAIL_FAILED, 5, 3, 1), (EDGE_WORD_DEAD_LETTERED, 5, 3, 2)]


def test_drops_are_told_of_frames_that_were_queued_and_of_those_that_never_came(ring: Ring) -> None:
    edge = new_edge(ring, share=0)
    offer(edge, 1, 2, 3)
    edge.count_dropped(9, 13, 10, "ring_full")
    records = ring.reader.take()
    assert [(one.outcome, one.sequence, one.frames) for one in records] == [
        (DROPPED["queue_full"], 1, 1),
        (DROPPED["ring_full"], 13, 10),
    ]
    assert {one.replica for one in records} == {TRAIL_NOBODY}


def test_without_a_share_nothing_is_told_of_what_went_well_or_was_left_out_on_purpose(ring: Ring) -> None:
    edge = new_edge(ring, share=0)
    attach(edge)
    offer(edge, 5)
    edge.lease_queued(200)
    edge.finish(7, [(9, 5, 1)], 300)
    edge.count_dropped(9, 6, 1, "thinned")
    assert ring.told() == []


def test_a_frame_is_in_on_all_edges_or_on_none_and_as_many_are_as_were_asked_for(ring: Ring) -> None:
    share = WHOLE // 10
    edge, work = new_edge(ring, share), ring.trail(share).of_input("buf.0", are_events=False)
    attach(edge)
    for sequence in range(1000):
        offer(edge, sequence)
        edge.lease_queued(1)
        work.worked(Lease(9, sequence, 1, b"", 0, sequence + 1, 1), 1)
        edge.finish(7, [(9, sequence, sequence + 1)], 2)
    told: dict[int, set[int]] = {EDGE_WORD_DELIVERED: set(), TRAIL_WORKED: set()}
    ring.reader.take()  # the ring of a test is small: of its last records
    for sequence in range(1000, 1100):
        offer(edge, sequence)
        edge.lease_queued(1)
        work.worked(Lease(9, sequence, 1, b"", 0, sequence + 1, 1), 1)
        edge.finish(7, [(9, sequence, sequence + 1)], 2)
    for record in ring.reader.take():
        told[record.outcome].add(record.sequence)
    assert told[EDGE_WORD_DELIVERED] == told[TRAIL_WORKED]
    assert len(told[TRAIL_WORKED]) in (9, 10, 11)


@pytest.mark.parametrize("stride", [1, 2, 3, 5, 25, 100])
def test_a_share_is_in_no_step_with_thinning(stride: int) -> None:
    count = sum(is_in_share(sequence, WHOLE // 100) for sequence in range(0, 100_000 * stride, stride))
    assert 900 < count < 1100


def packed(frame: str) -> bytes:
    event: bytes = msgpack.packb({"frame": frame, "camera": "cam_1", "data": {"n": 1}})
    return event


def test_an_event_is_about_the_frame_that_its_id_names() -> None:
    about = about_of(packed(FRAME.id))
    assert about & 0xFFFFFFFF == 41
    assert f"{about >> 32:08x}" == FRAME.id[-8:]


@pytest.mark.parametrize(
    "payload", [b"", b"\xa5frame", packed("no id"), packed("a_b_c"), packed("x_12_zz"), b"\x81" * 9]
)
def test_bytes_that_name_no_frame_are_about_none(payload: bytes) -> None:
    assert about_of(payload) == 0


def test_an_event_is_sampled_as_its_frame_is(ring: Ring) -> None:
    trail = ring.trail(WHOLE // 4).of_edge("sink", are_events=True)
    for sequence in range(100):
        event = packed(f"1_cam_cam_{sequence}_00000000")
        assert trail.is_in(Announcement(1, 12345, 1, event)) == is_in_share(sequence, WHOLE // 4)
