"""A process's inbox and doorbell: what wakes it, and what it leaves."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.errors import RefusedError, WireError
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Detach

LONG_NS = 20_000_000_000  # nobody waits so long unless something is wrong


@pytest.fixture
def link(shm_dir: Path) -> Iterator[Link]:
    link = Link(shm_dir / "motion.0.sock", shm_dir / "motion.0.bell")
    assert list(link.receive()) == []
    yield link
    link.close()


@pytest.fixture
def outbox(link: Link, shm_dir: Path) -> Iterator[Outbox]:
    outbox = link.open_outbox(shm_dir / "motion.0.sock", shm_dir / "motion.0.bell")
    yield outbox
    outbox.close()


def test_a_ring_ends_a_wait_and_is_taken_note_of_once(link: Link, outbox: Outbox) -> None:
    outbox.ring()
    outbox.ring()
    rung = False
    while not rung:  # ZeroMQ's descriptor may wake for its own affairs first
        assert link.wait(LONG_NS) == []
        rung = link.is_rung
        assert list(link.receive()) == []
    assert link.wait(0) == []
    assert not link.is_rung
    outbox.ring()
    assert link.wait(0) == []
    assert link.is_rung


def settle(link: Link) -> None:
    """Let ZeroMQ's descriptor come to rest: it wakes for the affairs of connections too."""
    is_quiet = False
    while not is_quiet:
        list(link.receive())
        begun = time.monotonic_ns()
        link.wait(20_000_000)
        is_quiet = time.monotonic_ns() - begun >= 20_000_000


def test_every_ring_is_heard_however_many_lie_there_already(link: Link, outbox: Outbox) -> None:
    settle(link)
    deaf = 0
    for _ in range(3 * 65536):  # three times as many as the pipe holds
        outbox.ring()
        link.wait(0)
        deaf += not link.is_rung
    assert deaf == 0


@pytest.mark.parametrize("hears_each", [True, False])
def test_a_wait_ends_for_each_ring_on_a_kernel_that_tells_of_the_first_alone_too(
    monkeypatch: pytest.MonkeyPatch, shm_dir: Path, *, hears_each: bool
) -> None:
    monkeypatch.setattr(Link, "_hears_each_ring", lambda self: hears_each)
    link = Link(shm_dir / "motion.0.sock", shm_dir / "motion.0.bell")
    outbox = link.open_outbox(shm_dir / "motion.0.sock", shm_dir / "motion.0.bell")
    settle(link)
    heard = []
    for _ in range(100):
        outbox.ring()
        link.wait(0)
        heard.append(link.is_rung)
        link.wait(0)
        heard.append(link.is_rung)
    assert heard == [True, False] * 100
    outbox.close()
    link.close()


def test_a_pipe_that_somebody_has_filled_is_emptied_when_a_wait_has_come_to_its_end(
    link: Link, outbox: Outbox, shm_dir: Path
) -> None:
    settle(link)
    fd = os.open(shm_dir / "motion.0.bell", os.O_WRONLY | os.O_NONBLOCK)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(fd, b"!" * 4096)
    os.close(fd)
    link.wait(0)
    link.wait(1_000_000)
    outbox.ring()
    link.wait(0)
    assert link.is_rung


def test_a_message_ends_a_wait_and_no_further_one_once_it_is_read(link: Link, outbox: Outbox) -> None:
    assert outbox.try_send(Detach("motion", 7))
    found: list[Detach | WireError] = []
    while not found:
        link.wait(LONG_NS)
        found += [message for message in link.receive() if isinstance(message, Detach | WireError)]
    assert found == [Detach("motion", 7)]
    assert list(link.receive()) == []
    assert not link.has_mail
    link.wait(0)
    assert list(link.receive()) == []


def test_mail_that_was_not_read_to_the_end_lets_no_wait_begin(link: Link, outbox: Outbox) -> None:
    for number in range(1, 4):
        assert outbox.try_send(Detach("motion", number))
    sessions: list[int] = []
    while len(sessions) < 3:
        link.wait(LONG_NS)
        sessions += [message.session for message in link.receive(limit=1) if isinstance(message, Detach)]
    assert sessions == [1, 2, 3]


def test_a_message_beside_the_one_that_ended_a_sleep_is_taken_before_the_next_sleep(link: Link, outbox: Outbox) -> None:
    settle(link)
    sender = threading.Thread(target=lambda: [outbox.try_send(Detach("motion", number)) for number in range(1, 200)])
    sender.start()
    sessions: list[int] = []
    while len(sessions) < 199:
        begun = time.monotonic_ns()
        link.wait(LONG_NS)
        assert time.monotonic_ns() - begun < LONG_NS, f"slept beside a message; had {len(sessions)}"
        if link.has_mail:
            sessions += [message.session for message in link.receive() if isinstance(message, Detach)]
    sender.join()
    assert sessions == list(range(1, 200))


def test_who_asks_twice_without_a_wait_gets_all_messages(link: Link, outbox: Outbox) -> None:
    settle(link)
    for number in range(1, 4):
        assert outbox.try_send(Detach("motion", number))
    link.wait(LONG_NS)
    sessions: list[int] = []
    begun = time.monotonic_ns()
    while len(sessions) < 3 and time.monotonic_ns() - begun < LONG_NS:
        sessions += [message.session for message in link.receive() if isinstance(message, Detach)]
    assert sessions == [1, 2, 3]


def test_another_thread_ends_a_wait(link: Link) -> None:
    ringer = threading.Thread(target=link.wake)
    ringer.start()
    assert link.wait(LONG_NS) == []
    assert link.is_rung
    ringer.join()


def test_a_watched_descriptor_ends_a_wait_until_it_is_watched_no_more(link: Link) -> None:
    reading, writing = os.pipe()
    try:
        link.watch(reading)
        os.write(writing, b"x")
        assert link.wait(LONG_NS) == [reading]
        link.unwatch(reading)
        link.unwatch(reading)
        assert link.wait(0) == []
    finally:
        os.close(reading)
        os.close(writing)


def test_what_a_dead_predecessor_left_is_replaced_and_nothing_is_left_at_close(shm_dir: Path) -> None:
    inbox, doorbell = shm_dir / "motion.0.sock", shm_dir / "motion.0.bell"
    inbox.touch()
    os.mkfifo(doorbell)
    link = Link(inbox, doorbell)
    kinds = {path.name: path.stat().st_mode for path in shm_dir.iterdir()}
    assert stat.S_ISSOCK(kinds["motion.0.sock"])
    assert stat.S_ISFIFO(kinds["motion.0.bell"])
    assert {stat.S_IMODE(mode) for mode in kinds.values()} == {0o600}
    link.close()
    assert list(shm_dir.iterdir()) == []


def test_a_link_leaves_the_mask_alone_that_all_threads_share(shm_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two that set it and set it back at once would leave it set: it was so, in processes that attach from threads.
    monkeypatch.setattr(os, "umask", None)
    Link(shm_dir / "motion.0.sock", shm_dir / "motion.0.bell").close()


@pytest.mark.parametrize("missing", ["inbox", "doorbell"])
def test_a_link_that_cannot_be_made_is_refused_and_leaves_nothing(shm_dir: Path, missing: str) -> None:
    paths = {"inbox": shm_dir / "motion.0.sock", "doorbell": shm_dir / "motion.0.bell"}
    paths[missing] = shm_dir / "nowhere" / paths[missing].name
    with pytest.raises(RefusedError, match=f"{paths[missing].name} cannot be made"):
        Link(paths["inbox"], paths["doorbell"])
    assert list(shm_dir.iterdir()) == []
