"""What no transport can beat here: a bare copy into a warm slot, and decoding alone; each in a process of its own."""

from __future__ import annotations

import json
import mmap
import sys
import time
from pathlib import Path

import numpy as np
from workload import Meter, make_pictures, paced, stamp


def copy(count: int, rate: float, height: int, width: int) -> dict[str, float]:
    """Copy each picture into one of two warm slots."""
    size = height * width * 3
    slots = np.frombuffer(mmap.mmap(-1, 2 * size), np.uint8).reshape(2, height, width, 3)
    slots[:] = 0
    pictures, meter = make_pictures(height, width), Meter(".")
    for number in paced(count, rate):
        picture = pictures[number % 4]
        stamp(picture, number)
        slots[number % 2] = picture
        meter.see(slots[number % 2])
    return meter.summary()


def decode(path: Path) -> dict[str, float]:
    """Decode a file with PyAV and throw the frames away."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        begin, cpu_s = time.monotonic(), time.process_time()
        frames = sum(1 for _ in container.decode(stream))
    return {"frames": frames, "fps": frames / (time.monotonic() - begin), "cpu_s": time.process_time() - cpu_s}


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    if what == "copy":
        count, rate, height, width = arguments
        print(json.dumps(copy(int(count), float(rate), int(height), int(width))))
    else:
        print(json.dumps(decode(Path(arguments[0]))))
