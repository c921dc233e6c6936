from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from detektr.descriptor import Descriptor
from detektr.errors import DetektrError
from detektr.telemetry.trail.bounds import Bounds
from detektr.telemetry.trail.reader import SegmentsReader
from detektr.telemetry.trail.rows import Drop, LifeRow, Row, Stream, drop_rows
from detektr.telemetry.trail.segments import FrameSegments, segment_paths
from detektr.telemetry.trail.wanted import WantedFrame, WantedRows, time_us, wanted_frame

T0_S = 1_800_000_000
DOOR, YARD = Stream("door", "front_door", 77), Stream("yard", "back_yard", 1 << 63)


def life(stream: Stream, sequence: int, edge: str = "buf.0->eye", outcome: str = "delivered") -> LifeRow:
    producer, _, consumer = edge.partition("->")
    place = "buffered" if producer == "buf.0" else "metadata"
    t_us = T0_S * 1_000_000 + sequence * 10_000
    return LifeRow(t_us, place, stream, sequence, producer, consumer, outcome, 1, 2, 3, 4, 0, 1)


def rows() -> list[Row]:
    found: list[Row] = []
    for sequence in range(3000):
        for stream in (DOOR, YARD):
            outcome = "dead_lettered" if (sequence, stream) == (5, YARD) else "delivered"
            found += [life(stream, sequence, "door.0->buf"), life(stream, sequence, outcome=outcome)]
    drops = [Drop(number, 1, 500) for number in range(100, 3000, 100)]
    return found + list(drop_rows(T0_S + 30, "buffered", DOOR, ("buf.0", "ear"), "queue_full", drops))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[SegmentsReader]:
    path, told = tmp_path / "audit.db", rows()
    store = FrameSegments(path, "shop", Bounds(1e9, 4 << 20))
    for first in range(0, len(told), 500):
        store.write("a", first, told[first : first + 500])
    assert len(segment_paths(path, "shop")) > 1
    yield SegmentsReader(path, "shop")
    store.close()


def frame_id(stream: Stream, sequence: int) -> str:
    utc_ns = T0_S * 10**9 + sequence * 10**7
    return Descriptor(stream.node, stream.camera, stream.run, 1, 0, 1, sequence, 5, utc_ns, None).id


def wanted(since_s: float = 0, until_s: float = 1000, rows_max: int = 10**6, **which: str) -> WantedRows:
    return WantedRows(round((T0_S + since_s) * 1e6), round((T0_S + until_s) * 1e6), rows_max, **which)


@pytest.mark.parametrize("sequence", [0, 1234, 2999])
def test_a_frame_is_found_by_its_id_in_whatever_segment_and_no_other_is(reader: SegmentsReader, sequence: int) -> None:
    found = reader.of_frame(wanted_frame(frame_id(YARD, sequence)))
    assert [(row.stream, row.sequence, row.consumer) for row in found if isinstance(row, LifeRow)] == [
        (YARD, sequence, "buf"),
        (YARD, sequence, "eye"),
    ]
    assert not reader.of_frame(wanted_frame(frame_id(YARD._replace(run=5), sequence)))


def test_a_frame_is_found_by_camera_and_number_with_its_drops(reader: SegmentsReader) -> None:
    assert len(reader.of_frame(wanted_frame("front_door/200"))) == 3
    assert len(reader.of_frame(wanted_frame("front_door/201"))) == 2
    assert not reader.of_frame(wanted_frame("side_door/200"))


def test_the_newest_rows_of_a_time_come_in_order_over_segments(reader: SegmentsReader) -> None:
    found = reader.of_time(wanted(5, 20, 2000))
    assert len(found) == 2000 and time_us(found[-1]) == (T0_S + 20) * 1_000_000
    assert [time_us(row) for row in found] == sorted(time_us(row) for row in found)
    assert len(reader.of_time(wanted())) == 12_001


@pytest.mark.parametrize(
    ("which", "count"),
    [
        ({"edge": "buf->eye"}, 6000),
        ({"edge": "buf.0 -> ear"}, 1),
        ({"node": "ear"}, 1),
        ({"node": "door.0"}, 6000),
        ({"node": "buf"}, 12_001),
        ({"outcome": "dead_lettered"}, 1),
        ({"outcome": "queue_full"}, 1),
        ({"outcome": "dropped"}, 1),
        ({"outcome": "too_old"}, 0),
        ({"edge": "eye->buf"}, 0),
    ],
)
def test_rows_are_chosen_by_node_edge_and_outcome(reader: SegmentsReader, which: dict[str, Any], count: int) -> None:
    found = reader.of_time(wanted(**which))
    assert len(found) == count and all(wanted(**which).has(row) for row in found)


def test_it_says_how_far_back_it_reaches(reader: SegmentsReader, tmp_path: Path) -> None:
    assert reader.reaches_back_s() == T0_S
    assert SegmentsReader(tmp_path / "none.db", "shop").reaches_back_s() is None


@pytest.mark.parametrize("text", ["", "door", "door/x", "1_door_5_zz", "1753_door_door_x_9a4e10da"])
def test_what_is_no_frame_is_refused_in_words(text: str) -> None:
    with pytest.raises(DetektrError, match="is no frame; write its id"):
        wanted_frame(text)


def test_names_with_underscores_are_read_from_an_id() -> None:
    found = wanted_frame(frame_id(DOOR, 41))
    assert isinstance(found, WantedFrame) and found.is_of(DOOR) and not found.is_of(YARD)
    assert (found.sequence, found.captured_ms) == (41, T0_S * 1000 + 410)
