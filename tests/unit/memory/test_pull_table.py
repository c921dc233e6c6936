from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from detektr.memory import layout
from detektr.memory.pull_table import BACK, DONE, OUT, PullTable, Row, read_pull_table

FIRST = Row(OUT, 0, (1 << 64) - 1, 7, 1, 1, 5_000, 77)
SECOND = Row(BACK, 2, 3, 1 << 63, 2, 4, 6_000, 0)


class DyingWords:
    """Words in which so many stores arrive; with the next one their writer is killed."""

    def __init__(self, words: memoryview, stores: int) -> None:
        self._words, self._left = words, stores

    def __getitem__(self, at: Any) -> Any:
        return self._words[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if not self._left:
            raise ProcessLookupError
        self._left -= 1
        self._words[at] = value


def rows(path: Path) -> list[Row]:
    return read_pull_table(path)


def test_a_successor_finds_the_rows_the_names_and_how_leases_ended(tmp_path: Path) -> None:
    path = tmp_path / "pull.0.pull"
    table = PullTable(path, 4)
    assert not table.is_adopted and list(table.rows()) == [] and rows(tmp_path / "none.0.pull") == []
    table.note_named(12)
    table.write(1, FIRST)
    table.write(3, SECOND)
    table.note_end(4, "already")
    table.note_end(5, "expired")
    prefix = table.prefix
    table.close(unlink=False)

    again = PullTable(path, 4)
    assert again.is_adopted and (again.prefix, again.named) == (prefix, 12)
    assert list(again.rows()) == [(1, FIRST), (3, SECOND)]
    assert list(again.ends()) == [(4, "already"), (5, "expired")]
    again.free(1)
    assert rows(path) == [SECOND]
    again.close(unlink=True)
    assert not path.exists()


@pytest.mark.parametrize("stores", range(layout.PULL_IMAGE_WORDS + 2))
@pytest.mark.parametrize("after", [FIRST._replace(state=DONE), FIRST._replace(deliveries=2, number=9, request=5)])
def test_a_row_is_the_old_one_or_the_new_one_wherever_its_writer_is_killed(
    tmp_path: Path, stores: int, after: Row
) -> None:
    path = tmp_path / "pull.0.pull"
    table = PullTable(path, 2)
    for before in (FIRST._replace(number=0), FIRST):  # so that both images of it were in use
        table.write(0, before)
    table.write(1, SECOND)
    words, table._words = table._words, cast(memoryview, DyingWords(table._words, stores))
    is_whole = True
    try:
        table.write(0, after)
    except ProcessLookupError:
        is_whole = False
    table._words = words
    table.close(unlink=False)
    assert rows(path) == [after if is_whole else FIRST, SECOND]


@pytest.mark.parametrize("at", range(layout.PULL_IMAGE_WORDS))
def test_a_row_with_a_word_that_nobody_wrote_is_none(tmp_path: Path, at: int) -> None:
    path = tmp_path / "pull.0.pull"
    table = PullTable(path, 1)
    table.write(0, FIRST)
    image = layout.PULL_WORD_FIRST_ROW + layout.PULL_ROW_IMAGES + layout.PULL_IMAGE_WORDS
    table._words[image + at] ^= 1 << 40
    table.close(unlink=False)
    assert rows(path) == []


def test_a_file_that_is_cut_anywhere_or_of_another_version_is_no_table(tmp_path: Path) -> None:
    path, cut = tmp_path / "pull.0.pull", tmp_path / "cut.0.pull"
    table = PullTable(path, 2)
    table.write(0, FIRST)
    table.close(unlink=False)
    whole = path.read_bytes()
    for length in {*range(0, len(whole), 509), *range(0, len(whole), 4096), *range(100)} - {len(whole)}:
        cut.write_bytes(whole[:length])
        assert rows(cut) == [], length
    fresh = PullTable(cut, 2)
    assert not fresh.is_adopted and list(fresh.rows()) == []
    fresh._words[layout.PULL_WORD_VERSION] += 1
    fresh.close(unlink=False)
    assert rows(cut) == []


def test_a_table_that_is_too_small_is_made_anew_with_what_stood_in_it(tmp_path: Path) -> None:
    path = tmp_path / "pull.0.pull"
    table = PullTable(path, 1)
    table.write(0, FIRST)
    table.note_named(1)
    table.note_end(1, "expired")
    prefix = table.prefix
    table.close(unlink=False)
    larger = PullTable(path, 400)
    assert (larger.is_adopted, larger.rows_max, larger.prefix, larger.named) == (True, 400, prefix, 1)
    assert list(larger.rows()) == [(0, FIRST)] and list(larger.ends()) == [(1, "expired")]
    larger.close(unlink=False)


def test_the_memory_of_ended_leases_is_bounded(tmp_path: Path) -> None:
    table = PullTable(tmp_path / "pull.0.pull", 1)
    for number in range(layout.PULL_ENDED_MAX + 5):
        table.note_end(number, "already")
    ends = list(table.ends())
    assert len(ends) == layout.PULL_ENDED_MAX and ends[0] == (5, "already")
    table.close(unlink=False)
