"""The leases of one frame on several inputs, held together; each input on a real edge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.memory import layout
from detektr.memory.announcement import Lease
from detektr.memory.run_folder import RunFolder
from detektr.wire.message import FailureKind
from tests.unit.edge.gathered import Branch, Gathered, brought_by
from tests.unit.edge.gathering.way import KEY

NAME = (KEY, 0)


@pytest.fixture
def merge(shm_dir: Path) -> Iterator[Gathered]:
    """Yield a node that joins detect and pose, to which frames 0 and 1 may come."""
    folder = RunFolder("demo")
    folder.make()
    merge = Gathered(folder, "detect", "pose", is_joined=True)
    for branch in merge.branches.values():
        branch.capture(0, 1)
    yield merge
    merge.close()


def begun(merge: Gathered) -> tuple[Branch, Branch, Lease]:
    """Let frame 0 come by both branches, and begin it; returns the input that holds it, and the other one."""
    for branch in merge.branches.values():
        branch.bring(0)
    first, lease = merge.begin()
    assert brought_by(lease) == (["detect", "pose"], {})
    return first, merge["pose"], lease


def suspects(merge: Gathered) -> list[int]:
    """Whom the status block blames on each input."""
    return [merge.status_block.progress(entry)[3] for entry in range(len(merge.branches))]


def test_work_on_a_frame_is_said_on_each_input_and_nobody_is_to_blame_before_and_after(merge: Gathered) -> None:
    assert suspects(merge) == [layout.SUSPECT_NOBODY] * 2
    merge["pose"].bring(1)  # its tags are others than those of detect
    first, _, lease = begun(merge)
    assert suspects(merge) == [1, 2]
    first.subscriber.finish(lease.name, lease.delivery_tag)
    assert suspects(merge) == [layout.SUSPECT_NOBODY] * 2


def test_a_finished_frame_is_completed_on_each_input(merge: Gathered) -> None:
    first, second, lease = begun(merge)
    first.subscriber.finish(lease.name, lease.delivery_tag)
    for branch in (first, second):
        assert not branch.subscriber.held
        branch.hear()
        assert branch.outcomes() == {0: "delivered"}


@pytest.mark.parametrize(
    ("kind", "outcome", "attempts"),
    [
        (FailureKind.RETRYABLE, "", 1), (FailureKind.PERMANENT, "dead_lettered", 1),
        (FailureKind.OVERWRITTEN, "overwritten", 0),
    ],
)  # fmt: skip
def test_a_failed_frame_has_failed_on_each_input(
    merge: Gathered, kind: FailureKind, outcome: str, attempts: int
) -> None:
    first, second, lease = begun(merge)
    first.subscriber.fail(lease.name, "because", kind)
    for branch in (first, second):
        assert not branch.subscriber.held
        branch.hear()
        assert branch.outcomes() == {0: outcome}
        cells = [*branch.edge.holds(), *branch.edge.tombstones.values()]  # type: ignore[attr-defined]
        assert [cell.attempts for cell in cells] == [attempts]


def test_a_frame_that_failed_comes_again_by_both_and_counts_once(merge: Gathered) -> None:
    first, second, lease = begun(merge)
    first.subscriber.fail(lease.name, "because")
    for branch in (first, second):
        branch.hear()
        branch.lease_queued()
    _, again = merge.begin()
    assert (again.name, again.delivery, brought_by(again)) == (NAME, 2, (["detect", "pose"], {}))
    first.subscriber.finish(NAME, again.delivery_tag)
    assert merge.work() == []


def test_a_frame_that_was_passed_on_is_so_on_each_input_until_it_is_settled(merge: Gathered) -> None:
    first, second, lease = begun(merge)
    first.subscriber.pass_on(lease.name)
    for branch in (first, second):
        branch.hear()
        assert [cell.is_passed for cell in branch.edge.holds()] == [True]
        assert branch.outcomes() == {0: ""}
    first.subscriber.settle(lease.name)
    for branch in (first, second):
        assert not branch.subscriber.held
        branch.hear()
        assert branch.outcomes() == {0: "delivered"}


def test_a_frame_that_is_given_back_has_failed_nowhere(merge: Gathered) -> None:
    first, second, lease = begun(merge)
    first.intake.give_back(lease)
    for branch in (first, second):
        branch.hear()
        assert [(cell.attempts, cell.owner) for cell in branch.edge.holds()] == [(0, 0)]


def test_a_lease_that_ended_before_its_work_lets_the_others_wait_for_the_next(merge: Gathered) -> None:
    for branch in merge.branches.values():
        branch.bring(0)
    merge.gate.look()  # it is ready
    detect, pose = merge["detect"], merge["pose"]
    detect.edge.detach(detect.session)
    assert merge.take() is None
    assert list(pose.subscriber.held) == [NAME], "it waits for detect"
    detect.attach()
    detect.lease_queued()
    _, lease = merge.begin()
    assert brought_by(lease) == (["detect", "pose"], {})


def leave(branch: Branch) -> None:
    """Let the branch's producer end alone, with leases that its successor finds in the journal."""
    branch.journal.leave()
    branch.subscriber.tick(branch.now_ns)
    assert not branch.subscriber.is_attached


def come_back(branch: Branch) -> None:
    """Let its successor attach us, and give us what it finds."""
    branch.kill_producer()
    branch.attach()
    branch.lease_queued()


def test_a_producer_that_left_takes_its_leases_along_and_those_of_the_others_wait(merge: Gathered) -> None:
    for branch in merge.branches.values():
        branch.bring(0)
    merge.gate.look()  # it is ready
    detect, pose = merge["detect"], merge["pose"]
    leave(detect)
    assert merge.take() is None and list(pose.subscriber.held) == [NAME]
    come_back(detect)
    assert merge.work() == [0]
    for branch in merge.branches.values():
        branch.hear()
        assert branch.outcomes() == {0: "delivered"}


def test_a_frame_that_was_ready_in_order_waits_again_when_its_producer_has_left(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    track = Gathered(folder, "detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1)
    detect.bring(0, 1)
    track.gate.look()
    leave(detect)
    assert track.take() is None
    come_back(detect)
    assert track.work() == [0, 1]
    track.close()


def test_of_a_frame_in_work_whose_other_lease_has_ended_the_next_one_is_settled_without_work(merge: Gathered) -> None:
    first, pose, lease = begun(merge)
    leave(pose)
    assert first.subscriber.still_holds(lease)
    first.subscriber.finish(lease.name, lease.delivery_tag)
    first.hear()
    come_back(pose)
    assert merge.take() is None
    pose.hear()
    assert pose.outcomes() == {0: "delivered"} and not merge.gate.is_holding


def test_a_result_counts_as_long_as_one_of_the_leases_of_its_frame_stands(merge: Gathered) -> None:
    first, pose, lease = begun(merge)
    first.edge.detach(first.session)
    assert not first.subscriber.still_holds(lease) and first.intake.is_wanted(lease)
    first.subscriber.finish(lease.name, lease.delivery_tag)
    pose.hear()
    assert pose.outcomes() == {0: "delivered"}
    first.outbox.sent.clear()
    first.attach()
    first.lease_queued()
    assert merge.take() is None, "it was done with"
    first.hear()
    assert first.outcomes() == {0: "delivered"} and not merge.gate.is_holding


def test_a_result_is_refused_when_none_stands_and_the_frame_comes_again_marked_with_all_branches(
    merge: Gathered,
) -> None:
    first, pose, lease = begun(merge)
    for branch in (first, pose):
        branch.edge.detach(branch.session)
    assert not first.intake.is_wanted(lease)
    first.intake.refuse(lease)
    for branch in (first, pose):
        branch.outbox.sent.clear()
        branch.attach()
        branch.lease_queued()
    _, again = merge.begin()
    assert (again.name, again.delivery, brought_by(again)) == (NAME, 2, (["detect", "pose"], {}))
    first.subscriber.finish(NAME, again.delivery_tag)
    for branch in merge.branches.values():
        branch.hear()
        assert branch.outcomes() == {0: "delivered"}


def test_frames_that_were_put_aside_behind_a_failure_are_joined_again(merge: Gathered) -> None:
    for branch in merge.branches.values():
        branch.intake.is_stateful = True
        branch.bring(1, 0)  # 1 has the lower ordinals, so no edge takes it back when 0 fails
    merge.gate.look()
    first = merge["detect"]
    first.subscriber.leases.reverse()
    _, lease = merge.begin()
    assert lease.name == NAME
    first.subscriber.fail(lease.name, "because")
    assert merge.take() is None, "1 is put aside"
    for branch in merge.branches.values():
        branch.hear()
        branch.lease_queued()
    assert sorted(merge.work()) == [0, 1]
    for branch in merge.branches.values():
        branch.hear()
        assert branch.outcomes() == {0: "delivered", 1: "delivered"}
