from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.telemetry.trail.bounds import Bounds
from detektr.telemetry.trail.rows import LifeRow, Stream
from detektr.telemetry.trail.segments import FrameSegments, segment_paths

SMALL = Bounds(3600, 1 << 20)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.db"


@pytest.fixture
def segments(path: Path) -> Iterator[FrameSegments]:
    opened = FrameSegments(path, "shop", SMALL)
    yield opened
    opened.close()


def life(first: int, end: int) -> list[LifeRow]:
    stream, now_us = Stream("door", "door", (1 << 64) - 1), time.time_ns() // 1000
    edge = "buf.0", "eye"
    return [
        LifeRow(now_us, "buffered", stream, number, *edge, "delivered", 1, 2, 3, 4, 0, 1)
        for number in range(first, end)
    ]


def sequences(path: Path) -> list[int]:
    found: list[int] = []
    for one in segment_paths(path, "shop"):
        with contextlib.closing(sqlite3.connect(one)) as database:
            found += [number for (number,) in database.execute("SELECT seq FROM life ORDER BY id")]
    return found


def total(path: Path) -> int:
    return sum(one.stat().st_size for one in path.parent.glob("audit.shop.*"))


def test_a_batch_that_comes_again_is_stored_once_also_where_a_segment_ended_between(
    segments: FrameSegments, path: Path
) -> None:
    for first in range(0, 10_000, 1000):
        segments.write("a", first, life(first, first + 1000))
        segments.write("a", max(0, first - 500), life(max(0, first - 500), first + 1000))
    assert len(segment_paths(path, "shop")) > 2
    assert sequences(path) == sorted(set(sequences(path)))
    segments.close()
    again = FrameSegments(path, "shop", SMALL)
    again.write("a", 9000, life(9000, 10_010))
    again.close()
    assert sequences(path)[-20:] == list(range(9990, 10_010))


def test_all_files_together_never_take_more_than_they_may_and_the_newest_rows_stay(
    segments: FrameSegments, path: Path
) -> None:
    for first in range(0, 40_000, 1000):
        segments.write("a", first, life(first, first + 1000))
        assert total(path) <= 2 * SMALL.bytes_max  # a batch here is most of a segment
    found = sequences(path)
    assert found[-1] == 39_999 and found[0] > 0 and found == list(range(found[0], 40_000))


def test_segments_that_are_kept_no_longer_go_as_whole_files(segments: FrameSegments, path: Path) -> None:
    for first in range(0, 5000, 1000):
        segments.write("a", first, life(first, first + 1000))
    old = segment_paths(path, "shop")[:2]
    for one in old:
        os.utime(one, (time.time() - 3700, time.time() - 3700))
    while segment_paths(path, "shop")[0] in old:
        segments.write("a", 5000, life(5000, 6000))
        segments._next_trim_s = 0.0  # a minute later
    assert not [one for one in old if one.exists()]
    assert sequences(path)[-1] == 5999


def test_a_segment_is_for_this_user_only_and_for_this_pipeline_only(segments: FrameSegments, path: Path) -> None:
    FrameSegments(path, "shop2", SMALL).close()
    segments.write("a", 0, life(0, 10))
    (mine,) = segment_paths(path, "shop")
    assert mine.name == "audit.shop.000001.db"
    assert {one.stat().st_mode & 0o777 for one in path.parent.iterdir()} == {0o600}


def test_a_broken_segment_stays_and_a_new_one_is_begun(path: Path) -> None:
    path.with_name("audit.shop.000007.db").write_bytes(b"this was a file once, and longer than a header is " * 99)
    segments = FrameSegments(path, "shop", SMALL)
    segments.write("a", 0, life(0, 10))
    segments.close()
    assert [one.name for one in segment_paths(path, "shop")] == ["audit.shop.000007.db", "audit.shop.000008.db"]
