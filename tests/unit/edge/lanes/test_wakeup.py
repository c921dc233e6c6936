"""Who wakes whom, and that nobody falls asleep over something; see also tests/property/test_wakeup.py."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from detektr.edge.connections import ConnectionTable
from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.lanes.shm_lane import ShmConnection
from detektr.edge.lanes.wakeup import ProducerWakeup
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement
from detektr.memory.completion_queue import CompletionQueueWriter, open_completion_queue
from detektr.memory.journal import adopt_journal
from detektr.memory.layout import NOTIFY_EACH, NOTIFY_NONE, NOTIFY_SHORT
from detektr.memory.run_folder import RunFolder
from detektr.nodes.capturing.publish_queue import LONGEST_NS
from detektr.wire.doorbell import Doorbell, RemoteDoorbell
from detektr.wire.link import Link, Outbox
from tests.harness.interpreted import interpreted

*_, _node, _capture, _worker = interpreted(
    "detektr.nodes.node_process",
    "detektr.nodes.node_life",
    "detektr.nodes.node",
    "detektr.nodes.capturing.capture",
    "detektr.nodes.working.worker",
)
Node, CaptureNode, WorkerNode = _node.Node, _capture.CaptureNode, _worker.WorkerNode  # tried on stand-ins


@pytest.mark.parametrize(("awaited", "is_blocked"), [([], False), ([False, False], False), ([False, True], True)])
def test_a_node_is_blocked_while_a_producer_before_it_waits_for_completions(
    awaited: list[bool], *, is_blocked: bool
) -> None:
    node: Any = SimpleNamespace(subscribers=[SimpleNamespace(is_awaited=one) for one in awaited])
    assert Node.is_blocked(node) is is_blocked


@pytest.mark.parametrize("is_waiting", [False, True])
def test_a_capture_is_blocked_while_its_thread_waits_for_a_slot(*, is_waiting: bool) -> None:
    node: Any = SimpleNamespace(_queue=SimpleNamespace(is_waiting=is_waiting))
    assert CaptureNode.is_blocked(node) is is_waiting


@pytest.mark.parametrize(
    ("is_paced", "is_finished", "is_soon"), [(False, False, True), (False, True, False), (True, False, False)]
)
def test_a_capture_looks_soon_at_what_its_queue_holds_back(*, is_paced: bool, is_finished: bool, is_soon: bool) -> None:
    node: Any = object.__new__(CaptureNode)
    node.subscribers, node.publisher = [], SimpleNamespace(is_unserved=False)
    node._reader, node._capture_thread = SimpleNamespace(is_paced=is_paced), SimpleNamespace(is_finished=is_finished)
    assert node.tick_ns() == (LONGEST_NS if is_soon else _node.TICK_NS)


@pytest.mark.parametrize("may_work", [True, False])
def test_a_worker_waits_for_its_own_readers_alone(*, may_work: bool) -> None:
    node: Any = SimpleNamespace(may_work=lambda: may_work, subscribers=[SimpleNamespace(is_awaited=True)])
    assert WorkerNode.is_blocked(node) is not may_work


@pytest.mark.parametrize(
    ("told", "found", "has_news"),
    [(False, False, False), (False, True, True), (True, False, False)],  # the last: the next turn lets go
)
def test_a_node_that_has_become_blocked_says_so_before_it_sleeps(*, told: bool, found: bool, has_news: bool) -> None:
    publisher = SimpleNamespace(edges={"motion": None}, is_blocked=told, fall_asleep=lambda: False)
    node: Any = SimpleNamespace(publisher=publisher, subscribers=[], is_blocked=lambda: found)
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
        publisher=SimpleNamespace(fall_asleep=lambda: completed.pop(0), due_ns=lambda: 2),
        _wake_at_ns=1,
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


# -- the producer's half, on journals


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    folder.remove_if_empty()


class Desk:
    """A producer with edges to `motion` and `recorder`; only `recorder` is read, by one replica that can sleep."""

    def __init__(self, folder: RunFolder) -> None:
        self.connections = ConnectionTable(cast(Link, SimpleNamespace(watch=lambda fd: None, unwatch=lambda fd: None)))
        self.wakeup = ProducerWakeup(self.connections)
        self.edges = {name: self.add(folder, name) for name in ("motion", "recorder")}
        self.completions = CompletionQueueWriter(folder.completions("recorder.0", "camera.0"), 64)
        self.doorbell = Doorbell(folder.doorbell("recorder", 0))
        reader = open_completion_queue(self.completions.segment.path, 0)
        assert reader is not None
        outbox = cast(Outbox, RemoteDoorbell(folder.doorbell("recorder", 0)))
        self.connections.add(7, ShmConnection("recorder", "recorder.0", 1, 1 << 22, outbox, reader))
        assert self.edges["recorder"].attach(7, "recorder.0", 1, SessionState(), is_durable=False, now_ns=1)

    def add(self, folder: RunFolder, name: str) -> Edge:
        options = EdgeOptions(mark=8, low=7, when_full="block", window_total=4, payload_bytes=8)
        _, journal = adopt_journal(folder.journal("camera", 0, name), options.cells, 8, 8)
        return Edge(name, options, journal)

    def fall_asleep(self) -> bool:
        return self.wakeup.fall_asleep(self.edges.values())

    def wake_up(self) -> None:
        self.wakeup.wake_up(self.edges.values())

    def asks(self) -> list[int]:
        """Return the notify word of each edge, as consumers see it."""
        return [edge.journal.notify for edge in self.edges.values()]

    def rings(self) -> bool:
        return bool(select.select([self.doorbell.fileno()], [], [], 0)[0]) and bool(os.read(self.doorbell.fileno(), 9))


@pytest.fixture
def desk(folder: RunFolder) -> Iterator[Desk]:
    desk = Desk(folder)
    yield desk
    desk.connections.close(7)
    desk.completions.close()
    desk.doorbell.close()
    for name in desk.edges:
        folder.journal("camera", 0, name).unlink()


def test_a_producer_asks_on_the_edges_where_frames_wait_and_its_word_stands_while_it_is_awake(desk: Desk) -> None:
    assert not desk.fall_asleep()
    assert desk.asks() == [NOTIFY_NONE, NOTIFY_NONE]
    desk.edges["motion"].offer(0, Announcement(1, 0, 1, b""))
    for _ in range(2):
        desk.fall_asleep()
        assert desk.asks() == [NOTIFY_SHORT, NOTIFY_NONE]
        desk.wake_up()
        assert desk.asks() == [NOTIFY_SHORT, NOTIFY_NONE]
    desk.edges["motion"].drop_all("stopped")
    desk.fall_asleep()
    assert desk.asks() == [NOTIFY_NONE, NOTIFY_NONE]


def test_a_blocked_producer_asks_on_every_edge_until_it_is_not(desk: Desk) -> None:
    desk.wakeup.is_blocked = True
    desk.fall_asleep()
    assert desk.asks() == [NOTIFY_EACH, NOTIFY_EACH]
    desk.wake_up()
    desk.wakeup.is_blocked = False
    desk.fall_asleep()
    assert desk.asks() == [NOTIFY_NONE, NOTIFY_NONE]


def test_a_consumer_that_sleeps_over_leases_is_rung_once_when_the_producer_begins_to_ask(desk: Desk) -> None:
    recorder = desk.edges["recorder"]
    recorder.offer(0, Announcement(1, 0, 1, b""), 1)
    desk.completions.toggle_asleep()
    assert not desk.fall_asleep()
    assert not desk.rings(), "nothing waits"
    desk.wake_up()
    recorder.offer(0, Announcement(1, 1, 1, b""), 1)  # beyond its window
    for rings in (True, False):
        assert not desk.fall_asleep()
        assert desk.rings() is rings
        desk.wake_up()
        for _ in range(2):
            desk.completions.toggle_asleep()  # it has looked, knows it now, and sleeps again


def test_a_blocked_producer_rings_for_nobody_who_holds_nothing(desk: Desk) -> None:
    desk.completions.toggle_asleep()
    desk.wakeup.is_blocked = True
    desk.fall_asleep()
    assert not desk.rings()


def test_a_producer_sleeps_over_completions_that_it_does_not_wait_for(desk: Desk) -> None:
    recorder = desk.edges["recorder"]
    recorder.offer(0, Announcement(1, 0, 1, b""), 1)
    desk.completions.append(1, 0, 1)
    assert not desk.fall_asleep()
    recorder.offer(0, Announcement(1, 1, 1, b""), 1)
    assert desk.fall_asleep(), "now it waits"
