"""Events on their way to a supervisor that does not listen for a while."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest

from detektr.events import MessageRefused
from detektr.nodes.control import EVENTS_MAX, EVENTS_PENDING_MAX, ControlLine, EventOutbox


@pytest.fixture
def ends() -> Iterator[tuple[ControlLine, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    line = ControlLine(ours.detach())
    yield line, theirs
    line.close()
    theirs.close()


def hear(theirs: socket.socket) -> list[str]:
    theirs.setblocking(False)
    heard: list[str] = []
    while True:
        try:
            message = theirs.recv(1 << 18)
        except BlockingIOError:
            return heard
        records = json.loads(message)["events"]
        assert len(records) <= EVENTS_MAX
        heard += [record["why"] for record in records]


def test_events_are_sent_in_order_and_go_on_where_the_line_was_full(ends: tuple[ControlLine, socket.socket]) -> None:
    line, theirs = ends
    outbox = EventOutbox(line)
    told = [str(number) for number in range(EVENTS_PENDING_MAX)]
    assert all(outbox.put(MessageRefused("cam.0", number)) for number in told)
    assert outbox.is_filling
    heard: list[str] = []
    while outbox._events:
        outbox.send()
        heard += hear(theirs)
    assert heard == told
    assert not outbox.is_filling


def test_the_oldest_events_go_when_nobody_listens_for_long(ends: tuple[ControlLine, socket.socket]) -> None:
    line, theirs = ends
    outbox = EventOutbox(line)
    kept = [outbox.put(MessageRefused("cam.0", str(number))) for number in range(EVENTS_PENDING_MAX + 2)]
    assert kept == [True] * EVENTS_PENDING_MAX + [False, False]
    outbox.send()
    assert hear(theirs)[0] == "2"
