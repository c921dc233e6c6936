"""How much leases are wanted back, and that nobody falls asleep over it."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pytest

from detektr.edge.edge_options import Haste
from detektr.memory.layout import WANTED, WANTED_ALL, WANTED_AWAKE, WANTED_EACH
from detektr.nodes.decoder import LONGEST_NS
from tests.harness.interpreted import interpreted

_node, _capture, _worker = interpreted("detektr.nodes.node", "detektr.nodes.capture", "detektr.nodes.worker")
Node, CaptureNode, WorkerNode = _node.Node, _capture.CaptureNode, _worker.WorkerNode  # tried on stand-ins


@pytest.mark.parametrize(
    ("wanted", "haste"),
    [
        ([], Haste.NONE),
        ([0, 0], Haste.NONE),
        ([WANTED_EACH], Haste.PASSED_ON),
        ([0, WANTED_EACH], Haste.PASSED_ON),
        ([WANTED], Haste.ALL),
        ([WANTED_ALL], Haste.ALL),
        ([WANTED_EACH, WANTED_ALL], Haste.ALL),
        ([WANTED, WANTED_EACH], Haste.ALL),
    ],
)
@pytest.mark.parametrize("awake", [0, WANTED_AWAKE])
def test_the_most_urgent_of_those_before_us_counts_also_while_they_are_awake(
    wanted: list[int], haste: Haste, awake: int
) -> None:
    node: Any = SimpleNamespace(intakes=[SimpleNamespace(wanted=one and one | awake) for one in wanted])
    assert Node.haste(node) is haste


@pytest.mark.parametrize(
    ("is_waiting", "is_ahead", "haste"),
    [
        (False, False, Haste.NONE),
        (False, True, Haste.OWN),
        (True, False, Haste.ALL),
        (True, True, Haste.ALL),
    ],
)
def test_a_capture_wants_its_slots_as_its_decoder_does(*, is_waiting: bool, is_ahead: bool, haste: Haste) -> None:
    node: Any = SimpleNamespace(_decoder=SimpleNamespace(is_waiting=is_waiting, is_ahead=is_ahead))
    assert CaptureNode.haste(node) is haste


@pytest.mark.parametrize(
    ("is_batch", "is_finished", "is_soon"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_capture_looks_soon_at_what_its_decoder_holds_back(
    *, is_batch: bool, is_finished: bool, is_soon: bool
) -> None:
    node: Any = object.__new__(CaptureNode)
    node.intakes, node.outlet = [], SimpleNamespace(is_alone=False)
    node._decoder = SimpleNamespace(is_batch=is_batch, is_finished=is_finished)
    assert node.tick_ns() == (LONGEST_NS if is_soon else _node.TICK_NS)


@pytest.mark.parametrize(("may_work", "haste"), [(True, Haste.NONE), (False, Haste.ALL)])
def test_a_worker_waits_for_its_own_readers_alone(*, may_work: bool, haste: Haste) -> None:
    node: Any = SimpleNamespace(may_work=lambda: may_work, intakes=[SimpleNamespace(wanted=WANTED_ALL)])
    assert WorkerNode.haste(node) is haste


@pytest.mark.parametrize(
    ("told", "found", "has_news"),
    [
        (Haste.NONE, Haste.NONE, False),
        (Haste.NONE, Haste.PASSED_ON, True),
        (Haste.OWN, Haste.ALL, True),
        (Haste.ALL, Haste.NONE, False),  # the next turn lets go
    ],
)
def test_a_node_does_not_fall_asleep_before_it_has_said_how_much_it_wants(
    told: Haste, found: Haste, *, has_news: bool
) -> None:
    recall = SimpleNamespace(haste=told, fall_asleep=lambda: False)
    outlet = SimpleNamespace(fanout=SimpleNamespace(edges={"motion": None}), recall=recall)
    node: Any = SimpleNamespace(outlet=outlet, intakes=[], haste=lambda: found)
    assert Node._fall_asleep(node) is has_news


@pytest.mark.parametrize(
    ("returned", "has_work", "served"),
    [
        ([False], [False], 1),
        ([True, False], [False], 2),
        ([False, False], [True, False], 2),
        ([True, True, False], [False], 3),
    ],
)
def test_another_thread_serves_until_there_is_nothing_to_do_and_everybody_knows_that_we_sleep(
    returned: list[bool], has_work: list[bool], served: int
) -> None:
    times: list[bool] = []
    node: Any = SimpleNamespace(
        is_asleep=True, lock=threading.Lock(), is_ending=lambda: False,
        outlet=SimpleNamespace(recall=SimpleNamespace(fall_asleep=lambda: returned.pop(0))),
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
