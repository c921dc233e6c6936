"""Turning pictures: what is read beside one must not keep its memory."""

from __future__ import annotations

import sys

import numpy as np
from av import VideoFrame

from detektr.sources.decoding.auto_rotate import UPRIGHT, AutoRotate, orientation_of


def test_a_frame_that_was_asked_how_it_lies_is_free_without_the_garbage_collector() -> None:
    frame = VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), "rgb24")
    references = sys.getrefcount(frame)
    assert orientation_of(frame) == UPRIGHT
    assert AutoRotate().turn(frame) is frame
    assert sys.getrefcount(frame) == references
