from __future__ import annotations

from typing import Any

import pytest

from detektr.edge.edge import STALL_NS, Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.state.lease import SessionState
from detektr.errors import WireError
from detektr.memory.announcement import Announcement, FrameName, Lease
from detektr.memory.completion_queue import Completion
from detektr.memory.journal import Journal
from detektr.memory.journal_reader import JournalReader
from detektr.memory.layout import SUSPECT_NOBODY
from detektr.wire.message import FailureKind
from tests.property.journal_bytes import fields, new_memory, read_journal


class Bench:
    """An edge on plain bytes, and its consumers, which read in its journal what they were given."""

    def __init__(self, **options: Any) -> None:
        values: dict[str, Any] = {"mark": 4, "low": 3, "when_full": "block", "window_total": 4, "payload_bytes": 8}
        self.options = EdgeOptions(**(values | options))
        self.memory = new_memory(self.options.cells, self.options.payload_bytes)
        self.reader: JournalReader = read_journal(self.memory)
        self.received: dict[int, int] = {}  # running number of the last lease that each session has read
        self.adopt()

    def adopt(self) -> None:
        """Let a successor of the producer take over."""
        self.edge = Edge("motion", self.options, Journal(memoryview(self.memory)))

    def offer(self, *sequences: int, input_index: int = 0, key: int = 1) -> list[str]:
        return [
            self.edge.offer(input_index, Announcement(key, sequence, 1, b"%d" % sequence)) for sequence in sequences
        ]

    def offer_now(self, *sequences: int, now_ns: int = 1, input_index: int = 0, key: int = 1) -> None:
        """Offer frames that may be leased as they come."""
        for sequence in sequences:
            assert self.edge.offer(input_index, Announcement(key, sequence, 1, b"%d" % sequence), now_ns) == "taken"

    def attach(
        self, session: int = 7, name: str = "motion.0", window: int = 4, *, is_durable: bool = False, **state: Any
    ) -> bool:
        is_in = self.edge.attach(session, name, window, SessionState(**state), is_durable=is_durable, now_ns=1)
        entry = self.reader.entry_of(session)
        assert (entry is not None) is is_in
        if entry is not None:
            self.received[session] = self.reader.tag_before(entry)
        return is_in

    def lease(self, now_ns: int = 1) -> dict[int, list[Lease]]:
        """Return what was leased, by session, as its holders read it."""
        self.edge.lease_queued(now_ns)
        announced_to = self.edge.take_announced()
        found = {}
        for session, received in self.received.items():
            entry = self.reader.entry_of(session)
            if entry is not None:
                last = self.received[session] = self.reader.last_tag(entry)
                assert (session in announced_to) is (last > received)
                if last > received:
                    found[session] = self.reader.leases(entry, session, received, last)
                    assert [lease.delivery_tag for lease in found[session]] == list(range(received + 1, last + 1))
        return found

    def lease_queued(self, now_ns: int = 1) -> dict[int, list[tuple[int, int]]]:
        """Return sequence and delivery of what was leased, by session."""
        leases = self.lease(now_ns)
        return {session: [(lease.sequence, lease.delivery) for lease in mine] for session, mine in leases.items()}

    def outcomes(self) -> list[tuple[str, int, str]]:
        """Return what became of frames since the last call."""
        return [(one.kind.name.lower(), one.sequence, one.reason) for one in self.edge.take_outcomes()]


def names(*sequences: int) -> list[FrameName]:
    return [(1, sequence) for sequence in sequences]


def completed(*sequences: int, delivery_tag: int = 0) -> list[Completion]:
    return [(1, sequence, delivery_tag) for sequence in sequences]


def dropped(bench: Bench) -> dict[str, int]:
    return {reason: count for reason, count in bench.reader.ledger().dropped.items() if count}


# -- policies


def test_a_blocking_edge_has_no_room_from_its_mark_down_to_its_low_mark() -> None:
    bench = Bench(mark=3, low=1, window_total=4)
    bench.attach(window=4)
    seen = []
    for sequence in range(3):
        seen.append(bench.edge.has_room(0))
        bench.offer(sequence)
    assert seen == [True, True, True]
    assert not bench.edge.has_room(0)
    bench.edge.replicas[7].window = 1
    bench.lease_queued()
    assert (bench.edge.queued, bench.edge.has_room(0)) == (2, False)
    bench.edge.replicas[7].window = 2
    bench.lease_queued()
    assert (bench.edge.queued, bench.edge.has_room(0)) == (1, True)


def test_drop_oldest_keeps_the_newest_and_names_what_it_dropped() -> None:
    bench = Bench(when_full="drop-oldest", mark=2)
    bench.offer(0, 1, 2, 3)
    assert bench.outcomes() == [("dropped", 0, "queue_full"), ("dropped", 1, "queue_full")]
    bench.attach()
    assert bench.lease_queued() == {7: [(2, 1), (3, 1)]}
    assert dropped(bench) == {"queue_full": 2}


def test_drop_newest_keeps_the_oldest() -> None:
    bench = Bench(when_full="drop-newest", mark=2, low=1)
    assert bench.offer(0, 1, 2, 3) == ["taken", "taken", "dropped", "dropped"]
    bench.attach()
    assert bench.lease_queued() == {7: [(0, 1), (1, 1)]}
    assert dropped(bench) == {"queue_full": 2}


def test_a_queue_grown_by_a_dead_replicas_leases_shrinks_to_its_mark_at_the_next_offer() -> None:
    bench = Bench(when_full="drop-oldest", mark=2, window_total=2)
    bench.attach(window=2)
    bench.offer(0, 1)
    bench.lease_queued()
    bench.offer(2, 3)
    bench.edge.detach(7)
    assert bench.edge.queued == 4
    bench.offer(4)
    assert bench.edge.queued == 2
    bench.attach(8)
    assert bench.lease_queued() == {8: [(3, 1), (4, 1)]}


def test_a_blocking_edge_whose_cells_are_all_used_by_returned_leases_has_no_room() -> None:
    bench = Bench(mark=1, low=0, inputs=2, window_total=2)
    bench.attach(window=2)
    for turn in range(4):  # leases come back and the queues are filled up again
        for input_index in (0, 1):
            sequence = bench.edge.journal.seen(input_index + 1)
            if bench.edge.has_room(input_index):
                assert bench.offer(sequence, input_index=input_index, key=input_index + 1) == ["taken"]
        bench.lease_queued()
        if turn % 2:
            bench.edge.detach(7)
            bench.attach()
    assert dropped(bench) == {}


def test_too_old_is_dropped_when_its_turn_comes() -> None:
    bench = Bench(max_age_ns=100)
    bench.attach()
    bench.offer(0, 1)
    bench.edge.offer(0, Announcement(1, 2, 150, b""))
    assert bench.lease_queued(now_ns=200) == {7: [(2, 1)]}
    assert dropped(bench) == {"too_old": 2}


def test_a_frame_offered_before_is_known_and_counted_once() -> None:
    bench = Bench()
    assert bench.offer(0, 1) == ["taken", "taken"]
    bench.adopt()
    assert bench.offer(0, 1, 2) == ["known", "known", "taken"]
    assert bench.reader.ledger().offered == 3


def test_frames_that_never_had_pixels_are_offered_and_dropped() -> None:
    bench = Bench()
    bench.edge.count_dropped(1, 9, 10, "ring_full")
    ledger = bench.reader.ledger()
    assert (ledger.offered, ledger.dropped["ring_full"], ledger.unaccounted) == (10, 10, 0)
    assert bench.offer(9, 10) == ["known", "taken"]


# -- credit


def test_each_frame_goes_to_one_replica_and_the_least_busy_comes_first() -> None:
    bench = Bench()
    bench.attach(7, "motion.0", window=2)
    bench.attach(8, "motion.1", window=2)
    bench.offer(0, 1, 2, 3)
    assert bench.lease_queued() == {7: [(0, 1), (2, 1)], 8: [(1, 1), (3, 1)]}


def test_replicas_together_hold_no_more_than_the_edges_window() -> None:
    bench = Bench(window_total=3)
    bench.attach(7, "motion.0", window=2)
    bench.attach(8, "motion.1", window=2)
    bench.offer(0, 1, 2, 3)
    bench.lease_queued()
    assert bench.edge.in_flight == 3


def test_what_is_leased_is_announced_to_its_holder_alone_as_it_was_offered() -> None:
    bench = Bench()
    bench.attach(7, "motion.0", window=1)
    bench.attach(8, "motion.1", window=1)
    bench.edge.offer(0, Announcement(5, 9, 77, b"payload"))
    bench.offer(0)
    (first,), (second,) = bench.lease().values()
    assert fields(first) == (5, 9, 77, b"payload", first.cell, 1, 1)
    assert fields(second) == (1, 0, 1, b"0", second.cell, 1, 1)
    bench.edge.lease_queued(2)
    assert bench.edge.take_announced() == set()


def test_who_takes_another_s_place_reads_nothing_of_what_that_one_was_granted() -> None:
    bench = Bench()
    bench.attach(7, "motion.0")
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.edge.detach(7)
    bench.attach(8, "motion.1")
    entry = bench.reader.entry_of(8)
    assert entry == 0
    assert bench.reader.last_tag(entry) == bench.received[8] == 0
    assert bench.reader.leases(entry, 8, 0, 3) == []
    assert bench.lease_queued() == {8: [(0, 2), (1, 2), (2, 2)]}
    assert bench.reader.leases(entry, 7, 0, 3) == []


def test_lanes_are_served_in_turn() -> None:
    bench = Bench(inputs=2)
    bench.offer(0, 1, input_index=0, key=1)
    bench.offer(0, 1, input_index=1, key=2)
    bench.attach()
    leases = bench.lease()[7]
    assert [(lease.key, lease.sequence) for lease in leases] == [(1, 0), (2, 0), (1, 1), (2, 1)]


def test_an_edge_with_one_queue_for_all_lanes_still_knows_which_lane_a_frame_came_by() -> None:
    bench = Bench()
    bench.attach()
    bench.offer(0, input_index=2)
    bench.offer_now(1, input_index=3)
    bench.adopt()
    assert sorted((cell.sequence, cell.input_index) for cell in bench.edge.holds()) == [(0, 2), (1, 3)]


# -- leased as it comes


def test_a_frame_is_leased_as_it_comes_where_nothing_waits_and_a_replica_has_credit() -> None:
    bench = Bench()
    bench.attach(window=2)
    bench.offer_now(0, 1, 2)
    assert (bench.edge.queued, bench.edge.in_flight) == (1, 2)
    ledger = bench.reader.ledger()
    assert (ledger.offered, ledger.queued, ledger.in_flight) == (3, 1, 2)
    assert bench.lease_queued() == {7: [(0, 1), (1, 1)]}
    bench.edge.lease_queued(2)
    assert bench.edge.take_announced() == set(), "it was told already"
    bench.edge.finish(7, completed(0, 1), 3)
    assert bench.lease_queued() == {7: [(2, 1)]}


def test_a_frame_that_comes_goes_to_the_least_busy() -> None:
    bench = Bench()
    bench.attach(7, "motion.0", window=2)
    bench.attach(8, "motion.1", window=2)
    bench.offer_now(0, 1, 2, 3)
    assert bench.lease_queued() == {7: [(0, 1), (2, 1)], 8: [(1, 1), (3, 1)]}


def test_a_frame_that_comes_waits_behind_those_that_wait() -> None:
    bench = Bench()
    bench.offer(0)
    bench.attach()
    bench.offer_now(1)
    assert bench.edge.queued == 2
    assert bench.lease_queued() == {7: [(0, 1), (1, 1)]}


def test_a_frame_that_comes_waits_for_the_edges_window_for_an_absent_and_for_a_suspended_replica() -> None:
    bench = Bench(window_total=1, timeout_ns=100)
    bench.offer_now(0)
    assert bench.edge.queued == 1, "nobody is there"
    bench.attach(window=1)
    bench.lease_queued()
    bench.offer_now(1)
    assert (bench.edge.queued, bench.edge.in_flight) == (1, 1)
    bench.edge.expire(now_ns=200)
    bench.edge.drop_all("stopped")
    bench.offer_now(2, now_ns=201)
    assert (bench.edge.queued, bench.edge.in_flight) == (1, 0), "its time was over, and it has said nothing since"


def test_the_time_of_a_frame_leased_as_it_came_is_over_like_that_of_any_other() -> None:
    bench = Bench(timeout_ns=100)
    bench.attach()
    bench.offer_now(0, now_ns=1000)
    bench.edge.expire(now_ns=1100)
    assert bench.edge.in_flight == 1
    bench.edge.expire(now_ns=1101)
    assert (bench.edge.in_flight, bench.edge.queued) == (0, 1)
    assert bench.outcomes() == [("redelivered", 0, "took longer than 1e-07 s")]


def test_a_frame_that_comes_too_old_is_dropped_and_not_leased() -> None:
    bench = Bench(max_age_ns=100)
    bench.attach()
    bench.offer_now(0, now_ns=200)
    assert bench.lease_queued(now_ns=200) == {}
    assert dropped(bench) == {"too_old": 1}


def test_a_frame_leased_as_it_came_is_adopted_by_a_successor_and_stays_with_its_holder() -> None:
    bench = Bench()
    bench.attach()
    bench.offer_now(0, 1)
    bench.lease_queued()
    bench.adopt()
    bench.attach(received=2, held=frozenset(names(0, 1)))
    assert (bench.edge.queued, bench.edge.in_flight) == (0, 2)
    bench.edge.finish(7, [(1, 0, 1), (1, 1, 2)], 2)
    assert bench.reader.ledger().delivered == 2


def test_who_left_before_it_could_be_told_of_what_came_has_nothing() -> None:
    bench = Bench()
    bench.attach()
    bench.offer_now(0)
    bench.edge.detach(7)
    bench.attach(8, "motion.1")
    assert bench.lease_queued() == {8: [(0, 2)]}


# -- redelivery


def test_what_a_dead_replica_finished_is_delivered_what_it_worked_on_failed_once_and_the_rest_waits() -> None:
    bench = Bench(max_deliveries=2)
    bench.attach()
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.edge.evict(7, (2, 1, 0))
    ledger = bench.reader.ledger()
    assert (ledger.delivered, ledger.queued, ledger.in_flight) == (1, 2, 0)
    assert bench.outcomes() == [("redelivered", 1, "its replica died")]
    bench.attach(8)
    assert bench.lease_queued() == {8: [(1, 2), (2, 2)]}
    assert bench.reader.ledger().redelivered == 2


def test_a_failure_that_died_with_its_replica_is_a_failed_attempt_and_leaves_no_lease_behind() -> None:
    bench = Bench()
    bench.attach()
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.edge.evict(7, (3, 1, 0))  # worked on the third, finished the first: the second one's failure was never heard
    assert (bench.edge.queued, bench.edge.in_flight) == (2, 0)
    assert ("redelivered", 1, "failed, and its replica died") in bench.outcomes()


@pytest.mark.parametrize(("suspect", "blamed"), [(SUSPECT_NOBODY, []), (3, [2]), (1, [])])
def test_a_suspect_alone_is_to_blame_for_a_death(suspect: int, blamed: list[int]) -> None:
    bench = Bench(max_deliveries=2)
    bench.attach()
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.edge.evict(7, (0, 1, suspect))
    assert bench.reader.ledger().delivered == 1
    assert bench.outcomes() == [("redelivered", sequence, "its replica died") for sequence in blamed]
    assert bench.edge.queued == 2


def test_a_successor_says_whom_its_predecessor_suspected() -> None:
    bench = Bench(max_deliveries=1)
    bench.attach()
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.attach(8, previous=(7, 0, 0, 2))
    assert bench.outcomes() == [("dead_lettered", 1, "its replica died")]


def test_a_frame_given_to_another_replica_is_marked_as_redelivered() -> None:
    bench = Bench()
    bench.attach(7, "motion.0", window=2)
    bench.attach(8, "motion.1", window=2)
    bench.offer(0, 1, 2, 3)
    bench.lease_queued()
    bench.edge.finish(8, completed(1, 3), 1)
    bench.edge.detach(7)
    assert bench.lease_queued() == {8: [(0, 2), (2, 2)]}  # out of order for it: it has seen 3


def test_a_frame_that_fails_too_often_is_dead_lettered() -> None:
    bench = Bench(max_deliveries=2)
    bench.attach()
    bench.offer(0)
    for delivery in (1, 2):
        assert bench.lease_queued() == {7: [(0, delivery)]}
        bench.edge.fail(7, (1, 0, FailureKind.RETRYABLE, "ValueError"))
    assert bench.outcomes() == [("redelivered", 0, "ValueError"), ("dead_lettered", 0, "ValueError")]
    ledger = bench.reader.ledger()
    assert (ledger.dead_lettered, ledger.unaccounted, bench.edge.settled) == (1, 0, names(0))


def test_an_overwritten_frame_is_dropped_and_not_tried_again() -> None:
    bench = Bench()
    bench.attach()
    bench.offer(0)
    bench.lease_queued()
    bench.edge.fail(7, (1, 0, FailureKind.OVERWRITTEN, "overwritten"))
    assert bench.edge.is_empty
    assert dropped(bench) == {"overwritten": 1}


def test_a_result_after_the_lease_was_over_is_refused_and_counted() -> None:
    bench = Bench(timeout_ns=100)
    bench.attach()
    bench.offer(0)
    bench.lease_queued(now_ns=1)
    bench.edge.expire(now_ns=200)
    bench.edge.finish(7, completed(0), 201)
    assert bench.outcomes() == [("redelivered", 0, "took longer than 1e-07 s"), ("refused", 0, "its lease was over")]
    ledger = bench.reader.ledger()
    assert (ledger.refused, ledger.delivered, ledger.queued) == (1, 0, 1)


def test_a_replica_whose_time_was_over_gets_nothing_until_it_says_something() -> None:
    bench = Bench(timeout_ns=100)
    bench.attach()
    bench.offer(0)
    bench.lease_queued(now_ns=1)
    bench.edge.expire(now_ns=200)
    assert bench.lease_queued(now_ns=201) == {}
    bench.edge.finish(7, (), 202)  # nothing but a sign of life
    assert bench.lease_queued(now_ns=203) == {7: [(0, 2)]}


def test_a_frame_finished_twice_in_one_message_is_delivered_once() -> None:
    bench = Bench()
    bench.attach()
    bench.offer(0)
    bench.lease_queued()
    bench.edge.finish(7, completed(0, 0), 1)
    assert (bench.reader.ledger().delivered, bench.reader.ledger().refused) == (1, 1)


# -- attaching again


def test_after_a_producers_crash_held_stays_finished_is_delivered_and_lost_is_sent_again() -> None:
    bench = Bench()
    bench.attach()
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.adopt()
    assert bench.edge.in_flight == 3
    bench.attach(received=2, held=frozenset(names(1)))  # 0 was finished unheard, 2 never arrived
    ledger = bench.reader.ledger()
    assert (ledger.delivered, ledger.in_flight, ledger.queued) == (1, 1, 1)
    assert bench.lease_queued() == {7: [(2, 2)]}


def test_after_attaching_again_it_reads_on_behind_what_was_settled() -> None:
    bench = Bench(window_total=8, mark=8)
    bench.attach(window=8)
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.offer(3)
    bench.edge.lease_queued(1)  # and the producer is killed before it is read
    bench.adopt()
    bench.attach(window=8, received=3, held=frozenset(names(0, 1, 2)))
    assert bench.received == {7: 4}
    bench.offer(4)
    assert bench.lease_queued() == {7: [(3, 2), (4, 1)]}


def test_a_failure_heard_before_the_crash_is_not_counted_again_when_it_is_told_again() -> None:
    bench = Bench(max_deliveries=2)
    bench.attach()
    bench.offer(0)
    bench.lease_queued()
    bench.edge.fail(7, (1, 0, FailureKind.RETRYABLE, "ValueError"))
    bench.lease_queued()  # a second attempt, which is lost on its way
    bench.adopt()
    bench.attach(received=1, failed=((1, 0, FailureKind.RETRYABLE, "ValueError"),))
    assert bench.reader.ledger().dead_lettered == 0
    assert bench.lease_queued() == {7: [(0, 3)]}


def test_leases_of_a_predecessor_are_settled_though_the_producer_died_while_its_successor_attached() -> None:
    bench = Bench()
    bench.attach(7)
    bench.offer(0, 1)
    bench.lease_queued()
    bench.edge.journal.write_replica(1, 8, "motion.0", 4, is_durable=False)  # and then it was killed
    bench.adopt()
    bench.attach(8, previous=(7, 2, 1, 0))
    ledger = bench.reader.ledger()
    assert (ledger.delivered, ledger.queued, ledger.in_flight) == (1, 1, 0)
    assert list(bench.edge.replicas) == [8]


def test_a_durable_consumers_leases_wait_for_its_successor() -> None:
    bench = Bench()
    bench.attach(7, "buffer.0", is_durable=True)
    bench.offer(0, 1, 2, 3)
    bench.lease_queued()
    bench.edge.evict(7, None)
    assert bench.edge.in_flight == 4
    seen = {1: 3}  # 0 and 2 are done with, 3 never arrived
    bench.attach(8, "buffer.0", is_durable=True, held=frozenset(names(1)), seen=seen)
    ledger = bench.reader.ledger()
    assert (ledger.delivered, ledger.in_flight, ledger.queued) == (2, 1, 1)
    assert list(bench.edge.replicas) == [8]
    assert bench.lease_queued() == {8: [(3, 2)]}, "what it held was not announced once more"


def test_more_replicas_than_the_journal_has_places_for_are_refused() -> None:
    bench = Bench()
    assert all(bench.attach(session, f"motion.{session}") for session in range(1, 65))
    assert not bench.attach(65, "motion.65")


# -- stalls and ends


def test_an_edge_with_frames_and_nobody_stalls_and_resumes() -> None:
    bench = Bench()
    bench.offer(0)
    assert bench.edge.note_stall(1) is None
    assert bench.edge.note_stall(1 + STALL_NS) is None
    assert bench.edge.note_stall(2 + STALL_NS) is True
    assert bench.reader.ledger().is_stalled
    assert bench.edge.note_stall(3 + STALL_NS) is None
    bench.attach()
    assert bench.edge.note_stall(4 + STALL_NS) is False


def test_an_empty_edge_without_consumers_is_not_stalled() -> None:
    bench = Bench()
    assert bench.edge.note_stall(1) is None
    assert bench.edge.note_stall(10 * STALL_NS) is None


def test_the_end_of_a_drain_drops_what_is_queued_and_leased() -> None:
    bench = Bench(window_total=1)
    bench.attach(window=1)
    bench.offer(0, 1)
    bench.lease_queued()
    bench.edge.drop_all("stopped")
    assert bench.edge.is_empty
    assert dropped(bench) == {"stopped": 2}
    assert sorted(bench.edge.settled) == names(0, 1)


@pytest.mark.parametrize("count", [23, 24, 100])
def test_more_frames_than_one_change_can_carry_are_settled(count: int) -> None:
    bench = Bench(mark=100, low=99, window_total=100)
    bench.attach(window=100)
    bench.offer(*range(count))
    bench.lease_queued()
    bench.edge.finish(7, completed(*range(count)), 1)
    assert bench.reader.ledger().delivered == count


def test_the_longest_queue_is_adopted_and_finished_within_the_tests_time() -> None:
    count = 65_536  # with a search for each frame this takes minutes
    bench = Bench(mark=count, low=count - 1, window_total=count)
    bench.attach(window=count)
    bench.offer(*range(count))
    bench.adopt()
    bench.attach()
    bench.lease_queued()
    bench.edge.finish(7, completed(*range(count)), 1)
    assert bench.edge.is_empty
    assert bench.reader.ledger().delivered == count


def test_a_failure_that_no_attempt_can_mend_is_dead_lettered_at_once() -> None:
    bench = Bench(max_deliveries=5)
    bench.attach()
    bench.offer(0, 1)
    bench.lease_queued()
    bench.edge.fail(7, (1, 0, FailureKind.PERMANENT, "process() returned int"))
    bench.edge.fail(7, (1, 1, FailureKind.RETRYABLE, "ValueError: this time"))
    assert [outcome[:2] for outcome in bench.outcomes()] == [("dead_lettered", 0), ("redelivered", 1)]
    assert bench.reader.ledger().dead_lettered == 1
    assert bench.lease_queued() == {7: [(1, 2)]}


def test_a_return_of_a_lease_that_was_ended_does_not_end_the_next_one_of_the_same_frame() -> None:
    bench = Bench(timeout_ns=100)
    bench.attach()
    bench.offer(0)
    first = bench.lease(1)[7][0].delivery_tag
    bench.edge.expire(now_ns=500)
    bench.edge.finish(7, (), 501)  # it wakes, and says so ...
    second = bench.lease(502)[7][0].delivery_tag
    bench.edge.finish(7, completed(0, delivery_tag=first), 503)  # ... and what it gave back before is read only now
    assert (bench.edge.in_flight, [what for what, *_ in bench.outcomes()]) == (1, ["redelivered", "refused"])
    bench.edge.finish(7, completed(0, delivery_tag=second), 504)
    assert bench.edge.is_empty


def test_an_announcement_that_no_cell_can_hold_is_refused_and_leases_nothing() -> None:
    bench = Bench()
    bench.attach()
    with pytest.raises(WireError, match="this edge's cells"):
        bench.edge.offer(0, Announcement(1, 0, 1, b"x" * 1000), now_ns=1)
    assert bench.edge.is_empty
    bench.offer_now(0)
    assert bench.edge.in_flight == 1


def test_an_optional_consumer_that_is_too_slow_blocks_nobody_and_the_reason_says_whose_fault_it_was() -> None:
    bench = Bench(when_full="drop-oldest", mark=2, is_optional=True)
    bench.offer(0, 1, 2, 3)
    assert bench.edge.has_room(0)
    assert dropped(bench) == {"consumer_slow": 2}
    assert bench.outcomes() == [("dropped", 0, "consumer_slow"), ("dropped", 1, "consumer_slow")]


def test_the_journal_says_since_when_a_producer_waits_for_room() -> None:
    bench = Bench(mark=2, low=1)
    bench.offer(0, 1)
    for now_ns in (5, 9):
        bench.edge.note_full(now_ns)
        assert bench.reader.ledger().full_since_ns == 5
    bench.attach()
    bench.lease_queued()
    bench.edge.note_full(11)
    assert bench.reader.ledger().full_since_ns == 0
    dropping = Bench(when_full="drop-newest", mark=2)
    dropping.offer(0, 1, 2)
    dropping.edge.note_full(5)
    assert dropping.reader.ledger().full_since_ns == 0


def test_time_that_the_producer_did_not_see_ends_no_lease() -> None:
    bench = Bench(timeout_ns=100)
    bench.attach()
    bench.offer(0)
    bench.lease_queued(now_ns=10)
    bench.edge.forgive(1000)
    bench.edge.expire(1100)
    assert bench.edge.hanging == [] and bench.edge.in_flight == 1
    bench.edge.expire(1111)
    assert bench.edge.hanging == [("motion.0", 1010)] and bench.edge.in_flight == 0


def test_what_a_replica_had_finished_when_nobody_took_it_back_is_delivered() -> None:
    bench = Bench()
    bench.attach()
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.edge.finish_until(7, 2, 5)
    bench.edge.finish_until(8, 3, 5)
    ledger = bench.reader.ledger()
    assert (ledger.delivered, ledger.in_flight, ledger.unaccounted) == (2, 1, 0)


def test_a_frame_given_back_as_too_old_is_dropped_and_counted_and_was_no_attempt() -> None:
    bench = Bench(max_age_ns=100, max_deliveries=1)
    bench.attach()
    bench.offer(0)
    bench.lease_queued()
    bench.edge.fail(7, (1, 0, FailureKind.TOO_OLD, "too old"))
    assert dropped(bench) == {"too_old": 1} and bench.edge.is_empty
    assert bench.outcomes() == [("dropped", 0, "too_old")]


def test_what_an_edge_does_not_want_is_counted_as_a_drop_and_asks_for_no_room() -> None:
    bench = Bench(mark=1, low=0, window_total=1, cameras=("door",))
    assert bench.offer(0, 1, 2) == ["dropped"] * 3
    assert dropped(bench) == {"filtered": 3} and bench.reader.ledger().offered == 3
    assert bench.edge.has_room(0) and bench.edge.journal.seen(1) == 3
    assert bench.offer(1) == ["known"]


def test_what_is_thinned_is_counted_on_its_edge() -> None:
    bench = Bench(when_full="drop-newest", mark=9, low=8, fps=10)
    tenths = [bench.edge.offer(0, Announcement(1, number, 1 + number * 50_000_000, b"")) for number in range(8)]
    assert tenths == ["taken", "dropped"] * 4
    assert dropped(bench) == {"thinned": 4}


def test_an_edge_whose_consumer_has_failed_for_good_thins_nothing_any_more() -> None:
    bench = Bench(cameras=("door",))
    bench.edge.give_up()
    bench.offer(0)
    assert dropped(bench) == {"gone": 1}


def test_an_edge_whose_consumer_retries_dead_letters_what_it_would_drop_at_the_end() -> None:
    bench = Bench(is_retried=True)
    bench.attach(window=1)
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.edge.drop_all("stopped")
    why = "stopped: motion had not taken it when the waiting for it ended"
    assert bench.outcomes() == [("dead_lettered", sequence, why) for sequence in range(3)]
    ledger = bench.reader.ledger()
    assert (ledger.dead_lettered, dropped(bench), ledger.unaccounted) == (3, {}, 0)


def test_a_replica_that_dies_in_a_pause_costs_the_held_frame_no_attempt_and_it_stays_first() -> None:
    bench = Bench(max_deliveries=1, is_retried=True)
    for session in (7, 8, 9):
        bench.attach(session, window=2)
        bench.offer(*range(3) if session == 7 else ())
        assert [sequence for sequence, _ in bench.lease_queued()[session]] == [0, 1]
        bench.edge.evict(session, (0, 0, 0))  # working on none: it paused
    assert bench.outcomes() == []
    assert bench.edge.queued == 3
