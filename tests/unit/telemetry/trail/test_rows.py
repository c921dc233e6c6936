from __future__ import annotations

import pytest

from detektr.telemetry.record import RECORD_BYTES_MAX
from detektr.telemetry.trail.rows import (
    DROPS_MAX,
    SPAN_MAX,
    Drop,
    LifeRow,
    Row,
    Stream,
    as_fields,
    decode_row,
    drop_rows,
    from_fields,
    is_row,
    pack_drops,
    unpack_drops,
)

DOOR = Stream("door", "front_door", (1 << 64) - 1)
LIVES = [
    LifeRow(1_800_000_000_000_001, "buffered", DOOR, 7, "buf.0", "eye", "delivered", 1, 2, 3, 4, 0, 1),
    LifeRow(1_800_000_000_000_001, "results", DOOR, 7, "eye.1", "hook", "failed", None, None, None, None, None, 2, 99),
]


def rows_of(*drops: Drop) -> list[Row]:
    return list(drop_rows(1_800_000_000, "buffered", DOOR, ("buf.0", "eye"), "queue_full", drops))


@pytest.mark.parametrize("row", [*LIVES, *rows_of(Drop(7, 1, 999), Drop(900, 300, 0))])
def test_a_row_comes_back_as_it_was_from_its_line_and_from_its_fields(row: Row) -> None:
    assert is_row(row.line()) and row.line().isascii()
    assert decode_row(row.line()) == row
    assert from_fields(row.place, {name: str(value) for name, value in as_fields(row).items()}) == row


@pytest.mark.parametrize("line", ["[", "[]", '["life"]', '["life",1,2,3]', '["other",1,"x",["a","b",3],5]', "[[[[]]]]"])
def test_a_damaged_line_is_no_row(line: str) -> None:
    assert decode_row(line) is None


def test_drops_of_a_second_are_one_row_that_names_each() -> None:
    (row,) = drop_rows(5, "metadata", DOOR, ("door.0", "buf"), "ring_full", [Drop(30, 10, 2), Drop(7, 1, 999)])
    assert (row.first, row.last, row.frames) == (7, 30, 11)
    assert row.drops() == [Drop(7, 1, 999), Drop(30, 10, 2)]


def test_very_many_drops_or_drops_far_apart_are_rows_that_fit_into_a_line() -> None:
    drops = [Drop(number * 300 + (1 << 40), 1, 999) for number in range(3000)] + [Drop(1 << 50, 1, 0)]
    rows = drop_rows(5, "metadata", DOOR, ("door.0", "buf"), "ring_full", drops)
    assert [drop for row in rows for drop in row.drops()] == drops
    assert all(row.last - row.first < SPAN_MAX for row in rows)
    close = drop_rows(5, "metadata", DOOR, ("d.0", "b"), "thinned", [Drop(n, 1, 999) for n in range(2 * DROPS_MAX)])
    assert len(close) == 2 and max(len(row.line()) for row in [*rows, *close]) < RECORD_BYTES_MAX


def test_numbers_of_any_size_come_back() -> None:
    drops = [Drop(0, 1, 0), Drop(127, 128, 127), Drop(1 << 62, 1 << 20, 999)]
    assert unpack_drops(pack_drops(drops)) == drops
