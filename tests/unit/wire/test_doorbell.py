from __future__ import annotations

import os
import select
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.wire.doorbell import Doorbell, RemoteDoorbell


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "motion.0.bell"


@pytest.fixture
def doorbell(path: Path) -> Iterator[Doorbell]:
    doorbell = Doorbell(path)
    yield doorbell
    doorbell.close()


@pytest.fixture
def remote_doorbell(path: Path) -> Iterator[RemoteDoorbell]:
    remote_doorbell = RemoteDoorbell(path)
    yield remote_doorbell
    remote_doorbell.close()


def has_rung(doorbell: Doorbell) -> bool:
    """Say whether a poll would wake."""
    poll = select.poll()
    poll.register(doorbell.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_ring_wakes_a_poll_until_note_is_taken_of_it(doorbell: Doorbell, remote_doorbell: RemoteDoorbell) -> None:
    assert not has_rung(doorbell), "nobody has rung, and nobody has hung up"
    for _ in range(3):
        remote_doorbell.ring()
        assert has_rung(doorbell)
        doorbell.drain()
        assert not has_rung(doorbell)


def test_several_rings_of_several_are_taken_note_of_at_once(doorbell: Doorbell, path: Path) -> None:
    remote_doorbells = [RemoteDoorbell(path) for _ in range(3)]
    for remote_doorbell in remote_doorbells:
        remote_doorbell.ring()
        remote_doorbell.ring()
    doorbell.drain()
    assert not has_rung(doorbell)
    for remote_doorbell in remote_doorbells:
        remote_doorbell.close()
    assert not has_rung(doorbell), "who goes does not ring"


def test_many_rings_do_not_block_when_nobody_reads(doorbell: Doorbell, remote_doorbell: RemoteDoorbell) -> None:
    for _ in range(200_000):  # a pipe has room for 65,536
        remote_doorbell.ring()
    assert has_rung(doorbell)
    while has_rung(doorbell):
        doorbell.drain()
    remote_doorbell.ring()
    assert has_rung(doorbell)


def test_taking_note_of_no_ring_does_not_wait(doorbell: Doorbell) -> None:
    doorbell.drain()
    assert not has_rung(doorbell)


def test_one_s_own_ring_wakes_and_does_not_block_either(doorbell: Doorbell) -> None:
    doorbell.ring()
    assert has_rung(doorbell)
    for _ in range(100_000):
        doorbell.ring()
    assert has_rung(doorbell)


def test_one_s_own_ring_after_the_close_goes_nowhere(path: Path) -> None:
    doorbell = Doorbell(path)
    number = doorbell.fileno()
    doorbell.close()
    other = path.with_name("log")
    with other.open("wb") as file:  # gets the number that is free now
        assert file.fileno() == number
        doorbell.ring()  # by a thread that was waited for no longer
    assert other.read_bytes() == b""


def test_ringing_nobody_does_nothing_and_leaves_nothing(remote_doorbell: RemoteDoorbell, path: Path) -> None:
    before = open_descriptors()
    for _ in range(3):
        remote_doorbell.ring()
    assert not path.exists()
    os.mkfifo(path)  # left by one that was killed: a pipe, and nobody at its end
    for _ in range(3):
        remote_doorbell.ring()
    assert open_descriptors() == before


def test_ringing_one_that_has_gone_does_nothing_and_finds_its_successor(
    remote_doorbell: RemoteDoorbell, path: Path
) -> None:
    before = open_descriptors()
    first = Doorbell(path)
    remote_doorbell.ring()
    first.close()
    for _ in range(3):
        remote_doorbell.ring()
    assert open_descriptors() == before
    second = Doorbell(path)
    remote_doorbell.ring()
    assert has_rung(second)
    second.close()


@pytest.mark.parametrize("is_pipe", [True, False])
def test_what_a_predecessor_left_is_replaced_and_its_rings_are_not_ours(path: Path, is_pipe: bool) -> None:
    if is_pipe:
        os.mkfifo(path)
    else:
        path.write_bytes(b"!")
    left = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    os.write(left, b"!")
    old = path.stat().st_ino
    doorbell = Doorbell(path)
    assert not has_rung(doorbell)
    assert path.stat().st_ino != old
    remote_doorbell = RemoteDoorbell(path)
    remote_doorbell.ring()
    assert has_rung(doorbell)
    remote_doorbell.close()
    doorbell.close()
    os.close(left)


def test_it_is_a_pipe_for_this_user_alone_whatever_the_mask(path: Path) -> None:
    mask = os.umask(0)
    try:
        doorbell = Doorbell(path)
    finally:
        os.umask(mask)
    mode = path.stat().st_mode
    assert stat.S_ISFIFO(mode)
    assert stat.S_IMODE(mode) == 0o600
    doorbell.close()


def test_its_name_is_taken_away_at_close(path: Path) -> None:
    before = open_descriptors()
    doorbell = Doorbell(path)
    assert path.exists()
    doorbell.close()
    assert not path.exists()
    assert open_descriptors() == before


def test_neither_end_is_given_to_a_program_that_is_started(
    doorbell: Doorbell, remote_doorbell: RemoteDoorbell, path: Path
) -> None:
    remote_doorbell.ring()
    ends = [fd for fd in os.listdir("/proc/self/fd") if is_open_on(fd, path)]
    assert len(ends) == 2
    assert not any(os.get_inheritable(int(fd)) for fd in ends)


def is_open_on(fd: str, path: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == str(path)
    except FileNotFoundError:  # of the list itself
        return False
