"""files through capture, buffer and a processor that reads grey, beside decoding alone and OpenCV's read loop"""

from __future__ import annotations

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import av
from bar import Bar
from clip import cached_clip, repeated
from entrant import Entrant, bound, present, versions
from graph import run_graph, video_nodes
from pairing import Pairing, add_pairing, run_paired
from run import Figures
from trial import Trial

from detektr.options import Lane
from tests.harness.lane import add_announce

WARM_FRAMES = 5  # the figures of everybody begin when this frame left the decoder
FRAMES = 1000  # shorter clips are played over: within a second, what the cores do beside decides
GENERATED = (1080, 1920, 30, 300)


def run_detektr(announce: Lane, trial: Trial, python: str) -> Figures:
    """Run the file through capture, buffer and a processor, as `up` starts them."""
    return run_graph(trial, video_nodes(trial), announce=announce, ends=1)


DECODE = Entrant("decode", bound("pyav_decode.py"), ("numpy", "av"))
OPENCV = Entrant("opencv", bound("opencv_loop.py"), ("numpy", "cv2"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_pairing(parser)
    add_announce(parser)
    parser.add_argument("file", type=Path, nargs="*")
    parser.add_argument("--frames", type=int, default=FRAMES, help="play each file over until it has so many")
    parser.add_argument("--generate", action="store_true", help="a 1080p H.264 clip too, made once in a cache folder")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run everybody on every file."""
    files = [*chosen.file, *([cached_clip(*GENERATED)] if chosen.generate else [])]
    if not files:
        sys.exit("scripts/bench video: no file to decode; name one, or say --generate")
    entrants = [DECODE, Entrant("detektr", partial(run_detektr, chosen.announce))]
    found = present([*entrants, OPENCV] if chosen.peers is not None else entrants, chosen.peers or [])
    print(f"versions: {versions(found)}", flush=True)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="dtk-bench-") as folder:
        for file in files:
            clip = repeated(file, Path(folder), chosen.frames)
            count = count_frames(clip)
            trial_in = partial(video_trial, str(clip), count)
            title = f"{file.name}: {count} frames decoded, grey read, announced by {chosen.announce}"
            rows += table(title, run_paired(found, trial_in, chosen.rounds))
    return rows


def video_trial(file: str, count: int, folder: str) -> Trial:
    """Return the trial of one run."""
    return Trial(folder=folder, file=file, count=count, warm=min(WARM_FRAMES, count // 2))


def count_frames(file: Path) -> int:
    """Return how many frames a file decodes to; it is then in the page cache for everybody."""
    with av.open(str(file)) as container:
        container.streams.video[0].thread_type = "AUTO"
        return sum(1 for _ in container.decode(video=0))


def table(title: str, paired: Pairing) -> list[dict[str, Any]]:
    """Return a row for everybody: medians, and median ratios to decoding alone and to OpenCV's loop."""
    return [
        {
            "run": title,
            "who": name,
            "fps": paired.median(name, "fps"),
            "fps/decode": paired.ratio(name, "decode", "fps"),
            "fps/opencv": paired.ratio(name, "opencv", "fps"),
            "cpu_ms": paired.median(name, "cpu_ms_per_frame"),
            "cpu/decode": paired.ratio(name, "decode", "cpu_ms_per_frame"),
            "lost": paired.most(name, "lost"),
            "rounds": paired.count(name),
            "cpu_ms_by_process": paired.by_process(name),
            "each": paired.each(name),
        }
        for name in paired.names
    ]


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the rows of the bar table that these figures answer."""
    found = []
    for row in rows:
        if row["who"] == "detektr":
            file = row["run"].partition(":")[0]
            found += [
                Bar(f"{file}: frames/s of decoding alone", row["fps/decode"], least=0.95),
                Bar(f"{file}: frames/s of OpenCV's loop", row["fps/opencv"], least=1.3),
                Bar(f"{file}: CPU a frame of decoding alone", row["cpu/decode"], most=1.15),
                Bar(f"{file}: frames lost", row["lost"], most=0),
            ]
    return found
