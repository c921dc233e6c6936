"""What a user writes without any framework: OpenCV reads the file in one process, each frame's bytes are touched."""

from __future__ import annotations

import sys
import time

import cv2  # type: ignore[import-not-found]
from trial import load_trial
from workload import Meter

meter = Meter(sys.argv[1])
meter.open()
video, touched, number = cv2.VideoCapture(load_trial(sys.argv[1]).file), 0, 0
while True:
    is_read, frame = video.read()
    if not is_read:
        break
    handed_ns = time.monotonic_ns()
    touched += int(frame[::64, ::64, 0].sum())
    meter.note(number, handed_ns)
    number += 1
meter.close()
