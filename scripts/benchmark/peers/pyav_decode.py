"""The bound of every pipeline on a file: PyAV decodes it, and the frames are thrown away."""

from __future__ import annotations

import sys
import time

import av
from trial import load_trial
from workload import Meter

meter = Meter(sys.argv[1])
meter.open()
with av.open(load_trial(sys.argv[1]).file) as container:
    stream = container.streams.video[0]
    stream.thread_type = "AUTO"
    for number, _ in enumerate(container.decode(stream)):
        meter.note(number, time.monotonic_ns())
meter.close()
