"""cost against consumers, replicas, cameras and sizes, as plots"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

from bar import Bar
from clip import cached_clip
from entrant import COPY, Entrant, detektr
from graph import camera_nodes, run_graph
from pairing import Pairing, run_paired
from plot import Line, Panel, draw_panels
from run import Figures
from transport import COUNT_LEAST, SIZES
from trial import Trial

from detektr.options import Lane
from tests.harness.lane import add_announce

CAMERA = (360, 640, 10)  # height, width, frames a second
CAMERA_WARM = 10
BAR_CAMERAS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_announce(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=AXES, nargs="+", default=list(AXES), help="leave out the other axes")
    parser.add_argument("--frames", type=int, default=6000, help="VGA frames of a run at full speed")
    parser.add_argument("--seconds", type=float, default=10, help="how long a run at a rate takes")
    parser.add_argument("--most", type=int, default=16, help="highest number of consumers, replicas or cameras")
    parser.add_argument("--plot", type=Path, metavar="FOLDER", help="draw scale-*.svg there")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run every axis that is asked for."""
    rows: list[dict[str, Any]] = []
    for axis in chosen.only:
        found, panels = AXES[axis](chosen)
        rows += found
        if chosen.plot:
            chosen.plot.mkdir(parents=True, exist_ok=True)
            draw_panels(chosen.plot / f"scale-{axis}.svg", panels)
    return rows


def measure(chosen: argparse.Namespace, entrants: list[Entrant], **told: Any) -> Pairing:
    """Run a trial so often as asked for.

    Raises:
        SystemExit: none of the rounds ended well.
    """
    found = dict.fromkeys(entrants, sys.executable)
    told["count"] = max(told["count"], COUNT_LEAST)
    paired = run_paired(found, lambda folder: Trial(folder=folder, **told), chosen.rounds)
    if len(paired.names) < len(entrants):
        sys.exit(f"scripts/bench scale: no round of {told} ended well; the reasons are above")
    return paired


def consumers(chosen: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Panel]]:
    """Frames/s and CPU of K consumers that each get every frame."""
    return _spread(chosen, "consumers", (1, 2, 4, 8, 16))


def replicas(chosen: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Panel]]:
    """Frames/s and CPU of one consumer in several processes."""
    return _spread(chosen, "replicas", (1, 2, 4, 8))


def _spread(chosen: argparse.Namespace, axis: str, counts: tuple[int, ...]) -> tuple[list[dict[str, Any]], list[Panel]]:
    rows = []
    entrant = detektr(chosen.announce)
    (vga_height, vga_width), (height, width) = SIZES["vga"], SIZES["1080p"]
    for count in (count for count in counts if count <= chosen.most):
        told = {axis: count}
        fast = measure(chosen, [entrant], count=chosen.frames, height=vga_height, width=vga_width, **told)
        paced = measure(
            chosen, [entrant], count=int(30 * chosen.seconds), rate=30.0, height=height, width=width, **told
        )
        rows.append(
            {
                "run": f"{axis}: VGA saturated, 1080p at 30/s, announced by {chosen.announce}",
                "who": f"{count} {axis}",
                "count": count,
                "fps": fast.median("detektr", "fps"),
                "cpu_ms_saturated": fast.median("detektr", "cpu_ms_per_frame"),
                "cpu_ms": paced.median("detektr", "cpu_ms_per_frame"),
                "p50_ms": paced.median("detektr", "p50_ms"),
                "p99_ms": paced.median("detektr", "p99_ms"),
                "lost": fast.most("detektr", "lost") + paced.most("detektr", "lost"),
            }
        )
    return rows, [
        Panel(f"frames/s, VGA as fast as it goes, against {axis}", axis, [_line("frames/s", rows, "count", "fps")]),
        Panel(
            f"CPU ms for a frame, all processes, against {axis}", axis,
            [
                _line("1080p at 30/s", rows, "count", "cpu_ms"),
                _line("VGA saturated", rows, "count", "cpu_ms_saturated"),
            ],
        ),
    ]  # fmt: skip


def cameras(chosen: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Panel]]:
    """CPU of several H.264 cameras with a buffer and a processor each."""
    height, width, rate = CAMERA
    frames = max(int(chosen.seconds * rate) + CAMERA_WARM, COUNT_LEAST)
    file = str(cached_clip(height, width, rate, frames))
    entrant = Entrant("detektr", partial(_run_cameras, chosen.announce))
    rows = []
    for count in (count for count in (1, 2, 4, 8, 16) if count <= chosen.most):
        told = {"cameras": count, "consumers": count, "file": file, "warm": CAMERA_WARM}
        paired = measure(chosen, [entrant], count=frames, **told)
        rows.append(
            {
                "run": f"cameras: H.264 {width}x{height} at {rate}/s, a chain each, announced by {chosen.announce}",
                "who": f"{count} cameras",
                "count": count,
                "cpu_share": paired.median("detektr", "cpu_share"),
                "cpu_ms": paired.median("detektr", "cpu_ms_per_frame"),
                "p50_ms": paired.median("detektr", "p50_ms"),
                "lost": paired.most("detektr", "lost"),
                "cpu_ms_by_process": paired.by_process("detektr"),
            }
        )
    share = _line("all processes", rows, "count", "cpu_share")
    return rows, [Panel("part of all cores, H.264 640x360 at 10/s, against cameras", "cameras", [share])]


def _run_cameras(announce: Lane, trial: Trial, python: str) -> Figures:
    return run_graph(trial, camera_nodes(trial), announce=announce, ends=trial.cameras)


def sizes(chosen: argparse.Namespace) -> tuple[list[dict[str, Any]], list[Panel]]:
    """Latency beyond the copy at 30/s, against the size of a picture."""
    rows = []
    for size, (height, width) in SIZES.items():
        count = int(30 * chosen.seconds)
        paired = measure(chosen, [COPY, detektr(chosen.announce)], count=count, rate=30.0, height=height, width=width)
        rows.append(
            {
                "run": f"sizes: bgr24 at 30/s, one consumer, announced by {chosen.announce}",
                "who": size,
                "count": height * width * 3 / 1e6,
                "p50_ms": paired.median("detektr", "p50_ms"),
                "copy_ms": paired.median("copy", "p50_ms"),
                "p50-copy": paired.beyond("detektr", "copy", "p50_ms"),
                "cpu_ms": paired.median("detektr", "cpu_ms_per_frame"),
                "copy_cpu_ms": paired.median("copy", "cpu_ms_per_frame"),
                "lost": paired.most("detektr", "lost"),
            }
        )
    labels = {"p50_ms": "detektr", "copy_ms": "bare copy", "p50-copy": "beyond the copy"}
    lines = [_line(label, rows, "count", figure) for figure, label in labels.items()]
    return rows, [Panel("latency at 30/s, p50 ms, against the size of a picture", "MB a picture", lines)]


AXES = {"consumers": consumers, "replicas": replicas, "cameras": cameras, "sizes": sizes}


def _line(label: str, rows: list[dict[str, Any]], x: str, y: str) -> Line:
    return Line(label, [row[x] for row in rows], [row[y] for row in rows])


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the rows of the bar table that these figures answer."""
    found = {row["who"]: row for row in rows}
    share = found.get(f"{BAR_CAMERAS} cameras", {}).get("cpu_share")
    beyond = {size: found.get(size, {}).get("p50-copy") for size in ("vga", "4k")}
    flat = beyond["4k"] / beyond["vga"] if beyond["4k"] is not None and (beyond["vga"] or 0) > 0 else None
    return [
        Bar(f"{BAR_CAMERAS} cameras 640x360 at 10/s: part of all cores", share, most=0.35),
        Bar("4K against VGA at 30/s, K=1: p50 beyond the copy", flat, most=1.3),
        Bar("frames lost, all runs", max((row["lost"] for row in rows), default=None), most=0),
    ]
