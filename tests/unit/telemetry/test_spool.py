from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.errors import RefusedError
from detektr.telemetry.spool import Spool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
def spool(folder: Path) -> Iterator[Spool]:
    opened = Spool(folder, bytes_max=800, memory_records_max=4)
    yield opened
    opened.close()


def numbers(first: int, end: int) -> list[str]:
    return [f"{number:09d}" for number in range(first, end)]  # ten bytes each on disk, ten to a file of the fixture


def drain(spool: Spool, records_max: int = 3) -> list[tuple[str, int, str]]:
    """Take everything off: writer, index and line of each record."""
    found = []
    while (batch := spool.peek(records_max)) is not None:
        found += [(batch.writer, batch.first + place, line) for place, line in enumerate(batch.lines)]
        spool.advance(batch)
    return found


def test_records_in_memory_and_on_disk_come_out_in_order_and_once(spool: Spool, folder: Path) -> None:
    spool.append(numbers(0, 3))
    assert not list(folder.glob("*.jsonl"))
    spool.append(numbers(3, 25))
    spool.append(numbers(25, 28))
    assert spool.waiting == 28
    assert len(list(folder.glob("*.jsonl"))) == 3
    assert drain(spool) == [(spool._writer, place, line) for place, line in enumerate(numbers(0, 28))]
    assert (spool.waiting, spool.lost) == (0, 0)
    assert not list(folder.glob("*.jsonl"))


def test_batch_that_was_not_advanced_comes_again_even_after_it_went_to_disk(spool: Spool) -> None:
    spool.append(numbers(0, 4))
    before = spool.peek(3)
    spool.append(numbers(4, 30))
    assert spool.peek(3) == before
    assert before is not None
    spool.advance(before)
    assert [line for _, _, line in drain(spool)] == numbers(3, 30)


def test_full_spool_drops_the_oldest_and_counts_them(spool: Spool) -> None:
    spool.append(numbers(0, 100))
    assert spool.lost == 20
    assert spool.waiting == 80
    assert [line for _, _, line in drain(spool)] == numbers(20, 100)


def test_batch_in_hand_while_its_file_is_dropped_does_not_disturb_the_rest(spool: Spool) -> None:
    spool.append(numbers(0, 80))
    batch = spool.peek(5)
    spool.append(numbers(80, 95))
    assert batch is not None
    spool.advance(batch)
    assert [line for _, _, line in drain(spool)] == numbers(spool.lost, 95)


def test_successor_sends_what_was_left_first_under_its_writer_s_name(folder: Path) -> None:
    first = Spool(folder)
    first.append(numbers(0, 5))
    done = first.peek(2)
    assert done is not None
    first.advance(done)
    first.close()
    second = Spool(folder)
    second.append(numbers(5, 7))
    found = drain(second)
    second.close()
    assert [line for _, _, line in found] == numbers(2, 7)
    # The index goes on where the first process stopped: a store that has record 1 of this writer is not sent it again.
    assert [(writer == done.writer, index) for writer, index, _ in found] == [
        *((True, index) for index in (2, 3, 4)),
        *((False, index) for index in (0, 1)),
    ]


def test_line_cut_short_by_a_kill_is_not_a_record(folder: Path) -> None:
    first = Spool(folder)
    first.append(numbers(0, 3))
    first.close()
    (path,) = folder.glob("*.jsonl")
    path.write_bytes(path.read_bytes()[:-4])
    second = Spool(folder)
    assert second.waiting == 2
    assert [line for _, _, line in drain(second)] == numbers(0, 2)
    second.close()


def test_folder_that_cannot_be_written_keeps_what_fits_in_memory_and_counts_the_rest(
    spool: Spool, folder: Path
) -> None:
    (folder / "lock").unlink()
    folder.rmdir()
    folder.write_text("in the way")
    spool.append(numbers(0, 10))
    assert spool.fault == "Not a directory"
    assert spool.lost == 6
    folder.unlink()
    folder.mkdir()
    spool.append(numbers(10, 20))
    assert spool.fault == ""
    assert [line for _, _, line in drain(spool)] == numbers(6, 20)


def test_records_that_cannot_be_written_at_the_end_are_counted_as_lost(folder: Path) -> None:
    spool = Spool(folder)
    spool.append(numbers(0, 3))
    (folder / "lock").unlink()
    folder.rmdir()
    spool.close()
    assert (spool.waiting, spool.lost) == (0, 3)


def test_file_that_somebody_removed_is_counted_as_lost(spool: Spool, folder: Path) -> None:
    spool.append(numbers(0, 15))
    min(folder.glob("*.jsonl")).unlink()
    assert [line for _, _, line in drain(spool)] == numbers(10, 15)
    assert spool.lost == 10


def test_folder_in_use_is_refused(spool: Spool, folder: Path) -> None:
    with pytest.raises(RefusedError, match="used by another process; stop that one first"):
        Spool(folder)


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RefusedError, match=r"file/spool' cannot be written \(Not a directory\)"):
        Spool(tmp_path / "file" / "spool")


def test_files_are_for_their_owner_only(spool: Spool, folder: Path) -> None:
    spool.append(numbers(0, 5))
    modes = {path.stat().st_mode & 0o077 for path in (folder, *folder.iterdir())}
    assert modes == {0}
