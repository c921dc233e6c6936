"""What an operator asks for, decided without processes: who is told, in which order, and what is refused."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from detektr.errors import RefusedError
from detektr.events import RunEvent
from detektr.memory.run_folder import RunFolder
from detektr.nodes.spec import NodeSpec
from detektr.options import ProcessorOptions
from detektr.supervisor.child_process import ChildProcess
from detektr.supervisor.managed_process import ManagedProcess
from detektr.supervisor.operating.line import CONNECTIONS_MAX, OperatorError, OperatorInbox, ask_supervisor
from detektr.supervisor.operating.operations import Operations
from detektr.supervisor.operating.scaling import END_NS

S = 1_000_000_000


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


class NoHomes:
    """Nobody keeps state."""

    def scale(self, node: str, replicas: int) -> None:
        pass

    def is_free(self, node: str, replica: int) -> bool:
        return True


class Stage:
    """Two replicas of a node, at work, and an operator."""

    def __init__(self) -> None:
        self.told: list[RunEvent] = []
        self.children = [DeafChild(), DeafChild()]
        options = ProcessorOptions(input="cam", use="a:b", replicas=2, drain="5s")
        self.processes = [
            ManagedProcess(NodeSpec(pipeline="p", node="eye", replica=number, options=options)) for number in range(2)
        ]
        for managed, child in zip(self.processes, self.children, strict=True):
            managed.child, managed.ready_ns, managed.state = cast(ChildProcess, child), 1, "running"
            managed.lives = 1
        self.operations = Operations(self.processes, self.told.append, NoHomes())

    def ask(
        self, deed: str, replica: int | None = None, *, node: str = "eye", phase: str = "running"
    ) -> dict[str, Any]:
        return self.operations.answer({"do": deed, "node": node, "replica": replica}, phase, 10 * S)

    def orders(self) -> list[list[str]]:
        return [child.orders for child in self.children]


def test_whoever_could_not_be_told_is_told_later() -> None:
    stage = Stage()
    stage.children[1].is_deaf = True
    assert stage.ask("pause")["changed"] and stage.orders() == [["pause"], []]
    stage.children[1].is_deaf = False
    stage.operations.do_due(11 * S)
    assert stage.orders() == [["pause"], ["pause"]]
    assert not stage.ask("pause")["changed"] and len(stage.told) == 1
    stage.operations.forget(12 * S)
    assert stage.orders() == [["pause", "resume"], ["pause", "resume"]], "the end of a run lets all go on"


def test_the_next_one_is_restarted_when_the_one_before_works_again() -> None:
    stage = Stage()
    first, second = stage.processes
    assert stage.ask("restart")["state"] == "restarting" and stage.orders() == [["hand_over"], []]
    assert not stage.ask("restart")["changed"]
    assert stage.operations.do_due(11 * S) == []
    assert stage.operations.do_due(10 * S + 5 * S + END_NS) == [first], "it did not end within its drain"
    first.lives, first.ready_ns, first.restart_by_ns = 2, None, None  # its successor begins
    stage.operations.do_due(20 * S)
    assert stage.orders()[1] == []
    first.ready_ns = 20 * S
    stage.operations.do_due(20 * S)
    assert stage.orders() == [["hand_over"], ["hand_over"]]
    second.lives, second.restart_by_ns = 2, None
    stage.operations.do_due(21 * S)
    assert stage.ask("restart", 1)["processes"] == ["eye.1"] and stage.orders()[1] == ["hand_over"] * 2


def test_one_that_waits_after_a_failure_is_started_at_once() -> None:
    stage = Stage()
    first = stage.processes[0]
    first.child, first.restart_at_ns = None, 60 * S
    stage.ask("restart", 0)
    assert first.restart_at_ns == 10 * S


@pytest.mark.parametrize(
    ("deed", "more", "code"),
    [
        ("pause", {"node": "nobody"}, "no_node"),
        ("restart", {"replica": 2}, "no_replica"),
        ("pause", {"replica": 0}, "no_replica"),
        ("pause", {"phase": "draining"}, "not_now"),
        ("restart", {"phase": "starting"}, "not_now"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(deed: str, more: dict[str, Any], code: str) -> None:
    stage = Stage()
    with pytest.raises(OperatorError) as refused:
        stage.ask(deed, **more)
    assert refused.value.code == code and "; " in str(refused.value)
    assert stage.orders() == [[], []] and stage.told == []


def test_a_node_that_is_scaled_down_has_those_restarted_that_stay() -> None:
    stage = Stage()
    stage.ask("restart")
    answer = stage.operations.answer({"do": "scale", "node": "eye", "replicas": 1}, "running", 10 * S)
    assert (answer["processes"], answer["changed"], answer["replicas"]) == (["eye.0"], True, 1)
    first = stage.processes[0]
    first.lives, first.restart_by_ns = 2, None  # its successor works
    stage.operations.do_due(11 * S)
    assert stage.orders() == [["hand_over"], ["retire"]]
    assert stage.ask("restart")["processes"] == ["eye.0"]
    with pytest.raises(OperatorError, match="it has 0 to 0"):
        stage.ask("restart", 1)


def test_what_has_failed_for_good_cannot_be_paused() -> None:
    stage = Stage()
    for managed in stage.processes:
        managed.child, managed.state = None, "failed"
    with pytest.raises(OperatorError, match="failed for good"):
        stage.ask("pause")


@pytest.fixture
def inbox(shm_dir: Path) -> Iterator[OperatorInbox]:
    folder = RunFolder("demo")
    folder.make()
    with closing(OperatorInbox(folder)) as inbox:
        yield inbox
    folder.remove_if_empty()


def say(payload: bytes) -> socket.socket:
    """Return a line on which this was said."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line.connect(str(RunFolder("demo").orders))
    if payload:
        line.send(payload)
    return line


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"[]",
        b"null",
        b"\xff\x00",
        b"[" * 60_000,
        b'{"do": "explode", "node": "eye"}',
        b'{"do": "pause"}',
        b'{"do": "pause", "node": 3}',
        b'{"do": "restart", "node": "eye", "replica": true}',
        b'{"do": ["pause"], "node": "eye"}',
        b'{"do": "scale", "node": "eye"}',
        b'{"do": "scale", "node": "eye", "replicas": true}',
        b'{"do": "pause", "node": "eye", "replicas": 2}',
    ],
)
def test_a_request_that_is_none_is_answered_so(inbox: OperatorInbox, payload: bytes) -> None:
    with closing(say(payload)) as line:
        for _ in range(2):  # it comes in, then it is read
            inbox.answer(lambda request: pytest.fail(f"it was obeyed: {request}"))
        assert json.loads(line.recv(1 << 16))["refused"] == "request"


def test_who_says_nothing_keeps_out_nobody(inbox: OperatorInbox) -> None:
    silent = []
    for _ in range(2 * CONNECTIONS_MAX):
        silent.append(say(b""))
        inbox.answer(lambda request: {})
    answers: list[dict[str, Any]] = []
    asking = threading.Thread(target=lambda: answers.append(ask_supervisor("demo", "pause", "eye")))
    asking.start()
    while asking.is_alive():
        inbox.answer(lambda request: {"got": dict(request)})
    asking.join()
    assert answers == [{"got": {"do": "pause", "node": "eye", "replica": None}}]
    for line in silent:
        line.close()
    inbox.answer(lambda request: {})


def test_nobody_listens_where_there_is_no_supervisor(shm_dir: Path, state_dir: Path) -> None:
    with pytest.raises(OperatorError) as refused:
        ask_supervisor("demo", "pause", "eye")
    assert refused.value.code == "not_running" and "detektr up" in str(refused.value)
    folder = RunFolder("demo")
    folder.make()
    inbox = OperatorInbox(folder)
    with pytest.raises(OperatorError) as refused:
        ask_supervisor("demo", "pause", "eye", within_s=0.05)
    assert refused.value.code == "silent"
    inbox._listener.close()  # as a kill does: the name stays
    with pytest.raises(OperatorError) as refused:
        ask_supervisor("demo", "pause", "eye")
    assert refused.value.code == "supervisor_dead"
    inbox.close()
    folder.path.rmdir()
    with pytest.raises(RefusedError, match="cannot be made"):
        OperatorInbox(folder)
    folder.path.parent.rmdir()
