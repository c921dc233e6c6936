"""What a capture's thread queues: several frames of a file together, others at once, and after a stop only the last."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from detektr.nodes.capturing.publish_queue import PENDING_MAX, TOGETHER
from detektr.options import CaptureOptions
from tests.harness.capturing import Capturing, Edges, OnePicture, capturing
from tests.harness.interpreted import interpreted

PICTURES = 40


@pytest.mark.parametrize(
    ("source", "options", "slots", "together"),
    [
        ("lavfi:testsrc2=size=64x48:rate=1000:duration=0.04", {}, TOGETHER + 1, TOGETHER),
        ("lavfi:testsrc2=size=64x48:rate=1000:duration=0.04", {}, 2, 2),
        ("lavfi:testsrc2=size=64x48:rate=1000:duration=0.04", {"realtime": True}, PENDING_MAX + 1, 1),
        ("python:tests.harness.checked:numbered", {"with_": {"count": PICTURES}}, TOGETHER + 1, TOGETHER),
    ],
)
def test_file_at_full_speed_is_offered_several_at_a_time_and_others_at_once(
    shm_dir: Path, source: str, options: dict[str, Any], slots: int, together: int
) -> None:
    made: list[Capturing] = []
    taken: list[list[int]] = []

    def take_all() -> None:
        group: list[int] = []
        while (frame := made[0].queue.take()) is not None:
            made[0].writer.rings.release_slot(frame.epoch, frame.slot)
            group.append(frame.sequence)
        taken.append(group)
        made[0].queue.note_room()

    with capturing(CaptureOptions(source=source, **options), slots=slots, edges=Edges(take_all)) as capture:
        made.append(capture)
        capture.thread.start()
        capture.thread.start_publishing()
        assert capture.thread.join(20)
        assert capture.thread.is_finished and capture.thread.failure is None
        assert [sequence for group in taken for sequence in group] == list(range(PICTURES))
        assert capture.reader.is_batch is (source.startswith("lavfi") and not options)
        assert taken[0] == [0], "the first waits for no other"
        sizes = [len(group) for group in taken[:-1]]  # the last ones come as they are, with the end
        assert max(sizes) <= together
        if capture.reader.is_batch:
            assert max(sizes) > 1
        elif together == 1:
            assert set(sizes) == {1}
        if capture.reader.is_batch and together == TOGETHER:
            assert len(taken) <= PICTURES // 2


def test_stop_leaves_the_picture_that_is_being_written_time_and_takes_no_other(shm_dir: Path) -> None:
    (module,) = interpreted("detektr.nodes.capturing.capture_thread")
    is_writing, may_end = threading.Event(), threading.Event()

    def take_time() -> None:
        is_writing.set()
        assert may_end.wait(20)

    with capturing(CaptureOptions(source="python:module:name"), module=module) as capture:
        thread = capture.thread
        thread.start_publishing()
        writer = threading.Thread(target=thread._publish, args=(OnePicture(take_time),))
        try:
            writer.start()
            assert is_writing.wait(20)
            thread.stop()
            assert not thread.has_written() and not thread.has_written(0.01) and capture.queue.take() is None
            may_end.set()
            assert thread.has_written(20)
            writer.join(20)
            thread._publish(OnePicture(take_time))
            frame = capture.queue.take()
            assert frame is not None and frame.sequence == 0 and not capture.queue.has_frames
        finally:
            may_end.set()
            writer.join(20)


def test_what_the_edges_raise_ends_the_thread_and_closes_the_source(shm_dir: Path) -> None:
    def refuse() -> None:
        raise ValueError("an edge is broken")

    source = CaptureOptions(source="python:tests.harness.checked:numbered", with_={"count": PICTURES})
    with capturing(source, edges=Edges(refuse, at_end=lambda: None)) as capture:
        capture.thread.start()
        capture.thread.start_publishing()
        assert capture.thread.join(20)
        assert capture.thread.is_finished and isinstance(capture.thread.failure, ValueError)
        assert capture.reader._source is None
