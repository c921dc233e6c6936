from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detektr.nodes.dead_letter_spool import DeadLetterSpool


def nbytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_what_is_added_is_read_in_order_and_files_are_their_owners_alone(tmp_path: Path) -> None:
    spool = DeadLetterSpool(tmp_path / "new" / "dead-letters", 1 << 20)
    before = os.umask(0)
    try:
        letters = [spool.add({"n": number}) for number in range(5)]
    finally:
        os.umask(before)
    spool.mark_resent(letters[1])
    content = spool.read()
    assert list(content.letters) == letters
    assert [record["n"] for record in content.letters.values()] == list(range(5))
    assert list(content.resent) == [letters[1]] and content.let_go == 0
    assert stat.S_IMODE(spool.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in spool.folder.iterdir()} == {0o600}


def test_a_full_spool_lets_the_oldest_go_and_says_how_many(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = DeadLetterSpool(tmp_path, 20_000)
    for number in range(1000):
        spool.add({"n": number, "why": "x" * 100})
        assert nbytes(tmp_path) <= 20_000
    content = spool.read()
    numbers = [record["n"] for record in content.letters.values()]
    assert numbers == list(range(numbers[0], 1000)), "the newest stay, all of them"
    assert content.let_go == numbers[0] > 0
    assert "the oldest" in caplog.text and "dead_letters" in caplog.text


def test_half_a_line_of_a_killed_process_spoils_no_other(tmp_path: Path) -> None:
    spool = DeadLetterSpool(tmp_path, 1 << 20)
    first = spool.add({"n": 1})
    (file,) = tmp_path.iterdir()
    with file.open("ab") as half:
        half.write(b'\n{"id": "00", "n')
    second = spool.add({"n": 2})
    assert list(spool.read().letters) == [first, second]


def test_marks_are_heard_from_the_moment_on_when_they_are_followed(tmp_path: Path) -> None:
    spool = DeadLetterSpool(tmp_path, 1 << 20)
    old, new = spool.add({}), spool.add({})
    spool.mark_resent(old)
    marks = spool.follow()
    assert marks.read() == []
    spool.mark_resent(new)
    assert marks.read() == [new]
    assert marks.read() == []


ADD_MANY = """
import pathlib, sys
from detektr.nodes.dead_letter_spool import DeadLetterSpool
spool = DeadLetterSpool(pathlib.Path(sys.argv[1]), 1 << 30)
for number in range(300):
    spool.add({"n": number, "why": "y" * (number * 10)})
"""


def test_processes_that_write_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", ADD_MANY, str(tmp_path)]) for _ in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    content = DeadLetterSpool(tmp_path, 1 << 30).read()
    assert sorted(record["n"] for record in content.letters.values()) == sorted(3 * list(range(300)))


@given(sizes=st.lists(st.integers(0, 600), max_size=60), bytes_max=st.integers(1000, 5000))
def test_each_dead_letter_is_kept_or_counted(
    sizes: list[int], bytes_max: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spool = DeadLetterSpool(tmp_path_factory.mktemp("spool"), bytes_max)
    letters = [spool.add({"why": "z" * size}) for size in sizes]
    content = spool.read()
    kept = list(content.letters)
    assert kept == letters[len(letters) - len(kept) :]
    assert len(kept) + content.let_go == len(letters)
    assert not letters or kept, "the newest is always there"
    if letters:
        assert nbytes(spool.folder) <= max(bytes_max, 1000)
