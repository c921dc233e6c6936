"""What is queued for the edges: entries do not pile up, their order holds, and several of a batch go together."""

from __future__ import annotations

import pytest

from detektr.nodes.capturing.frame_writer import WrittenFrame
from detektr.nodes.capturing.publish_queue import (
    FAST_NS,
    FAST_STREAK,
    PENDING_MAX,
    TOGETHER,
    TOGETHER_NS,
    PublishQueue,
)


def written(sequence: int, epoch: int = 1) -> WrittenFrame:
    return WrittenFrame(sequence, epoch, 3, 5, b"announced")


def without_slot(sequence: int, epoch: int = 1) -> WrittenFrame:
    return WrittenFrame(sequence, epoch, -1, 5, b"")


def take_all(queue: PublishQueue) -> list[tuple[int, int]]:
    frames = []
    while (frame := queue.take()) is not None:
        frames.append((frame.sequence, frame.frames))
    return frames


def test_frames_without_a_slot_are_one_entry_however_long_nobody_takes_it() -> None:
    queue = PublishQueue()
    queue.put(written(0), 0)
    for sequence in range(1, 10_001):
        queue.put(without_slot(sequence), 0)
    queue.put(written(10_001), 0)
    assert take_all(queue) == [(0, 1), (10_000, 10_000), (10_001, 1)]


def test_entry_that_was_taken_does_not_grow() -> None:
    queue = PublishQueue()
    queue.put(without_slot(0), 0)
    taken = queue.take()
    queue.put(without_slot(1), 0)
    assert taken is not None and taken.frames == 1
    assert queue.has_frames
    assert take_all(queue) == [(1, 1)]
    assert not queue.has_frames


def test_frame_that_was_put_back_is_the_oldest_again_and_takes_no_room() -> None:
    queue = PublishQueue()
    for sequence in range(PENDING_MAX):
        queue.put(written(sequence, epoch=1 + sequence), 0)
    rooms = [queue.has_room]
    frame = queue.take()
    assert frame is not None
    queue.put_back(frame)
    rooms.append(queue.has_room)
    assert rooms == [False, True] and queue.has_frames
    assert queue.epochs() == set(range(1, 1 + PENDING_MAX))
    assert take_all(queue) == [(sequence, 1) for sequence in range(PENDING_MAX)]
    assert queue.epochs() == set()


@pytest.mark.parametrize(("is_batch", "room"), [(False, PENDING_MAX), (True, TOGETHER)])
def test_there_is_room_for_as_many_as_go_together(*, is_batch: bool, room: int) -> None:
    queue = PublishQueue()
    queue.begin(is_batch=is_batch, is_paced=False)
    for sequence in range(room):
        assert queue.has_room
        queue.put(written(sequence), 0)
    assert not queue.has_room


def test_frames_of_a_batch_go_when_there_are_enough_or_the_first_has_waited_long_enough() -> None:
    queue = PublishQueue()
    queue.begin(is_batch=True, is_paced=False)
    now_ns = 10 * TOGETHER_NS
    assert queue.put(written(0), now_ns), "the first waits for no other"
    queue.take()
    due = [queue.put(written(1 + place), now_ns + place) for place in range(TOGETHER)]
    assert due == [False] * (TOGETHER - 1) + [True]
    assert len(take_all(queue)) == TOGETHER
    later_ns = now_ns + TOGETHER - 1 + TOGETHER_NS
    assert not queue.put(written(20), later_ns - 1)
    assert queue.put(written(21), later_ns)


def test_each_frame_of_another_source_goes_at_once() -> None:
    queue = PublishQueue()
    queue.begin(is_batch=False, is_paced=False)
    assert all(queue.put(written(sequence), sequence) for sequence in range(PENDING_MAX))


def test_word_of_a_free_slot_is_given_only_to_who_waits_and_word_of_memory_always() -> None:
    queue = PublishQueue()
    queue.note_room()
    assert not queue._room.is_set()
    queue.announce_room()
    assert queue._room.is_set()
    queue.forget_room()
    queue.start_waiting()
    queue.note_room()
    assert queue._room.is_set() and queue.is_waiting
    queue.end_waiting()
    assert not queue.is_waiting


@pytest.mark.parametrize("is_paced", [False, True])
def test_frames_that_keep_coming_fast_go_together_unless_their_source_keeps_a_pace(*, is_paced: bool) -> None:
    queue = PublishQueue()
    queue.begin(is_batch=False, is_paced=is_paced)
    now_ns, due = 10 * TOGETHER_NS, []
    for sequence in range(FAST_STREAK + 3 * TOGETHER):
        now_ns += FAST_NS - 1
        due.append(queue.put(written(sequence), now_ns))
        if due[-1]:
            take_all(queue)
    together = [False] * (TOGETHER - 1) + [True]
    assert due[FAST_STREAK:] == [True] * (3 * TOGETHER) if is_paced else together * 3
    assert queue.put(written(99), now_ns + FAST_NS), "a pause ends that"


def test_on_demand_there_is_room_for_one_frame_and_only_while_the_edges_have_room() -> None:
    queue = PublishQueue(is_on_demand=True)
    queue.begin(is_batch=True, is_paced=False)
    rooms = [queue.has_room]  # nobody has asked for a frame yet
    queue.demand(is_demanded=True)
    rooms.append(queue.has_room)
    is_due = queue.put(written(0), 1)
    rooms.append(queue.has_room)
    queue.demand(is_demanded=False)
    assert take_all(queue) == [(0, 1)]
    rooms.append(queue.has_room)
    queue.demand(is_demanded=True)
    rooms.append(queue.has_room)
    assert rooms == [False, True, False, False, True]
    assert is_due, "it is not kept back for a batch"
