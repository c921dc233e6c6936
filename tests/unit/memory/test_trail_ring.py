from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.memory import layout
from detektr.memory.trail_ring import TrailReader, TrailRecord, TrailWriter, open_trail

DONE = layout.EDGE_WORD_DELIVERED


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "buf.0.trail"


@pytest.fixture
def writer(path: Path) -> Iterator[TrailWriter]:
    ring = TrailWriter(path, 8)
    yield ring
    ring.close(unlink=False)


@pytest.fixture
def reader(writer: TrailWriter, path: Path) -> Iterator[TrailReader]:
    ring = open_trail(path)
    assert ring is not None
    yield ring
    ring.close()


def append(writer: TrailWriter, *sequences: int) -> None:
    for sequence in sequences:
        writer.append(DONE, 3, 2, 1, 1 << 63, sequence, 40, 10, 20, 1, 0)


def read(reader: TrailReader) -> list[int]:
    return [record.sequence for record in reader.take()]


def test_a_record_comes_back_as_it_was(writer: TrailWriter, reader: TrailReader) -> None:
    most = layout.TRAIL_NOBODY, (1 << 24) - 1, (1 << 64) - 1
    writer.append(255, 65535, *most, 7, 40, 10, 20, 5, 1 << 40)
    assert reader.take() == [TrailRecord(255, 65535, *most, 7, 40, 10, 20, 5, 1 << 40)]
    assert reader.take() == []


def test_records_come_once_and_in_order_over_the_end_of_the_ring(writer: TrailWriter, reader: TrailReader) -> None:
    append(writer, *range(5))
    assert read(reader) == [0, 1, 2, 3, 4]
    append(writer, *range(5, 11))
    assert read(reader) == [5, 6, 7, 8, 9, 10]
    assert reader.lost == 0


def test_records_that_were_overwritten_are_counted_and_none_is_torn(writer: TrailWriter, reader: TrailReader) -> None:
    append(writer, *range(30))
    assert read(reader) == list(range(23, 30))  # the place of 22 is the next to be written, perhaps just now
    assert reader.lost == 23
    append(writer, 30)
    assert read(reader) == [30]


def test_a_successor_goes_on_in_the_ring_of_the_dead_process(path: Path, reader: TrailReader) -> None:
    append(TrailWriter(path), 1, 2)
    append(TrailWriter(path), 3)
    assert read(reader) == [1, 2, 3]


def test_an_edge_keeps_its_entry_over_lives(path: Path, writer: TrailWriter, reader: TrailReader) -> None:
    assert [writer.add_edge("buf.0", name) for name in ("eye", "ear", "eye")] == [0, 1, 0]
    assert TrailWriter(path).add_edge("buf.0", "ear") == 1
    assert reader.edge(1) == ("buf.0", "ear")


def test_an_entry_that_is_free_goes_to_another_edge_as_late_as_can_be(writer: TrailWriter, reader: TrailReader) -> None:
    entries = [writer.add_edge("buf.0", f"guest{number}") for number in range(layout.TRAIL_EDGES_MAX)]
    assert entries == list(range(layout.TRAIL_EDGES_MAX))
    assert writer.add_edge("buf.0", "late") == -1
    writer.free_edge(9)
    assert writer.add_edge("buf.0", "late") == 9
    assert reader.edge(9) == ("buf.0", "late")


def test_a_file_of_another_version_is_no_trail_and_is_made_anew(path: Path, writer: TrailWriter) -> None:
    writer.segment.words[layout.TRAIL_WORD_VERSION] = layout.VERSION - 1
    assert open_trail(path) is None
    TrailWriter(path, 8).close(unlink=False)
    fresh = open_trail(path)
    assert fresh is not None and fresh.take() == []
    fresh.close()


def test_no_trail_is_none(tmp_path: Path) -> None:
    assert open_trail(tmp_path / "nobody.0.trail") is None
