"""What the decoder hands to the loop, without a thread: entries do not pile up, and their order holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detektr.memory.folder import RunFolder
from detektr.memory.page import take_page
from detektr.nodes.decoder import Decoder, Published
from detektr.nodes.options import CaptureOptions


@pytest.fixture
def decoder(shm_dir: Path) -> Any:
    folder = RunFolder("unit")
    page = take_page(folder, "cam", 0, "capture")
    options = CaptureOptions(source="rtsp://127.0.0.1:9/x")

    def no_ring(facts: Any) -> Any:
        raise AssertionError("no picture was given")

    yield Decoder("cam", options, Path(), page, 1, no_ring, lambda: False, lambda: None, lambda: None)
    page.close(unlink=True)
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
