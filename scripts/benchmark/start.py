"""from `up` to the first frame processed, five processes"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from bar import Bar

from detektr.options import Lane
from tests.harness.lane import add_announce
from tests.harness.running import RunningPipeline

POLL_S = 0.01
LIMIT_S = 60.0
CAMERAS: dict[str, dict[str, Any]] = {
    "lavfi": {"source": "lavfi:testsrc2=size=1280x720:rate=30", "realtime": True},
    "python": {
        "source": "python:tests.harness.checked:numbered", "with": {"width": 1280, "height": 720},
        "realtime": True, "fps": 30,
    },
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_announce(parser)
    parser.add_argument("--rounds", type=int, default=5)


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Time the start with each kind of source, in turn."""
    times: dict[str, list[float]] = {name: [] for name in CAMERAS}
    for _ in range(chosen.rounds):
        for name, camera in CAMERAS.items():
            times[name].append(time_start(camera, chosen.announce))
    return [
        {
            "run": f"`up` to the first frame processed, 5 processes, announced by {chosen.announce}",
            "who": f"{name}: source",
            "median_s": statistics.median(found),
            "shortest_s": min(found),
            "longest_s": max(found),
        }
        for name, found in times.items()
    ]


def time_start(camera: dict[str, Any], announce: Lane) -> float:
    """Return the seconds from starting `up` until a processor has finished a frame."""
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        sink = {"use": "detektr.sinks.jsonl:JsonLines", "with": {"path": f"{folder}/events.jsonl"}}
        nodes: dict[str, Any] = {
            "camera": {"kind": "capture", **camera},
            "buffer": {"kind": "buffer", "input": "camera"},
            "motion": {
                "kind": "processor", "input": "buffer", "use": "detektr.processors.motion:Motion", "replicas": 2,
            },
            "events": {"kind": "sink", "input": "motion", **sink},
        }  # fmt: skip
        begin = time.monotonic()
        with RunningPipeline(Path(folder), f"bench-start-{int(begin)}", nodes, announce=announce) as up:
            while not up.edge("buffer", "motion").get("delivered"):
                if up.exit_code is not None or time.monotonic() > begin + LIMIT_S:
                    raise SystemExit(f"no frame was processed within {LIMIT_S:g} s:\n{up.tail()}")
                time.sleep(POLL_S)
            seconds = time.monotonic() - begin
            up.end()
    return seconds


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the rows of the bar table that these figures answer."""
    return [Bar(f"up to first frame processed, {row['who']}, s", row["median_s"], most=1.5) for row in rows]
