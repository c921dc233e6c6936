"""a picture copied into shared memory and read once on another core, streamed and not, by size and pace"""

from __future__ import annotations

import argparse
import mmap
import os
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from machine import is_compiled
from workload import PICTURES

from detektr.memory.streaming import stream

Bytes = npt.NDArray[np.uint8]
PIXELS = {"vga": 640 * 480, "720p": 1280 * 720, "1080p": 1920 * 1080, "4k": 3840 * 2160}
FORMATS = {"gray": 1.0, "yuv420p": 1.5, "bgr24": 3.0}  # bytes of a pixel
PAUSES_S = {"at once": 0.0, "30/s": 1 / 30}
SLOTS = (2, 4)  # in turn: what is out at one reader, at several
COPIES = 24
ROW_BYTES = 1280  # divides all of them


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    parser.add_argument("--rounds", type=int, default=5, help="each way this often, in turn")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Copy and read pictures of every size, at both paces, both ways in turn; microseconds, and median ratios."""
    if not is_compiled("detektr.memory.streaming"):
        sys.exit("scripts/bench copies: nothing is streamed here: detektr is not compiled, or not for x86-64")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        sys.exit("scripts/bench copies: there is no other core to read on: it needs two")
    most = int(max(PIXELS.values()) * max(FORMATS.values()))
    sources = [np.random.default_rng(seed).integers(0, 256, most, dtype=np.uint8) for seed in range(PICTURES)]
    memory = np.frombuffer(mmap.mmap(-1, max(SLOTS) * most), np.uint8)
    memory[:] = 1  # nobody's copies are to be the first to touch a page
    try:
        return _all_rows(sources, memory, cores, chosen.rounds)
    finally:
        os.sched_setaffinity(0, cores)


def _all_rows(sources: list[Bytes], memory: Bytes, cores: list[int], rounds: int) -> list[dict[str, Any]]:
    rows = []
    for pace, pause_s in PAUSES_S.items():
        for slots in SLOTS:
            for size, pixels in PIXELS.items():
                for name, of_pixel in FORMATS.items():
                    nbytes = int(pixels * of_pixel)
                    rows.append(
                        {
                            "run": f"{pace}, {slots} slots in turn: us to copy, and then to read on another core",
                            "who": f"{size} {name}",
                            "MiB": nbytes / 2**20,
                            **_compare(sources, memory, nbytes, slots, pause_s, cores, rounds),
                        }
                    )
    return rows


def _compare(
    sources: list[Bytes], memory: Bytes, nbytes: int, slots: int, pause_s: float, cores: list[int], rounds: int
) -> dict[str, Any]:
    views = [memory[slot * nbytes : (slot + 1) * nbytes].reshape(-1, ROW_BYTES) for slot in range(slots)]
    pictures = [source[:nbytes].reshape(-1, ROW_BYTES) for source in sources]
    stored: list[tuple[float, float]] = []
    streamed: list[tuple[float, float]] = []
    ways: list[tuple[Callable[[Bytes, Bytes], None], list[tuple[float, float]]]] = [
        (np.copyto, stored),
        (stream, streamed),
    ]
    for number in range(rounds):
        for copy, times in ways if number % 2 else ways[::-1]:
            times.append(_timed(copy, views, pictures, pause_s, cores))
    pairs = list(zip(stored, streamed, strict=True))
    return {
        "stored": median(copy for copy, _ in stored),
        "read": median(read for _, read in stored),
        "streamed": median(copy for copy, _ in streamed),
        "then read": median(read for _, read in streamed),
        "copy ratio": median(after[0] / before[0] for before, after in pairs),
        "both ratio": median(sum(after) / sum(before) for before, after in pairs),
    }


def _timed(
    copy: Callable[[Bytes, Bytes], None], views: list[Bytes], pictures: list[Bytes], pause_s: float, cores: list[int]
) -> tuple[float, float]:
    """Return the microseconds of a copy and of reading all of it, medians."""
    copies, reads = [], []
    for number in range(COPIES):
        os.sched_setaffinity(0, cores[:1])
        view, picture = views[number % len(views)], pictures[number % len(pictures)]
        time.sleep(pause_s)  # a camera's pace: the caches are somebody else's meanwhile
        began_ns = time.perf_counter_ns()
        copy(view, picture)
        copies.append(time.perf_counter_ns() - began_ns)
        os.sched_setaffinity(0, cores[-1:])
        began_ns = time.perf_counter_ns()
        view.max()
        reads.append(time.perf_counter_ns() - began_ns)
    return median(copies) / 1000, median(reads) / 1000
