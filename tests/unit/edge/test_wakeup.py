"""How much leases are wanted back, and that nobody falls asleep over it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from detektr.edge.edge_options import ReclaimMode
from detektr.memory.layout import WANTED, WANTED_ALL, WANTED_AWAKE, WANTED_EACH
from detektr.nodes.publish_queue import LONGEST_NS
from tests.harness.interpreted import interpreted

_node, _capture, _worker = interpreted("detektr.nodes.node", "detektr.nodes.capture", "detektr.nodes.worker")
Node, CaptureNode, WorkerNode = _node.Node, _capture.CaptureNode, _worker.WorkerNode  # tried on stand-ins


@pytest.mark.parametrize(
    ("wanted", "reclaim_mode"),
    [
        ([], ReclaimMode.LAZY),
        ([0, 0], ReclaimMode.LAZY),
        ([WANTED_EACH], ReclaimMode.RELAYED),
        ([0, WANTED_EACH], ReclaimMode.RELAYED),
        ([WANTED], ReclaimMode.BLOCKED),
        ([WANTED_ALL], ReclaimMode.BLOCKED),
        ([WANTED_EACH, WANTED_ALL], ReclaimMode.BLOCKED),
        ([WANTED, WANTED_EACH], ReclaimMode.BLOCKED),
    ],
)
@pytest.mark.parametrize("awake", [0, WANTED_AWAKE])
def test_the_most_urgent_of_those_before_us_counts_also_while_they_are_awake(
    wanted: list[int], reclaim_mode: ReclaimMode, awake: int
) -> None:
    node: Any = SimpleNamespace(subscribers=[SimpleNamespace(wanted=one and one | awake) for one in wanted])
    assert Node.reclaim_mode(node) is reclaim_mode


@pytest.mark.parametrize(
    ("is_waiting", "is_ahead", "reclaim_mode"),
    [
        (False, False, ReclaimMode.LAZY),
        (False, True, ReclaimMode.EAGER),
        (True, False, ReclaimMode.BLOCKED),
        (True, True, ReclaimMode.BLOCKED),
    ],
)
def test_a_capture_wants_its_slots_as_its_thread_does(
    *, is_waiting: bool, is_ahead: bool, reclaim_mode: ReclaimMode
) -> None:
    queue, reader = SimpleNamespace(is_waiting=is_waiting), SimpleNamespace(is_ahead=is_ahead)
    node: Any = SimpleNamespace(_queue=queue, _reader=reader)
    assert CaptureNode.reclaim_mode(node) is reclaim_mode


@pytest.mark.parametrize(
    ("is_batch", "is_finished", "is_soon"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_capture_looks_soon_at_what_its_queue_holds_back(*, is_batch: bool, is_finished: bool, is_soon: bool) -> None:
    node: Any = object.__new__(CaptureNode)
    node.subscribers, node.publisher = [], SimpleNamespace(is_unread=False)
    node._reader, node._capture_thread = SimpleNamespace(is_batch=is_batch), SimpleNamespace(is_finished=is_finished)
    assert node.tick_ns() == (LONGEST_NS if is_soon else _node.TICK_NS)


@pytest.mark.parametrize(("may_work", "reclaim_mode"), [(True, ReclaimMode.LAZY), (False, ReclaimMode.BLOCKED)])
def test_a_worker_waits_for_its_own_readers_alone(*, may_work: bool, reclaim_mode: ReclaimMode) -> None:
    node: Any = SimpleNamespace(may_work=lambda: may_work, subscribers=[SimpleNamespace(wanted=WANTED_ALL)])
    assert WorkerNode.reclaim_mode(node) is reclaim_mode


@pytest.mark.parametrize(
    ("told", "found", "has_news"),
    [
        (ReclaimMode.LAZY, ReclaimMode.LAZY, False),
        (ReclaimMode.LAZY, ReclaimMode.RELAYED, True),
        (ReclaimMode.EAGER, ReclaimMode.BLOCKED, True),
        (ReclaimMode.BLOCKED, ReclaimMode.LAZY, False),  # the next turn lets go
    ],
)
def test_a_node_does_not_fall_asleep_before_it_has_said_how_much_it_wants(
    told: ReclaimMode, found: ReclaimMode, *, has_news: bool
) -> None:
    reclaim = SimpleNamespace(reclaim_mode=told, fall_asleep=lambda: False)
    publisher = SimpleNamespace(fanout=SimpleNamespace(edges={"motion": None}), reclaim=reclaim)
    node: Any = SimpleNamespace(publisher=publisher, subscribers=[], reclaim_mode=lambda: found)
    assert Node._fall_asleep(node) is has_news


@pytest.mark.parametrize(
    ("completed", "has_work", "served"),
    [
        ([False], [False], 1),
        ([True, False], [False], 2),
        ([False, False], [True, False], 2),
        ([True, True, False], [False], 3),
    ],
)
def test_another_thread_serves_until_there_is_nothing_to_do_and_everybody_knows_that_we_sleep(
    completed: list[bool], has_work: list[bool], served: int
) -> None:
    times: list[bool] = []
    node: Any = SimpleNamespace(
        is_asleep=True, lock=threading.Lock(), is_ending=lambda: False,
        publisher=SimpleNamespace(reclaim=SimpleNamespace(fall_asleep=lambda: completed.pop(0))),
        has_work=lambda: has_work.pop(0),
        _serve=lambda now_ns, *, is_ending: times.append(is_ending),
    )  # fmt: skip
    Node.serve(node)
    assert len(times) == served
    node.is_asleep = False
    Node.serve(node)
    assert len(times) == served, "the loop is awake and does it itself"


def test_at_the_end_another_thread_wakes_the_loop_which_is_who_ends() -> None:
    wakes: list[bool] = []
    node: Any = SimpleNamespace(
        is_asleep=True,
        lock=threading.Lock(),
        is_ending=lambda: True,
        link=SimpleNamespace(wake=lambda: wakes.append(True)),
    )
    Node.serve(node)
    assert wakes == [True]
