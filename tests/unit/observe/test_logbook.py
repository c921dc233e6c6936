from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from detektr.errors import DetektrError
from detektr.observe import logbook
from detektr.observe.logbook import LAST_LINES, Logbook, log_folder, read_logs


def test_chunks_become_lines_and_what_is_not_ours_is_given_a_time_and_a_name(tmp_path: Path) -> None:
    shown: list[str] = []
    book = Logbook(tmp_path, shown.append)
    book.take("motion.0", b"12:00:00.000 INFO motion.0: run")
    book.take("motion.0", b"ning\nSegmentation")
    book.end("motion.0")
    book.close(5)
    assert shown[0] == "12:00:00.000 INFO motion.0: running"
    assert shown[1].endswith(" PRINT motion.0: Segmentation")
    assert [line[11:] for line in (tmp_path / "motion.0.log").read_text().splitlines()] == shown


def test_last_lines_are_kept_by_process(tmp_path: Path) -> None:
    book = Logbook(tmp_path, lambda line: None)
    for number in range(3 * LAST_LINES):
        book.take("a.0", b"line %d\n" % number)
    book.close(5)
    assert len(book.last("a.0")) == LAST_LINES
    assert book.last("a.0")[-1].endswith(f"line {3 * LAST_LINES - 1}")
    assert book.last("b.0") == ()


def test_what_a_supervisor_knows_of_an_end_stands_behind_the_last_lines_and_is_not_shown_twice(
    state_dir: Path,
) -> None:
    shown: list[str] = []
    book = Logbook(log_folder("demo"), shown.append)
    book.take("a.0", b"12:00:00.000 INFO a.0: running\n")
    book.note("a.0", "killed by signal 6; it is started again in 0.5 s")
    book.close(5)
    assert shown == ["12:00:00.000 INFO a.0: running"]
    assert list(read_logs("demo", "a"))[-1].endswith(" WARNING a.0: killed by signal 6; it is started again in 0.5 s")


def test_full_file_is_put_aside_and_both_are_read_back_in_order(
    state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logbook, "FILE_BYTES_MAX", 2000)
    book = Logbook(log_folder("demo"), lambda line: None)
    for number in range(90):
        book.take("a.0", b"12:00:00.%03d INFO a.0: %s\n" % (number, b"x" * 30))
    book.close(5)
    files = sorted(path.name for path in log_folder("demo").iterdir())
    assert files == ["a.0.log", "a.0.log.1"]
    moments = [line.split()[1] for line in read_logs("demo", "a")]
    assert moments == sorted(moments) and moments[-1] == "12:00:00.089"
    assert 20 < len(moments) < 90


def test_followed_log_goes_on_over_the_change_of_its_file(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logbook, "FILE_BYTES_MAX", 120)
    monkeypatch.setattr(logbook, "FOLLOW_S", 0.01)
    first = Logbook(log_folder("demo"), lambda line: None)
    first.take("a.0", b"12:00:00.001 INFO a.0: one\n")
    first.close(5)
    lines = read_logs("demo", follow=True)
    found = [next(lines)]
    for text in (b"two", b"three", b"four", b"five"):
        book = Logbook(log_folder("demo"), lambda line: None)
        book.take("a.0", b"12:00:00.002 INFO a.0: %s\n" % text)
        book.close(5)
        found += itertools.islice(lines, 1)
    assert [line.rsplit(" ", 1)[1] for line in found] == ["one", "two", "three", "four", "five"]


def test_unwritable_folder_is_said_once_and_lines_are_still_shown(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    shown: list[str] = []
    book = Logbook(tmp_path / "file" / "logs", shown.append)
    book.take("a.0", b"one\n")
    book.take("a.0", b"two\n")
    book.close(5)
    assert sum("cannot be written" in line for line in shown) == 1
    assert sum("a.0: " in line for line in shown) == 2


def test_unknown_names_are_refused_with_the_known_ones(state_dir: Path) -> None:
    book = Logbook(log_folder("demo"), lambda line: None)
    book.take("a.0", b"one\n")
    book.close(5)
    with pytest.raises(DetektrError, match="these have: demo"):
        read_logs("domo")
    with pytest.raises(DetektrError, match="these have: a"):
        read_logs("demo", "b")


def test_lines_of_several_processes_are_read_in_order_of_time(state_dir: Path) -> None:
    folder = log_folder("demo")
    folder.mkdir(parents=True)
    (folder / "a.0.log").write_text("2030-01-01 12:00:00.001 one\n2030-01-01 12:00:00.005 five\n")
    # A print() is stamped when it arrives: the next line of its own process is a little older.
    (folder / "b.0.log").write_text(
        "2030-01-01 12:00:00.004 four\n2030-01-01 12:00:00.003 three\n2030-01-01 12:00:00.009 nine\n"
    )
    (folder / "c.0.log").write_text("2030-01-01 12:00:00.002 two\n2030-01-01 12:00:00.008 eight\n")
    words = [line.rsplit(" ", 1)[1] for line in read_logs("demo")]
    assert words == ["one", "two", "four", "three", "five", "eight", "nine"]


def test_what_several_processes_wrote_since_the_last_look_comes_in_order_of_time(tmp_path: Path) -> None:
    (tmp_path / "b.0.log").write_text("2030-01-01 12:00:00.001 one\n")
    tails = [logbook._Tail(tmp_path / "b.0.log"), logbook._Tail(tmp_path / "a.0.log")]
    assert len(list(logbook._merged(tails))) == 1
    with (tmp_path / "b.0.log").open("a") as log:
        log.write("2030-01-01 12:00:00.002 two\n2030-01-01 12:00:00.004 four\n")
    (tmp_path / "a.0.log").write_text("2030-01-01 12:00:00.003 three\n2030-01-01 12:00:00.005 five\n")
    assert [line.rsplit(" ", 1)[1] for line in logbook._merged(tails)] == ["two", "three", "four", "five"]
    for tail in tails:
        tail.close()


def test_a_line_from_before_midnight_that_comes_after_it_keeps_its_day() -> None:
    noon = time.mktime((2030, 5, 2, 12, 0, 0, 0, 0, -1))
    midnight = time.mktime((2030, 5, 2, 0, 0, 1, 0, 0, -1))
    assert logbook._day("23:59:59.900 INFO a.0: late", midnight) == "2030-05-01"
    assert logbook._day("00:00:00.900 INFO a.0: on time", midnight) == "2030-05-02"
    assert logbook._day("12:00:00.000 INFO a.0: on time", noon) == "2030-05-02"


def test_a_print_of_user_code_commands_no_terminal(tmp_path: Path) -> None:
    shown: list[str] = []
    book = Logbook(tmp_path, shown.append)
    book.take("motion.0", b"\x1b[31mred\x1b[0m\n")
    book.close(5)
    assert shown[0].endswith("PRINT motion.0: \\x1b[31mred\\x1b[0m")
    assert "\x1b" not in (tmp_path / "motion.0.log").read_text()
