from __future__ import annotations

from typing import Any

import msgpack

from detektr.edge.edge import STALL_NS
from detektr.edge.outcomes import stall_words
from detektr.edge.partition.camera_map import NOBODY, CameraMap, Home, first_map
from detektr.edge.state.lease import Replica
from detektr.memory.announcement import Announcement
from detektr.memory.completion_queue import PASSED_ON
from detektr.wire.message import FailureKind
from tests.unit.edge.test_edge import Bench

A, B = 11, 12  # the streams of cameras a and b


class CameraBench(Bench):
    """Two cameras, and two replicas that have one each unless told otherwise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"payload_bytes": 32, "streams": 2, "window_total": 8} | options)
        self.edge.partition_by_camera(first_map(("a", "b"), 2))
        self.attach(7, "motion.0")
        self.attach(8, "motion.1")

    def offer(self, *sequences: int, input_index: int = 0, key: int = A) -> list[str]:
        payload: bytes = msgpack.packb({"camera": "ab"[key - A]})
        return [self.edge.offer(input_index, Announcement(key, sequence, 1, payload)) for sequence in sequences]

    def move(self, owner: int, epoch: int) -> None:
        """Give camera a to another replica."""
        self.edge.partition_by_camera(CameraMap(epoch, 2, {"a": Home(owner, epoch), "b": Home(1, 1)}))

    def replica(self, session: int) -> Replica:
        return self.edge.replicas[session]


def test_each_cameras_frames_go_to_its_replica_even_while_the_other_has_nothing_to_do() -> None:
    bench = CameraBench()
    bench.offer(0, 1, 2)
    assert bench.lease_queued() == {7: [(0, 1), (1, 1), (2, 1)]}
    bench.offer(0, key=B)
    assert bench.lease_queued() == {8: [(0, 1)]}


def test_a_dead_owner_blocks_no_other_camera() -> None:
    bench = CameraBench()
    bench.edge.evict(7, None)
    bench.offer(0, 1, 2, 3)
    bench.offer(0, 1, key=B)
    assert bench.lease_queued() == {8: [(0, 1), (1, 1)]}
    assert not bench.edge.has_room(0) and bench.edge.queued == 4
    bench.attach(9, "motion.0")
    assert bench.lease_queued() == {9: [(0, 1), (1, 1), (2, 1), (3, 1)]}


def test_frames_that_wait_for_a_dead_owner_stall_the_edge_and_it_says_for_whom() -> None:
    bench = CameraBench()
    bench.edge.evict(7, None)
    bench.offer(0)
    assert bench.edge.note_stall(1) is None
    assert bench.edge.note_stall(2 + STALL_NS) is True
    assert stall_words(bench.edge, 1) == "1 frames are queued, some for cameras of motion.0, which takes none"


def test_a_camera_moves_when_its_old_owner_holds_none_of_its_leases() -> None:
    bench = CameraBench()
    bench.offer(0, 1)
    bench.lease_queued()
    bench.move(1, epoch=2)
    bench.offer(2)
    assert bench.lease_queued() == {}
    assert bench.edge.journal.map_epoch == 1, "the old owner still holds frames"
    bench.edge.finish(7, [(A, 0, 1), (A, 1, 2)], 1)
    assert bench.lease_queued() == {8: [(2, 1)]}
    assert bench.reader.map_epoch == 2


def test_a_camera_on_the_move_is_leased_to_nobody() -> None:
    bench = CameraBench()
    bench.offer(0)
    bench.move(NOBODY, epoch=2)
    assert bench.edge.journal.map_epoch == 2
    assert bench.lease_queued() == {}
    bench.move(0, epoch=3)
    assert bench.lease_queued() == {7: [(0, 1)]}


def test_later_frames_of_the_camera_are_taken_back_with_one_that_failed() -> None:
    bench = CameraBench()
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.edge.fail(7, (A, 0, FailureKind.RETRYABLE, "raised"))
    assert not bench.replica(7).leases
    assert bench.lease_queued() == {7: [(0, 2), (1, 2), (2, 2)]}


def test_what_was_done_with_for_good_takes_nothing_back() -> None:
    for kind in (FailureKind.PERMANENT, FailureKind.OVERWRITTEN, FailureKind.TOO_OLD):
        bench = CameraBench()
        bench.offer(0, 1)
        bench.lease_queued()
        bench.edge.fail(7, (A, 0, kind, "over"))
        assert [cell.sequence for cell in bench.replica(7).leases.values()] == [1]


def test_a_frame_behind_an_untold_failure_is_no_attempt_when_its_replica_dies() -> None:
    """Frames 0 and 1 of camera a, then one of b, which is in work: 0 had failed, and 1 was never begun."""
    bench = CameraBench(max_deliveries=1)
    bench.edge.partition_by_camera(CameraMap(2, 2, {"a": Home(0, 1), "b": Home(0, 2)}))
    bench.offer(0, 1)
    bench.lease_queued()
    bench.offer(0, key=B)
    bench.lease_queued()
    bench.edge.evict(7, (3, 0, 0))
    assert [(kind, number) for kind, number, _ in bench.outcomes()] == [("dead_lettered", 0)] * 2
    assert [cell.sequence for cell in bench.edge.backlog] == [1]


def test_a_successor_of_the_producer_keeps_each_camera_where_it_is() -> None:
    bench = CameraBench()
    bench.offer(0, 1)
    bench.lease_queued()
    bench.adopt()
    bench.edge.partition_by_camera(CameraMap(2, 2, {"a": Home(1, 2), "b": Home(1, 1)}))
    bench.attach(8, "motion.1")
    bench.offer(2)
    assert bench.lease_queued() == {}, "motion.0 holds the frames before it"
    bench.attach(7, "motion.0", received=2, held=[(A, 0), (A, 1)])
    bench.edge.finish(7, [(A, 0, 1), (A, 1, 2)], 1)
    assert bench.lease_queued() == {8: [(2, 1)]}


def test_an_edge_that_is_partitioned_later_keeps_its_queue() -> None:
    bench = Bench(payload_bytes=32, streams=2, window_total=8)
    for key, camera in ((A, "a"), (B, "b")):
        payload: bytes = msgpack.packb({"camera": camera})
        bench.edge.offer(0, Announcement(key, 0, 1, payload))
    bench.edge.partition_by_camera(first_map(("a", "b"), 2))
    bench.attach(8, "motion.1")
    assert bench.lease_queued() == {8: [(0, 1)]}
    assert bench.edge.queued == 1


class RelayBench(CameraBench):
    """The same, for a consumer that passes its frames on; a replica works on two and may have passed on two more."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"passed_max": 2, "relays_to": ("last",), "window_total": 8} | options)

    def attach(
        self, session: int = 7, name: str = "motion.0", window: int = 2, *, is_durable: bool = False, **state: Any
    ) -> bool:
        return super().attach(session, name, window, is_durable=is_durable, **state)

    def pass_on(self, session: int, *leases: tuple[int, int]) -> None:
        """Hear that frames of camera a were passed on: sequence and delivery tag of each."""
        self.edge.finish(session, [(A, sequence, PASSED_ON | tag) for sequence, tag in leases], 1)


def test_what_a_relay_has_passed_on_takes_none_of_its_window_up_to_what_its_readers_may_hold() -> None:
    bench = RelayBench()
    bench.offer(0, 1, 2, 3)
    assert bench.lease_queued() == {7: [(0, 1), (1, 1)]}
    bench.pass_on(7, (0, 1))
    assert bench.lease_queued() == {7: [(2, 1)]}
    bench.pass_on(7, (1, 2), (2, 3))
    assert bench.lease_queued() == {7: [(3, 1)]}
    bench.pass_on(7, (3, 4))
    bench.offer(4)
    assert bench.lease_queued() == {}, "its readers hold four"
    bench.edge.finish(7, [(A, 0, 1)], 1)
    assert bench.lease_queued() == {7: [(4, 1)]}


def test_a_camera_moves_while_its_old_owner_still_holds_what_it_has_passed_on() -> None:
    bench = RelayBench()
    bench.offer(0, 1)
    bench.lease_queued()
    bench.pass_on(7, (0, 1))
    bench.move(1, epoch=2)
    bench.offer(2)
    assert bench.lease_queued() == {}, "frame 1 is in work"
    bench.pass_on(7, (1, 2))
    assert bench.lease_queued() == {8: [(2, 1)]}
    assert bench.reader.map_epoch == 2 and bench.edge.in_flight == 3


def test_a_camera_of_a_dead_relay_moves_at_once_and_what_it_has_passed_on_waits_for_its_successor() -> None:
    bench = RelayBench()
    bench.offer(0, 1)
    bench.lease_queued()
    bench.edge.evict(7, (2, 0, 0), {(A, 0)}, ())
    bench.move(1, epoch=2)
    assert bench.lease_queued() == {8: [(1, 2)]}
    assert list(bench.replica(7).leases) == [(A, 0)]


def test_a_failure_takes_nothing_back_that_was_passed_on() -> None:
    bench = RelayBench()
    bench.offer(0, 1)
    bench.lease_queued()
    bench.pass_on(7, (1, 2))
    bench.edge.fail(7, (A, 0, FailureKind.RETRYABLE, "raised"))
    assert list(bench.replica(7).leases) == [(A, 1)]
    assert bench.lease_queued() == {7: [(0, 2)]}


def test_a_suspect_that_was_passed_on_is_nobodys_failure() -> None:
    for is_dead in (False, True):
        bench = RelayBench(max_deliveries=1, timeout_ns=100)
        bench.offer(0, 1)
        bench.edge.lease_queued(1)
        bench.pass_on(7, (0, 1))
        if is_dead:
            bench.edge.evict(7, (1, 0, 1), {(A, 0)}, ())
        else:
            bench.edge.expire(200, lambda replica: (1, 0, 1))
        assert bench.reader.ledger().dead_lettered == 0
        assert (bench.edge.queued, bench.edge.in_flight) == (1, 1)
