from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.errors import WireError
from detektr.memory import layout
from detektr.memory.completion_queue import CompletionQueueReader, CompletionQueueWriter, open_completion_queue


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[CompletionQueueWriter]:
    writer = CompletionQueueWriter(tmp_path / "motion.0~buffer.0.completions", 300)
    yield writer
    writer.close()


@pytest.fixture
def reader(writer: CompletionQueueWriter) -> Iterator[CompletionQueueReader]:
    reader = open_completion_queue(writer.segment.path, 0)
    assert reader is not None
    yield reader
    reader.close()


def test_each_name_is_read_once_in_order_however_often_the_file_wraps(
    writer: CompletionQueueWriter, reader: CompletionQueueReader
) -> None:
    room, written, read = writer.segment.words[layout.COMPLETION_WORD_ROOM], 0, []
    assert room >= 300
    for length in (1, 0, room, 7, room - 3, 3, room):
        for _ in range(length):
            writer.append(1 << 63, written, 5)
            written += 1
        assert reader.has_news is (length > 0)
        read += reader.take()
    assert read == [(1 << 63, number, 5) for number in range(written)]
    assert reader.take() == []


def test_a_reader_that_comes_later_begins_where_it_was_told(writer: CompletionQueueWriter) -> None:
    for number in range(5):
        writer.append(7, number, 1)
    late = open_completion_queue(writer.segment.path, 3)
    assert late is not None
    assert late.take() == [(7, 3, 1), (7, 4, 1)]
    late.close()


def test_a_successor_goes_on_in_its_predecessors_file(
    writer: CompletionQueueWriter, reader: CompletionQueueReader
) -> None:
    writer.append(7, 0, 1)
    successor = CompletionQueueWriter(writer.segment.path, 300)
    assert successor.count == 1
    successor.append(7, 1, 2)
    assert reader.take() == [(7, 0, 1), (7, 1, 2)]
    successor.close()


def test_a_successor_that_may_hold_more_gets_a_larger_file(writer: CompletionQueueWriter) -> None:
    successor = CompletionQueueWriter(writer.segment.path, 5000)
    assert successor.segment.words[layout.COMPLETION_WORD_ROOM] >= 5000
    assert successor.count == 0
    successor.close()


def test_sleeps_is_odd_exactly_while_its_writer_sleeps_and_each_sleep_has_its_own_number(
    writer: CompletionQueueWriter, reader: CompletionQueueReader
) -> None:
    seen = []
    for is_asleep in (False, True, False, True, False):
        if is_asleep != writer.is_asleep:
            writer.toggle_asleep()
        assert (writer.is_asleep, reader.sleep_count % 2 == 1) == (is_asleep, is_asleep)
        seen.append(reader.sleep_count)
    assert seen == sorted(set(seen))
    writer.append(7, 0, 1)
    assert (reader.sleep_count, reader.take()) == (seen[-1], [(7, 0, 1)])


def test_a_successor_of_one_that_died_asleep_goes_on_counting_its_sleeps(
    writer: CompletionQueueWriter, reader: CompletionQueueReader
) -> None:
    writer.toggle_asleep()
    asleep = reader.sleep_count
    successor = CompletionQueueWriter(writer.segment.path, 300)
    assert (successor.is_asleep, reader.sleep_count) == (True, asleep)
    successor.toggle_asleep()
    assert (successor.is_asleep, reader.sleep_count % 2) == (False, 0)
    successor.toggle_asleep()
    assert reader.sleep_count % 2 == 1
    assert reader.sleep_count > asleep
    successor.close()


@pytest.mark.parametrize("count", [1 << 40, (1 << 64) - 1])
def test_more_returned_than_there_is_room_for_is_refused(
    writer: CompletionQueueWriter, reader: CompletionQueueReader, count: int
) -> None:
    writer.segment.words[layout.COMPLETION_WORD_COUNT] = count
    with pytest.raises(WireError, match=r"motion\.0~buffer\.0\.completions says"):
        reader.take()


def test_a_file_that_is_none_of_ours_is_refused_and_a_missing_one_is_none(tmp_path: Path) -> None:
    path = tmp_path / "x.completions"
    assert open_completion_queue(path, 0) is None
    path.write_bytes(bytes(layout.PAGE_BYTES))
    with pytest.raises(WireError, match="not a completion queue"):
        open_completion_queue(path, 0)
