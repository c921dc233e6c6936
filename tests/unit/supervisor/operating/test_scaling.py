"""How many replicas a node has, decided without processes: who begins, who leaves and when, and what is refused."""

from __future__ import annotations

from typing import Any, cast

import pytest

from detektr.events import NodeScaled, RunEvent
from detektr.nodes.spec import NodeSpec
from detektr.options import BufferOptions, CaptureOptions, NodeOptions, ProcessorOptions, PullOptions, SinkOptions
from detektr.supervisor.child_process import ChildProcess
from detektr.supervisor.managed_process import ManagedProcess, is_begun_with
from detektr.supervisor.operating.line import OperatorError
from detektr.supervisor.operating.scaling import END_NS, Scaling, check_scale, split

S = 1_000_000_000
DRAIN = 5 * S


@pytest.mark.parametrize(
    ("wanted", "replicas", "begin", "leave"),
    [
        ([True, False, False], 3, [1, 2], []),
        ([True, True, True], 1, [], [2, 1]),
        ([True, True, False], 2, [], []),
        ([True, True, False, False], 3, [2], []),
    ],
)
def test_the_lowest_numbers_stay_and_the_highest_leave_first(
    wanted: list[bool], replicas: int, begin: list[int], leave: list[int]
) -> None:
    assert split(wanted, replicas) == (begin, leave)


@pytest.mark.parametrize(
    ("options", "replicas", "words"),
    [
        (ProcessorOptions(input="b", use="a:b", max_replicas=4), 5, ["5 replicas", "`max_replicas: 4`", "1 to 4"]),
        (ProcessorOptions(input="b", use="a:b", replicas=2), 3, ["`replicas: 2`", "write `max_replicas: 3`"]),
        (ProcessorOptions(input="b", use="a:b"), 0, ["0 replicas", "`replicas: 1`", "detektr pause"]),
        (ProcessorOptions(input="b", use="a:b"), 65, ["65 replicas", "ask for 1 to 1"]),
        (CaptureOptions(source="a.mp4"), 2, ["capture", "always has 1 process", "scale a processor"]),
        (BufferOptions(input="b"), 2, ["buffer", "always has 1 process"]),
        (SinkOptions(input="b", use="jsonl"), 1, ["sink", "always has 1 process"]),
        (PullOptions(input="b"), 2, ["pull", "always has 1 process"]),
    ],
)
def test_what_the_file_does_not_allow_is_refused_with_the_key_and_the_number(
    options: NodeOptions, replicas: int, words: list[str]
) -> None:
    with pytest.raises(OperatorError) as refused:
        check_scale("eye", options, replicas)
    assert refused.value.code == "no_scale"
    assert [word for word in ["eye", *words] if word not in str(refused.value)] == []


class DeafChild:
    """A process whose line is full while it is deaf."""

    pid = 1

    def __init__(self) -> None:
        self.orders: list[str] = []
        self.is_deaf = False

    def try_order(self, order: dict[str, Any]) -> bool:
        if not self.is_deaf:
            self.orders.append(order["order"])
        return not self.is_deaf


class BusyHomes:
    """Cameras that leave a replica only when they are told to."""

    def __init__(self) -> None:
        self.scaled: list[tuple[str, int]] = []
        self.busy: set[int] = set()

    def scale(self, node: str, replicas: int) -> None:
        self.scaled.append((node, replicas))

    def is_free(self, node: str, replica: int) -> bool:
        return replica not in self.busy


class Stage:
    """A node of three replicas at most, of which some are at work."""

    def __init__(self, replicas: int) -> None:
        self.told: list[RunEvent] = []
        self.homes = BusyHomes()
        options = ProcessorOptions(input="cam", use="a:b", replicas=replicas, max_replicas=3, drain="5s")
        specs = [NodeSpec(pipeline="p", node="eye", replica=number, options=options) for number in range(3)]
        self.processes = [ManagedProcess(spec, is_wanted=is_begun_with(spec)) for spec in specs]
        for managed in self.processes:
            managed.state = "away"
            if managed.is_wanted:
                self.begin(managed)
        self.scaling = Scaling(self.processes, self.told.append, self.homes)

    def begin(self, managed: ManagedProcess) -> None:
        managed.child, managed.ready_ns, managed.state = cast(ChildProcess, DeafChild()), 1, "running"

    def orders(self, number: int) -> list[str]:
        child = self.processes[number].child
        return [] if child is None else cast(DeafChild, child).orders


def test_a_node_that_is_scaled_up_has_those_begin_that_were_away() -> None:
    stage = Stage(1)
    stage.processes[0].is_paused = True
    assert stage.scaling.do_due(S) == []
    assert stage.scaling.scale("eye", 3, S) == stage.processes[1:]
    assert stage.told == [NodeScaled("eye", 3, 1)] and stage.homes.scaled == [("eye", 3)]
    assert stage.scaling.do_due(S) == stage.processes[1:]
    assert all(one.is_paused for one in stage.processes), "the node stays paused"
    for managed in stage.processes[1:]:
        stage.begin(managed)
    assert stage.scaling.do_due(S) == [] and stage.scaling.due_ns(S) is None
    assert stage.scaling.scale("eye", 3, 2 * S) == [] and len(stage.told) == 1


def test_who_has_cameras_leaves_when_they_have_moved_or_its_drain_is_over() -> None:
    stage = Stage(3)
    stage.homes.busy = {1, 2}
    assert stage.scaling.scale("eye", 1, S) == [stage.processes[2], stage.processes[1]]
    stage.scaling.do_due(S)
    assert stage.orders(1) == stage.orders(2) == [] and stage.scaling.due_ns(S) == S + DRAIN
    stage.homes.busy = {1}
    stage.scaling.do_due(2 * S)
    assert (stage.orders(1), stage.orders(2)) == ([], ["retire"])
    stage.scaling.do_due(S + DRAIN)
    assert (stage.orders(0), stage.orders(1)) == ([], ["retire"])
    stage.scaling.do_due(2 * DRAIN)
    assert stage.orders(1) == ["retire"], "it is told once"


def test_a_paused_replica_gives_back_what_it_holds_at_once() -> None:
    stage = Stage(2)
    stage.homes.busy = {1}
    stage.processes[1].is_paused = True
    stage.scaling.scale("eye", 1, S)
    stage.scaling.do_due(S)
    assert stage.orders(1) == ["retire"]


def test_who_works_on_one_frame_beyond_its_drain_is_late_and_who_waits_for_its_readers_is_not() -> None:
    stage = Stage(2)
    leaving = stage.processes[1]
    stage.scaling.scale("eye", 1, S)
    stage.scaling.do_due(S)
    late_ns = S + DRAIN + END_NS
    assert not stage.scaling.is_late(leaving, 1, late_ns - 1)
    assert stage.scaling.is_late(leaving, 1, late_ns)
    assert not stage.scaling.is_late(leaving, 0, late_ns)
    assert not stage.scaling.is_late(stage.processes[0], 1, late_ns)


def test_who_is_wanted_again_after_it_was_told_to_leave_hands_over() -> None:
    stage = Stage(2)
    stage.scaling.scale("eye", 1, S)
    stage.scaling.do_due(S)
    assert stage.scaling.scale("eye", 2, 2 * S) == [stage.processes[1]]
    cast(DeafChild, stage.processes[1].child).is_deaf = True
    stage.scaling.do_due(2 * S)
    assert stage.processes[1].restart_by_ns is None
    cast(DeafChild, stage.processes[1].child).is_deaf = False
    stage.scaling.do_due(3 * S)
    stage.scaling.do_due(4 * S)
    assert stage.orders(1) == ["retire", "hand_over"] and stage.processes[1].restart_by_ns == 3 * S + DRAIN + END_NS


def test_who_is_wanted_again_before_it_was_told_simply_stays() -> None:
    stage = Stage(2)
    stage.homes.busy = {1}
    stage.scaling.scale("eye", 1, S)
    stage.scaling.do_due(S)
    stage.scaling.scale("eye", 2, 2 * S)
    assert stage.scaling.do_due(3 * DRAIN) == [] and stage.orders(1) == []


def test_one_that_cannot_begin_leaves_the_node_with_those_before_it() -> None:
    stage = Stage(1)
    stage.scaling.scale("eye", 3, S)
    stage.scaling.undo(stage.processes[1], 2 * S, "no device")
    assert [one.is_wanted for one in stage.processes] == [True, False, False]
    assert stage.told[-1] == NodeScaled("eye", 1, 3, "no device")
