"""What the decoder hands to the loop: entries do not pile up, their order holds, and several of a file go together."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from detektr.memory.ring import RingFacts, RingWriter
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import acquire_status_block
from detektr.nodes.decoder import PENDING_MAX, TOGETHER, Decoder, Published
from detektr.options import CaptureOptions
from detektr.picture import PictureLayout
from tests.harness.interpreted import interpreted

PICTURES = 40


@pytest.fixture
def decoder(shm_dir: Path) -> Any:
    folder = RunFolder("unit")
    status_block = acquire_status_block(folder, "cam", 0, "capture")
    options = CaptureOptions(source="rtsp://127.0.0.1:9/x")

    def no_ring(facts: Any) -> Any:
        raise AssertionError("no picture was given")

    yield Decoder("cam", options, Path(), status_block, 1, no_ring, lambda: False, lambda: None, lambda: None)
    status_block.close(unlink=True)
    folder.remove_if_empty()


def test_frames_without_a_slot_are_one_entry_however_long_nobody_takes_it(decoder: Decoder) -> None:
    decoder._put(Published(0, 1, 3, 5, b"announced"))
    for sequence in range(1, 10_001):
        decoder._put(Published(sequence, 1, -1, 5, b""))
    decoder._put(Published(10_001, 1, 4, 5, b"announced"))
    assert [(frame.sequence, frame.frames) for frame in decoder.coming()] == [(0, 1), (10_000, 10_000), (10_001, 1)]
    first = decoder.take()
    assert first is not None and first.slot == 3
    assert len(decoder.coming()) == 2


def test_entry_that_was_taken_does_not_grow(decoder: Decoder) -> None:
    decoder._put(Published(0, 1, -1, 5, b""))
    taken = decoder.take()
    decoder._put(Published(1, 1, -1, 5, b""))
    assert taken is not None and taken.frames == 1
    assert [frame.frames for frame in decoder.coming()] == [1]
    assert decoder.take() is not None and decoder.take() is None
    assert not decoder.has_published


@pytest.mark.parametrize(
    ("source", "options", "slots", "together"),
    [
        ("lavfi:testsrc2=size=64x48:rate=1000:duration=0.04", {}, TOGETHER + 1, TOGETHER),
        ("lavfi:testsrc2=size=64x48:rate=1000:duration=0.04", {}, 2, 2),
        ("lavfi:testsrc2=size=64x48:rate=1000:duration=0.04", {"realtime": True}, PENDING_MAX + 1, 1),
        ("python:tests.harness.checked:numbered", {"with_": {"count": PICTURES}}, PENDING_MAX + 1, 1),
    ],
)
def test_file_at_full_speed_is_offered_several_at_a_time_and_others_at_once(
    shm_dir: Path, source: str, options: dict[str, Any], slots: int, together: int
) -> None:
    folder = RunFolder("unit")
    status_block = acquire_status_block(folder, "cam", 0, "capture")
    rings: list[RingWriter] = []
    taken: list[list[int]] = []

    def make_ring(facts: RingFacts) -> RingWriter:
        rings.append(RingWriter(folder.ring("cam", facts.epoch), facts, slots))
        return rings[-1]

    def take_all() -> None:
        group: list[int] = []
        while (frame := reading.take()) is not None:
            rings[-1].release(frame.slot)
            group.append(frame.sequence)
        taken.append(group)
        reading.note_room()

    asked = CaptureOptions(source=source, **options)
    reading = Decoder("cam", asked, Path(), status_block, 1, make_ring, lambda: False, take_all, take_all)
    try:
        reading.start()
        reading.go.set()
        reading.thread.join(20)
        assert reading.is_finished and reading.failure is None
        assert [sequence for group in taken for sequence in group] == list(range(PICTURES))
        assert reading.is_batch is (together > 1)
        assert taken[0] == [0], "the first waits for no other"
        sizes = [len(group) for group in taken[:-1]]  # the last ones come as they are, with the end
        assert max(sizes) <= together
        if together > 1:
            assert max(sizes) > 1
        else:
            assert set(sizes) == {1}
        if together == TOGETHER:
            assert len(taken) <= PICTURES // 2
    finally:
        for ring in rings:
            ring.close(unlink=True)
        status_block.close(unlink=True)
        folder.remove_if_empty()


def test_a_source_is_ahead_while_it_has_pictures_at_hand(shm_dir: Path) -> None:
    (interpreted_decoder,) = interpreted("detektr.nodes.decoder")
    folder = RunFolder("unit")
    status_block = acquire_status_block(folder, "cam", 0, "capture")
    told: list[bool] = []

    class Noting:
        """A picture that notes whether its source is ahead when it is written."""

        layout = PictureLayout("gray", 8, 8)
        pts = time_base = utc_ns = received_ns = place = None
        is_break = False

        def write(self, slot: Any) -> None:
            told.append(reading._is_ahead)

    rings: list[RingWriter] = []

    def make_ring(facts: RingFacts) -> RingWriter:
        rings.append(RingWriter(folder.ring("cam", facts.epoch), facts, 3))
        return rings[-1]

    options = CaptureOptions(source="python:module:name")
    reading = interpreted_decoder.Decoder(
        "cam", options, Path(), status_block, 1, make_ring, lambda: False, lambda: None, lambda: None
    )
    reading.go.set()
    try:
        for idle_since_ns in (0, time.monotonic_ns() + 10**12, 0):
            reading._idle_since_ns = idle_since_ns
            reading._publish(Noting())
        assert told == [False, True, False]
    finally:
        for ring in rings:
            ring.close(unlink=True)
        status_block.close(unlink=True)
        folder.remove_if_empty()


def test_stop_leaves_the_picture_that_is_being_written_time_and_takes_no_other(shm_dir: Path) -> None:
    (interpreted_decoder,) = interpreted("detektr.nodes.decoder")
    folder = RunFolder("unit")
    status_block = acquire_status_block(folder, "cam", 0, "capture")
    is_writing, may_end = threading.Event(), threading.Event()

    class Long:
        """A picture that takes its time."""

        layout = PictureLayout("gray", 8, 8)
        pts = time_base = utc_ns = received_ns = place = None
        is_break = False

        def write(self, slot: Any) -> None:
            is_writing.set()
            assert may_end.wait(20)

    rings: list[RingWriter] = []

    def make_ring(facts: RingFacts) -> RingWriter:
        rings.append(RingWriter(folder.ring("cam", facts.epoch), facts, 3))
        return rings[-1]

    options = CaptureOptions(source="python:module:name")
    reading = interpreted_decoder.Decoder(
        "cam", options, Path(), status_block, 1, make_ring, lambda: False, lambda: None, lambda: None
    )
    reading.go.set()
    writer = threading.Thread(target=reading._publish, args=(Long(),))
    try:
        writer.start()
        assert is_writing.wait(20)
        reading.stop()
        assert not reading.has_written() and not reading.has_written(0.01) and not reading.has_published
        may_end.set()
        assert reading.has_written(20) and reading.has_published
        writer.join(20)
        reading._publish(Long())
        assert [frame.sequence for frame in reading.coming()] == [0]
    finally:
        may_end.set()
        writer.join(20)
        for ring in rings:
            ring.close(unlink=True)
        status_block.close(unlink=True)
        folder.remove_if_empty()
