from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detektr.edge.state.lease import SessionState
from detektr.memory import layout
from detektr.memory.announcement import Announcement
from detektr.memory.run_folder import RunFolder
from detektr.wire.message import Failure, FailureKind, Refusal, Welcome
from tests.unit.edge.attached import Bench

FINISHED = layout.STATUS_WORD_INPUTS + layout.STATUS_INPUT_FINISHED


@pytest.fixture
def bench(shm_dir: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Yield one; the parameter, if any, is the edge's `max_age`."""
    folder = RunFolder("demo")
    folder.make()
    bench = Bench(folder, max_age_ns=getattr(request, "param", None))
    yield bench
    bench.subscriber.close()
    bench.journal.close()
    bench.segment.close()
    for path in folder.path.iterdir():
        path.unlink()
    folder.remove_if_empty()


def test_skipping_leases_that_were_revoked_is_told_or_the_producer_would_lease_nothing_any_more(bench: Bench) -> None:
    bench.offer(0)
    bench.lease_queued()
    bench.edge.expire(now_ns=500)
    assert bench.subscriber.take(1) is None
    told = bench.told()
    assert told.failed == ()
    bench.edge.finish(told.session, (), 501)
    bench.lease_queued(502)
    assert bench.take().delivery == 2


def test_leases_revoked_before_they_were_received_are_skipped_and_that_is_told_too(bench: Bench) -> None:
    bench.offer(0, 1)
    bench.edge.lease_queued(1)
    bench.edge.expire(now_ns=500)
    bench.subscriber.receive()
    assert not bench.subscriber.held
    told = bench.told()
    assert (told.session, told.failed) == (bench.session, ())
    bench.edge.finish(told.session, (), 501)
    bench.lease_queued(502)
    assert bench.taken() == [(0, 2), (1, 2)]


def test_a_frame_revoked_and_leased_again_is_worked_on_once(bench: Bench) -> None:
    bench.offer(0)
    bench.lease_queued()
    bench.edge.expire(now_ns=500)
    bench.edge.finish(bench.session, (), 501)
    bench.lease_queued(502)
    lease = bench.take()
    assert lease.delivery == 2
    bench.subscriber.finish((1, 0), lease.delivery_tag)
    assert bench.subscriber.take(1) is None
    assert bench.given_back() == [(1, 0, lease.delivery_tag)]


def test_what_is_given_back_rings_only_at_a_producer_that_waits(bench: Bench) -> None:
    bench.offer(0, 1)
    bench.lease_queued()
    bench.subscriber.finish((1, 0), bench.take().delivery_tag)
    bench.subscriber.flush()
    assert bench.outbox.rings == 0
    bench.producer_sleeps(layout.NOTIFY_SHORT)
    bench.subscriber.receive()  # each turn begins with a look
    bench.subscriber.flush()
    assert bench.given_back() == [(1, 0, 1)]
    bench.subscriber.receive()
    bench.subscriber.flush()
    assert (bench.outbox.rings, bench.outbox.sent) == (1, []), "once, and no message"


def test_a_producer_that_waits_is_not_woken_while_more_than_half_of_the_leases_wait_for_us(bench: Bench) -> None:
    bench.producer_sleeps(layout.NOTIFY_SHORT)
    bench.offer(0, 1, 2, 3)
    bench.lease_queued()
    rings = []
    for _ in range(4):
        lease = bench.take()
        bench.subscriber.finish((1, lease.sequence), lease.delivery_tag)
        bench.subscriber.flush()
        rings.append(bench.outbox.rings)
    assert rings == [0, 1, 2, 3]


def test_the_page_says_finished_no_further_than_a_failure_that_was_not_heard(bench: Bench) -> None:
    bench.offer(0, 1, 2)
    bench.lease_queued()
    bench.take()
    bench.subscriber.fail((1, 0), "ValueError")
    failed: Any = bench.told().failed
    bench.subscriber.finish((1, 1), bench.take().delivery_tag)
    assert bench.status_block.words[FINISHED] == 0
    bench.edge.fail(bench.session, failed[0])
    bench.subscriber.finish((1, 2), bench.take().delivery_tag)
    assert bench.status_block.words[FINISHED] == 3


# -- falling asleep


def test_with_nothing_to_do_it_sleeps_and_says_so_until_it_wakes(bench: Bench) -> None:
    assert not bench.subscriber.fall_asleep()
    assert bench.sleeps()
    assert not bench.subscriber.fall_asleep()
    assert bench.sleeps()
    bench.subscriber.receive()
    assert not bench.sleeps()
    bench.subscriber.receive()
    assert not bench.sleeps()


def test_falling_asleep_finds_what_was_granted_meanwhile(bench: Bench) -> None:
    bench.subscriber.receive()
    bench.offer(0)
    bench.edge.lease_queued(1)
    assert bench.subscriber.fall_asleep()
    bench.subscriber.receive()
    bench.subscriber.receive()
    assert not bench.subscriber.fall_asleep()
    assert bench.taken() == [(0, 1)]


def test_falling_asleep_finds_that_the_producer_waits_for_what_was_given_back(bench: Bench) -> None:
    bench.offer(0)
    bench.lease_queued()
    bench.subscriber.finish((1, 0), bench.take().delivery_tag)
    bench.subscriber.flush()
    assert not bench.subscriber.fall_asleep(), "nobody waits for it"
    bench.producer_sleeps(layout.NOTIFY_SHORT)  # and looks at what was returned only before that
    assert bench.subscriber.fall_asleep()
    bench.subscriber.flush()
    assert bench.outbox.rings == 1
    assert not bench.subscriber.fall_asleep(), "it has been told"


def test_a_blocked_producer_is_told_though_most_of_the_window_waits_and_one_that_lacks_credit_is_not(
    bench: Bench,
) -> None:
    bench.offer(0, 1, 2, 3)
    bench.lease_queued()
    bench.subscriber.finish((1, 0), bench.take().delivery_tag)
    bench.producer_sleeps(layout.NOTIFY_SHORT)
    bench.subscriber.flush()
    assert bench.outbox.rings == 0
    bench.producer_sleeps(layout.NOTIFY_EACH)
    bench.subscriber.flush()
    assert bench.outbox.rings == 1


@pytest.mark.parametrize("notify", [layout.NOTIFY_SHORT, layout.NOTIFY_EACH])
def test_a_producer_that_is_awake_is_told_nothing_and_what_it_asked_for_is_known(bench: Bench, notify: int) -> None:
    bench.producer_sleeps(notify)
    bench.journal.set_producer_awake(True)
    bench.offer(0, 1, 2, 3)
    bench.lease_queued()
    for _ in range(4):
        lease = bench.take()
        bench.subscriber.finish((1, lease.sequence), lease.delivery_tag)
        bench.subscriber.flush()
    assert bench.subscriber.is_awaited
    assert not bench.subscriber.fall_asleep()
    assert bench.outbox.rings == 0


# -- attaching


def test_what_was_granted_and_not_received_when_the_producer_died_comes_again(bench: Bench) -> None:
    bench.offer(0, 1)
    bench.lease_queued()
    bench.offer(2)
    bench.edge.lease_queued(1)
    bench.kill_producer()
    attach = bench.asked()
    assert (attach.received, attach.held) == (2, ((1, 0), (1, 1)))
    bench.subscriber.receive()  # it does not read on before it is let in again
    welcome = bench.answer(attach)
    bench.edge.lease_queued(1)
    bench.subscriber.receive()
    assert bench.taken() == [(0, 1), (1, 1)]
    bench.subscriber.handle(welcome, 1)
    bench.subscriber.receive()
    assert bench.taken() == [(2, 2)]


def test_what_was_announced_is_received_though_its_producer_has_died_since(bench: Bench) -> None:
    bench.offer(0, 1)
    bench.edge.lease_queued(1)
    bench.kill_producer()
    bench.subscriber.receive()
    attach = bench.asked()
    assert (attach.received, attach.held) == (2, ((1, 0), (1, 1)))
    bench.subscriber.handle(bench.answer(attach), 1)
    bench.subscriber.receive()
    assert bench.taken() == [(0, 1), (1, 1)]
    assert bench.edge.in_flight == 2


def test_a_welcome_of_an_earlier_round_or_from_who_has_not_written_us_down_lets_nobody_in(bench: Bench) -> None:
    bench.kill_producer()
    first = bench.asked()
    second = bench.asked()
    assert second.attach_epoch == first.attach_epoch + 1
    is_in = []
    bench.subscriber.handle(bench.answer(first), 1)
    is_in.append(bench.subscriber.is_attached)
    bench.edge.detach(bench.session)
    bench.subscriber.handle(Welcome(bench.session, second.attach_epoch, 2), 1)
    is_in.append(bench.subscriber.is_attached)
    bench.subscriber.handle(bench.answer(second), 1)
    is_in.append(bench.subscriber.is_attached)
    assert is_in == [False, False, True]


def test_a_second_welcome_changes_nothing(bench: Bench) -> None:
    bench.offer(0)
    bench.lease_queued()
    bench.subscriber.handle(Welcome(bench.session, 1, 99), 1)
    bench.subscriber.receive()
    bench.subscriber.tick(bench.now_ns + 1)
    assert (bench.taken(), bench.outbox.sent) == ([(0, 1)], [])


def test_who_was_let_go_attaches_as_another_and_works_on_nothing_of_before(bench: Bench) -> None:
    bench.offer(0, 1)
    bench.lease_queued()
    before = bench.session
    bench.edge.detach(before)
    bench.edge.attach(
        12345, "motion.1", 4, SessionState(), is_durable=False, now_ns=1
    )  # gets the place that is free now
    bench.edge.lease_queued(1)
    bench.subscriber.receive()
    assert bench.taken() == [], "another's leases are not ours"
    bench.attach()
    assert bench.session != before
    assert not bench.subscriber.held
    bench.edge.detach(12345)
    bench.lease_queued()
    assert bench.taken() == [(0, 3), (1, 3)]


def test_a_refusal_is_kept_as_the_reason(bench: Bench) -> None:
    bench.subscriber.handle(Refusal(bench.session, "go away"), 1)
    assert bench.subscriber.why == "refused by camera: go away"
    assert bench.subscriber.is_attached


@pytest.mark.parametrize("bench", [100], indirect=True)
def test_a_frame_that_grew_too_old_in_the_window_is_given_back_undone(bench: Bench) -> None:
    bench.offer(0, 1)
    bench.edge.offer(0, Announcement(1, 2, 150, b""))
    bench.lease_queued(90)
    lease = bench.subscriber.take(200)
    assert lease is not None and lease.sequence == 2
    assert bench.status_block.progress(0)[1] == lease.delivery_tag, "the others were never begun"
    told = bench.told()
    assert [failed[:3] for failed in told.failed] == [(1, 0, FailureKind.TOO_OLD), (1, 1, FailureKind.TOO_OLD)]
    for failed in told.failed:
        bench.edge.fail(told.session, failed)
    assert bench.edge.in_flight == 1 and list(bench.subscriber.held) == [(1, 2)]


def test_a_result_that_comes_after_its_lease_does_not_end_the_next_lease_of_its_frame(bench: Bench) -> None:
    bench.offer(0)
    bench.lease_queued()
    late = bench.take()
    bench.edge.expire(1_000_000)
    bench.edge.finish(bench.session, (), 1_000_001)  # a sign of life: it gets frames again
    bench.edge.lease_queued(1_000_001)
    assert not bench.subscriber.is_wanted(late)
    bench.subscriber.refuse(late)
    bench.subscriber.flush()
    assert bench.given_back() == [(1, 0, late.delivery_tag)]
    bench.edge.finish(bench.session, [(1, 0, late.delivery_tag)], 1_000_002)
    ledger = bench.subscriber.ledger()
    assert ledger is not None and (ledger.refused, ledger.in_flight) == (1, 1)
    failures = [sent for sent in bench.outbox.sent if isinstance(sent, Failure)]
    assert all([not sent.failed for sent in failures])


def test_a_failure_that_comes_after_its_lease_is_no_failure_of_the_next_lease_of_its_frame(bench: Bench) -> None:
    bench.offer(0)
    bench.lease_queued()
    bench.take()
    bench.edge.expire(1_000_000)
    bench.edge.finish(bench.session, (), 1_000_001)
    bench.edge.lease_queued(1_000_001)
    bench.subscriber.fail((1, 0), "raised")
    told = bench.told()
    assert told.failed == ()
    bench.subscriber.receive()
    assert bench.take().delivery == 2 and bench.edge.in_flight == 1


def test_a_lease_that_was_ended_is_not_held_at_an_attach_so_what_was_leased_since_is_leased_anew(bench: Bench) -> None:
    bench.offer(0)
    bench.lease_queued()
    bench.edge.expire(500)
    bench.kill_producer()
    bench.subscriber.receive()
    first = bench.asked()
    assert first.held == ()
    bench.answer(first)  # which is lost
    bench.edge.lease_queued(501)
    bench.subscriber.handle(bench.answer(bench.asked()), 1)
    bench.lease_queued(502)
    lease = bench.take()
    assert lease.sequence == 0 and bench.edge.in_flight == 1
