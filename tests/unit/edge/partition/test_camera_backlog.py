from __future__ import annotations

from detektr.edge.partition.camera_backlog import CameraBacklog
from detektr.edge.state.lease import Cell
from detektr.memory.announcement import Announcement


def cell(ordinal: int, key: int, input_index: int = 0) -> Cell:
    return Cell(ordinal, ordinal, input_index, Announcement(key, ordinal, 1, b""))


def test_each_stream_has_a_queue_and_a_mark_of_its_own() -> None:
    backlog = CameraBacklog(mark=2, low=1)
    for ordinal, key in enumerate((7, 7, 8)):
        backlog.append(cell(ordinal, key))
    assert backlog.is_full(backlog.queue_of(0, 7)) and not backlog.is_full(backlog.queue_of(0, 8))
    assert not backlog.has_room(0), "nobody knows whose frame comes next on this input"
    assert backlog.has_room(1)
    assert backlog.is_waiting(0, 8) and not backlog.is_waiting(1, 8)


def test_the_first_of_each_queue_come_in_turn() -> None:
    backlog = CameraBacklog(mark=4, low=3)
    for ordinal, key in enumerate((7, 7, 8, 9)):
        backlog.append(cell(ordinal, key))
    turns = [[one.key for one in backlog.first_of_each()] for _ in range(3)]
    assert sorted(turns) == [[7, 8, 9], [8, 9, 7], [9, 7, 8]]
    backlog.take_first(backlog.first_of_each()[0])
    assert backlog.count == 3


def test_a_frame_that_is_put_back_comes_before_later_ones_of_its_stream() -> None:
    backlog = CameraBacklog(mark=4, low=3)
    for ordinal in (1, 2, 3):
        backlog.append(cell(ordinal, 7))
    first = backlog.first_of_each()[0]
    backlog.take_first(first)
    backlog.put_back(first)
    assert [one.ordinal for one in backlog] == [1, 2, 3]


def test_the_queue_of_a_stream_that_is_over_is_used_again() -> None:
    backlog = CameraBacklog(mark=4, low=3)
    for run in range(100):
        one = cell(run, key=run)
        backlog.append(one)
        backlog.take_first(one)
    assert len(backlog._queues) == 1


def test_where_a_stream_has_nothing_queued_the_longest_queue_makes_room() -> None:
    backlog = CameraBacklog(mark=4, low=3)
    for ordinal, key in enumerate((7, 8, 8)):
        backlog.append(cell(ordinal, key))
    oldest = backlog.take_oldest(backlog.queue_of(0, 9))
    assert oldest is not None and (oldest.key, oldest.ordinal) == (8, 1)
