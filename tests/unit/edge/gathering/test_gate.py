"""What begins when, of leases that real edges in this process have given; the gate reads their journals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detektr.edge.gathering.gate import Gate
from detektr.edge.gathering.outlook import Outlook
from detektr.edge.partition.map_reader import MapReader
from detektr.memory import layout
from detektr.memory.partition_file import PartitionWriter
from detektr.memory.run_folder import RunFolder
from detektr.wire.message import FailureKind
from tests.unit.edge.attached import Progress
from tests.unit.edge.gathered import NODE, Gathered, announcement, brought_by
from tests.unit.edge.gathering.way import KEY

Make = Callable[..., Gathered]


@pytest.fixture
def node(shm_dir: Path) -> Iterator[Make]:
    """Yield a function that makes one, of these inputs."""
    made: list[Gathered] = []
    folder = RunFolder("demo")
    folder.make()

    def make(*names: str, **how: Any) -> Gathered:
        made.append(Gathered(folder, *names, **how))
        return made[-1]

    yield make
    for one in made:
        one.close()


# -- in order


def test_frames_that_replicas_finished_in_another_order_begin_in_their_own(node: Make) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1, 2, 3)
    detect.bring(2, 1)
    assert track.take() is None
    detect.bring(0)
    assert track.work() == [0, 1, 2]
    detect.bring(3)
    assert track.work() == [3]


def test_a_node_says_that_it_holds_frames_as_long_as_it_does(node: Make) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1)
    detect.bring(1)
    said = [track.says_holding]
    track.gate.look()
    said.append(track.says_holding)
    detect.bring(0)
    track.work()
    said.append(track.says_holding)
    assert said == [False, True, False]


def test_an_earlier_frame_that_will_not_come_keeps_nobody_waiting(node: Make) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1, 2)
    detect.bring(2)
    assert track.take() is None
    detect.above.fail(0)
    assert track.take() is None, "1 may still come"
    detect.edge.count_dropped(KEY, 1, 1, "filtered")
    detect.above.finish(1)
    assert track.work() == [2]


def test_a_frame_is_held_until_the_one_before_it_has_begun_and_no_longer(node: Make) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1)
    detect.bring(1, 0)
    branch, first = track.begin()
    assert first.sequence == 0
    _, second = track.begin()
    assert second.sequence == 1, "0 is in work, which is enough"
    branch.subscriber.finish(second.name, second.delivery_tag)
    branch.subscriber.finish(first.name, first.delivery_tag)
    detect.hear()
    assert detect.outcomes() == {0: "delivered", 1: "delivered"}


def test_streams_do_not_wait_for_each_other(node: Make) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1)
    detect.above.lease(0, key=9)
    detect.bring(1)
    other = announcement("detect", 0)
    other.key = 9
    detect.edge.offer(0, other)
    detect.lease_queued()
    _, lease = track.begin()
    assert lease.name == (9, 0)
    assert track.take() is None


def test_a_frame_that_failed_comes_again_before_those_behind_it(node: Make) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.intake.is_stateful = True
    detect.capture(0, 1, 2)
    detect.bring(0, 1, 2)
    branch, lease = track.begin()
    branch.subscriber.fail(lease.name, "ValueError")
    assert track.take() is None, "1 is behind it"
    detect.hear()
    detect.lease_queued()
    taken = [track.begin()[1], track.begin()[1]]
    assert [(one.sequence, one.delivery) for one in taken] == [(0, 2), (1, 1)]


@pytest.mark.parametrize("kind", [FailureKind.TOO_OLD, FailureKind.OVERWRITTEN, FailureKind.PERMANENT])
def test_the_next_frame_waits_for_nobody_to_hear_that_one_has_ended_for_good(node: Make, kind: FailureKind) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1)
    detect.bring(0, 1)
    branch, lease = track.begin()
    branch.subscriber.fail(lease.name, "no attempt follows", kind)
    assert [one.sequence for one in branch.subscriber.leases] == [1], "its producer has not heard yet"
    assert track.work() == [1]


def test_what_we_have_passed_on_ourselves_is_not_waited_for(node: Make) -> None:
    passed = {(KEY, 0)}
    track = node("detect", is_ordered=True, is_passed_on=passed.__contains__)
    detect = track["detect"]
    detect.capture(0, 1)
    detect.bring(1)
    assert track.work() == [1], "0 is live above as our own readers hold it"


def test_a_lease_that_ended_while_it_was_held_is_let_go_of_and_waited_for_again(node: Make) -> None:
    track = node("detect", is_ordered=True)
    detect = track["detect"]
    detect.capture(0, 1)
    detect.bring(1)
    assert track.take() is None
    detect.edge.detach(detect.session)
    detect.attach()
    track.gate.look()
    assert not track.says_holding and not detect.subscriber.held
    detect.lease_queued()
    detect.bring(0)
    assert track.work() == [0, 1]


def test_what_is_held_is_said_before_the_journals_are_read_so_no_end_is_missed() -> None:
    status_block, said = Progress(NODE), list[bool]()

    class Watched(Outlook):
        def pending(self, key: int, first: int, last: int) -> set[int]:
            said.append(status_block.words[layout.STATUS_WORD_IS_HOLDING] != 0)
            return {0}

    gate = Gate(Watched(RunFolder("demo"), NODE, ()), status_block, 0, None, (), is_ordered=True)
    lease: Any = announcement("detect", 1)
    source: Any = SimpleNamespace(held={lease.name: lease}, still_holds=lambda lease: True)
    gate.admit(source, lease)
    gate.look()
    assert said == [True]
    gate.close()


# -- joined


def test_a_frame_begins_once_with_the_results_of_all_branches(node: Make) -> None:
    merge = node("detect", "pose", is_joined=True)
    for branch in merge.branches.values():
        branch.capture(0, 1)
    merge["pose"].bring(0, 1)
    assert merge.take() is None and merge.says_holding
    merge["detect"].bring(0)
    branch, lease = merge.begin()
    assert (branch.name, lease.sequence) == ("detect", 0)
    assert brought_by(lease) == (["detect", "pose"], {})
    assert merge.take() is None, "1 waits for detect"


def test_a_frame_that_one_branch_has_ended_begins_with_the_reason(node: Make) -> None:
    merge = node("detect", "pose", is_joined=True)
    for branch in merge.branches.values():
        branch.capture(0)
    merge["detect"].bring(0)
    assert merge.take() is None
    merge["pose"].above.fail(0)
    _, lease = merge.begin()
    assert brought_by(lease) == (["detect"], {"pose": "dead_lettered"})


def test_a_frame_that_a_predecessor_was_done_with_on_one_branch_is_settled_on_the_others_without_work(
    node: Make,
) -> None:
    merge = node("detect", "pose", is_joined=True)
    for branch in merge.branches.values():
        branch.capture(0)
        branch.bring(0)
    detect, pose = merge["detect"], merge["pose"]
    pose.subscriber.settle((KEY, 0))
    pose.hear()
    assert (pose.outcomes(), detect.outcomes()) == ({0: "delivered"}, {0: ""})
    assert merge.take() is None
    detect.hear()
    assert detect.outcomes() == {0: "delivered"}
    assert not merge.says_holding


def test_a_joined_frame_that_is_to_come_in_order_waits_for_the_earlier_ones(node: Make) -> None:
    merge = node("detect", "pose", is_joined=True, is_ordered=True)
    for branch in merge.branches.values():
        branch.capture(0, 1)
        branch.bring(1)
    assert merge.take() is None
    merge["detect"].bring(0)
    assert merge.take() is None
    merge["pose"].bring(0)
    assert merge.work() == [0, 1]


def test_when_one_of_the_leases_ends_the_others_wait_for_the_frame_to_come_again(node: Make) -> None:
    merge = node("detect", "pose", is_joined=True, is_ordered=True)
    detect, pose = merge["detect"], merge["pose"]
    for branch in merge.branches.values():
        branch.capture(0, 1)
        branch.bring(1)
    assert merge.take() is None, "joined, and behind 0"
    detect.edge.detach(detect.session)  # its leases are queued again
    detect.attach()
    pose.hear()
    for branch in merge.branches.values():
        branch.bring(0)
    assert merge.work() == [0, 1]
    for branch in merge.branches.values():
        branch.hear()
        assert branch.outcomes() == {0: "delivered", 1: "delivered"}
    assert not pose.subscriber.held


# -- a camera that moves


class Map:
    """The map of the node's cameras, which a supervisor would keep."""

    def __init__(self, folder: RunFolder, owner: int) -> None:
        folder.make()
        self.writer = PartitionWriter(folder.partition(NODE), 1, 2, [("door", owner, 1)])
        self.reader = MapReader(folder, NODE, ["door"], 2)

    def move(self, owner: int) -> None:
        self.writer.write(2, 2, [("door", owner, 2)])


@pytest.mark.parametrize("how", [{"is_ordered": True}, {"is_joined": True}, {"is_joined": True, "is_ordered": True}])
def test_frames_of_a_camera_that_moves_away_are_given_back_undone(node: Make, how: dict[str, bool]) -> None:
    cameras = Map(RunFolder("demo"), owner=0)
    merge = node("detect", "pose", camera_map=cameras.reader, **how)
    detect = merge["detect"]
    detect.capture(0, 1)
    detect.bring(1)
    if how.get("is_joined"):
        merge["pose"].capture(0, 1)
    if len(how) == 2:
        merge["pose"].bring(1)
    merge.gate.look_at_map()
    assert merge.take() is None and detect.subscriber.held
    cameras.move(1)
    merge.gate.look()
    assert not merge.gate.is_holding
    for branch in merge.branches.values():
        assert not branch.subscriber.held
        branch.hear()
        assert all(cell.attempts == 0 and not cell.owner for cell in branch.edge.holds())
    cameras.writer.close()


def test_a_map_that_is_there_at_last_is_obeyed(node: Make) -> None:
    cameras = Map(RunFolder("demo"), owner=1)
    merge = node("detect", "pose", is_joined=True, camera_map=cameras.reader)
    merge["detect"].capture(0)
    merge["detect"].bring(0)
    assert merge.take() is None and merge["detect"].subscriber.held
    cameras.move(1)
    merge.gate.look_at_map()
    assert not merge["detect"].subscriber.held
    cameras.writer.close()
