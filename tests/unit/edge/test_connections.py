from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from detektr.edge.connections import ConnectionTable
from detektr.edge.lanes.shm_lane import ShmConnection
from detektr.edge.lanes.wakeup import ProducerWakeup
from detektr.memory.completion_queue import CompletionQueueWriter, open_completion_queue
from detektr.wire.doorbell import Doorbell, RemoteDoorbell
from detektr.wire.link import Link, Outbox


class Poll:
    """What a link waits on, without its sockets."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self.watched: set[int] = set()

    def watch(self, fd: int) -> None:
        self._poll.register(fd, select.POLLIN)
        self.watched.add(fd)

    def unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)
        self.watched.remove(fd)

    def ready(self) -> list[int]:
        return [fd for fd, _ in self._poll.poll(0)]


class Replica:
    """A replica as its producer sees it: its returns, and its doorbell. Only the socket of its outbox is not there."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name, self._bell = name, folder / f"{name}.bell"
        self.completions = CompletionQueueWriter(folder / f"{name}~camera.0.completions", 8)
        self.doorbell = Doorbell(self._bell)

    def connection(self) -> ShmConnection:
        """Return the way to it, as after an attach."""
        completions = open_completion_queue(self.completions.segment.path, self.completions.count)
        assert completions is not None
        return ShmConnection("motion", self.name, 1, os.getpid(), cast(Outbox, RemoteDoorbell(self._bell)), completions)

    def rings(self) -> int:
        """Return how often it was rung since the last look."""
        try:
            return len(os.read(self.doorbell.fileno(), 4096))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self.doorbell.close()
        self.completions.close()


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[list[Replica]]:
    replicas = [Replica(tmp_path, f"motion.{number}") for number in range(2)]
    yield replicas
    for replica in replicas:
        replica.close()


@pytest.fixture
def poll() -> Poll:
    return Poll()


@pytest.fixture
def connections(replicas: list[Replica], poll: Poll) -> Iterator[ConnectionTable]:
    connections = ConnectionTable(cast(Link, poll))
    for number, replica in enumerate(replicas):
        connections.add(7 + number, replica.connection())
    yield connections
    for session in tuple(connections):
        connections.close(session)


def test_a_replica_is_woken_once_a_sleep_and_not_while_awake(
    connections: ConnectionTable, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    for _ in range(3):
        ProducerWakeup(connections).wake_consumers({7})
        assert replica.rings() == 0, "it is awake"
        replica.completions.toggle_asleep()
        for _ in range(3):
            ProducerWakeup(connections).wake_consumers({7})
        assert replica.rings() == 1
        replica.completions.toggle_asleep()


def test_only_those_for_whom_there_is_something_are_woken(
    connections: ConnectionTable, replicas: list[Replica]
) -> None:
    for replica in replicas:
        replica.completions.toggle_asleep()
    ProducerWakeup(connections).wake_consumers(set())
    assert [replica.rings() for replica in replicas] == [0, 0]
    ProducerWakeup(connections).wake_consumers({8})
    assert [replica.rings() for replica in replicas] == [0, 1]
    ProducerWakeup(connections).wake_consumers({7, 8})
    assert [replica.rings() for replica in replicas] == [1, 0]


def test_who_attaches_again_is_woken_out_of_the_sleep_in_which_it_was_rung_before(
    connections: ConnectionTable, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    replica.completions.toggle_asleep()
    ProducerWakeup(connections).wake_consumers({7})
    assert replica.rings() == 1
    connections.close(7)
    connections.add(7, replica.connection())  # of another round, or of a successor that has not looked up yet
    ProducerWakeup(connections).wake_consumers({7})
    assert replica.rings() == 1


def test_waking_one_that_has_died_asleep_does_nothing(connections: ConnectionTable, replicas: list[Replica]) -> None:
    replicas[0].completions.toggle_asleep()
    replicas[1].completions.toggle_asleep()
    replicas[0].doorbell.close()
    ProducerWakeup(connections).wake_consumers([7, 8])
    assert replicas[1].rings() == 1
    replicas[0].doorbell = Doorbell(replicas[0]._bell)


def test_there_is_news_once_somebody_gave_something_back_until_it_is_taken(
    connections: ConnectionTable, replicas: list[Replica]
) -> None:
    seen = [connections.has_news([7, 8, 9])]
    replicas[1].completions.append(1, 0, 1)
    seen += [connections.has_news([7, 8, 9]), connections.has_news([7]), connections.has_news([])]
    assert connections[8].take() == [(1, 0, 1)]
    seen.append(connections.has_news([7, 8, 9]))
    assert seen == [False, True, False, False, False]


def test_the_end_of_a_replica_s_process_is_watched_for_as_long_as_there_is_a_way(
    connections: ConnectionTable, poll: Poll
) -> None:
    pidfds = {connection.pidfd for connection in connections.values()}
    assert poll.watched == pidfds
    assert len(pidfds) == 2
    assert poll.ready() == [], "we live"
    connections.close(7)
    assert poll.watched == {connections[8].pidfd}
    assert poll.ready() == [], "a closed descriptor that is watched would be ready"


def test_a_replica_whose_process_cannot_be_seen_is_let_in_and_not_watched(
    replicas: list[Replica], connections: ConnectionTable, poll: Poll
) -> None:
    watched = set(poll.watched)
    connection = replicas[0].connection()
    connection.pid = 1 << 22  # the kernel's highest, and one more
    connections.add(9, connection)
    assert (connection.pidfd, poll.watched) == (-1, watched)
    replicas[0].completions.toggle_asleep()
    ProducerWakeup(connections).wake_consumers({9})
    assert replicas[0].rings() == 1
    connections.close(9)


def test_a_way_that_was_closed_is_gone_and_closing_it_or_waking_it_again_does_nothing(
    connections: ConnectionTable, replicas: list[Replica]
) -> None:
    replicas[0].completions.toggle_asleep()
    connections.close(7)
    connections.close(7)
    assert list(connections) == [8]
    ProducerWakeup(connections).wake_consumers({7, 8})
    assert [replica.rings() for replica in replicas] == [0, 0]
