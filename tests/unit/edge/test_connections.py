from __future__ import annotations

import os
import select
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from detektr.edge.connections import Way, Ways
from detektr.memory.completion_queue import ReturnsWriter, open_returns
from detektr.wire.doorbell import Button, Doorbell
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
        self.returns = ReturnsWriter(folder / f"{name}~camera.0.returns", 8)
        self.doorbell = Doorbell(self._bell)

    def way(self) -> Way:
        """Return the way to it, as after an attach."""
        returns = open_returns(self.returns.segment.path, self.returns.count)
        assert returns is not None
        return Way("motion", self.name, 1, os.getpid(), cast(Outbox, Button(self._bell)), returns)

    def rings(self) -> int:
        """Return how often it was rung since the last look."""
        try:
            return len(os.read(self.doorbell.fileno(), 4096))
        except BlockingIOError:
            return 0

    def close(self) -> None:
        self.doorbell.close()
        self.returns.close()


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
def ways(replicas: list[Replica], poll: Poll) -> Iterator[Ways]:
    ways = Ways(cast(Link, poll))
    for number, replica in enumerate(replicas):
        ways.add(7 + number, replica.way())
    yield ways
    for session in tuple(ways):
        ways.close(session)


def test_a_replica_is_woken_once_a_sleep_and_not_while_awake(ways: Ways, replicas: list[Replica]) -> None:
    replica = replicas[0]
    for _ in range(3):
        ways.wake({7})
        assert replica.rings() == 0, "it is awake"
        replica.returns.turn_over()
        for _ in range(3):
            ways.wake({7})
        assert replica.rings() == 1
        replica.returns.turn_over()


def test_only_those_for_whom_there_is_something_are_woken(ways: Ways, replicas: list[Replica]) -> None:
    for replica in replicas:
        replica.returns.turn_over()
    ways.wake(set())
    assert [replica.rings() for replica in replicas] == [0, 0]
    ways.wake({8})
    assert [replica.rings() for replica in replicas] == [0, 1]
    ways.wake({7, 8})
    assert [replica.rings() for replica in replicas] == [1, 0]


def test_who_attaches_again_is_woken_out_of_the_sleep_in_which_it_was_rung_before(
    ways: Ways, replicas: list[Replica]
) -> None:
    replica = replicas[0]
    replica.returns.turn_over()
    ways.wake({7})
    assert replica.rings() == 1
    ways.close(7)
    ways.add(7, replica.way())  # of another round, or of a successor that has not looked up yet
    ways.wake({7})
    assert replica.rings() == 1


def test_waking_one_that_has_died_asleep_does_nothing(ways: Ways, replicas: list[Replica]) -> None:
    replicas[0].returns.turn_over()
    replicas[1].returns.turn_over()
    replicas[0].doorbell.close()
    ways.wake([7, 8])
    assert replicas[1].rings() == 1
    replicas[0].doorbell = Doorbell(replicas[0]._bell)


def test_there_is_news_once_somebody_gave_something_back_until_it_is_taken(ways: Ways, replicas: list[Replica]) -> None:
    seen = [ways.has_news([7, 8, 9])]
    replicas[1].returns.append(1, 0, 1)
    seen += [ways.has_news([7, 8, 9]), ways.has_news([7]), ways.has_news([])]
    assert ways[8].returns.take() == [(1, 0, 1)]
    seen.append(ways.has_news([7, 8, 9]))
    assert seen == [False, True, False, False, False]


def test_the_end_of_a_replica_s_process_is_watched_for_as_long_as_there_is_a_way(ways: Ways, poll: Poll) -> None:
    pidfds = {way.pidfd for way in ways.values()}
    assert poll.watched == pidfds
    assert len(pidfds) == 2
    assert poll.ready() == [], "we live"
    ways.close(7)
    assert poll.watched == {ways[8].pidfd}
    assert poll.ready() == [], "a closed descriptor that is watched would be ready"


def test_a_replica_whose_process_cannot_be_seen_is_let_in_and_not_watched(
    replicas: list[Replica], ways: Ways, poll: Poll
) -> None:
    watched = set(poll.watched)
    way = replicas[0].way()
    way.pid = 1 << 22  # the kernel's highest, and one more
    ways.add(9, way)
    assert (way.pidfd, poll.watched) == (-1, watched)
    replicas[0].returns.turn_over()
    ways.wake({9})
    assert replicas[0].rings() == 1
    ways.close(9)


def test_a_way_that_was_closed_is_gone_and_closing_it_or_waking_it_again_does_nothing(
    ways: Ways, replicas: list[Replica]
) -> None:
    replicas[0].returns.turn_over()
    ways.close(7)
    ways.close(7)
    assert list(ways) == [8]
    ways.wake({7, 8})
    assert [replica.rings() for replica in replicas] == [0, 0]
