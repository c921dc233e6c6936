"""pictures from memory through capture, buffer and K processors, beside a bare copy and the peers installed"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from typing import Any

from bar import Bar
from entrant import COPY, DETEKTR, TRANSPORT, present, versions
from pairing import Pairing, add_pairing, run_paired
from trial import WARM_FRAMES, Trial

SIZES = {"vga": (480, 640), "720p": (720, 1280), "1080p": (1080, 1920), "4k": (2160, 3840)}
LIKE = "iceoryx2"
COUNT_LEAST = 3 * WARM_FRAMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_pairing(parser)
    parser.add_argument("--size", choices=SIZES, nargs="+", default=["1080p"])
    parser.add_argument("--frames", type=int, default=3000, help="of 1080p at full speed; other sizes by their bytes")
    parser.add_argument("--seconds", type=float, default=10, help="how long a run at a rate takes")
    parser.add_argument("--rates", type=float, nargs="+", default=[0, 30], help="frames/s; 0: as fast as it goes")
    parser.add_argument("--consumers", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--read", action="store_true", help="each consumer reads every byte of every picture")
    parser.add_argument("--only", nargs="+", help="leave out everybody else (names as in the table)")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run everybody on every size, rate and number of consumers; medians and median ratios."""
    if chosen.read and chosen.bar:
        sys.exit("scripts/bench transport: --bar and --read: the bars are set for consumers that read a frame's head")
    entrants = TRANSPORT if chosen.peers is not None else [COPY, DETEKTR]
    found = present([one for one in entrants if not chosen.only or one.name in chosen.only], chosen.peers or [])
    print(f"versions: {versions(found)}", flush=True)
    rows: list[dict[str, Any]] = []
    for size in chosen.size:
        for rate in chosen.rates:
            for consumers in chosen.consumers:
                pace = f"{rate:g}/s" if rate else "saturated"
                trial_in = partial(transport_trial, chosen, size, rate, consumers)
                paired = run_paired(found, trial_in, chosen.rounds)
                run = f"{size} bgr24, {pace}, K={consumers}{', every byte read' if chosen.read else ''}"
                rows += table(run, paired, ("copy", LIKE))
    return rows


def transport_trial(chosen: argparse.Namespace, size: str, rate: float, consumers: int, folder: str) -> Trial:
    """Return the trial of one run; at full speed every size moves about as many bytes."""
    height, width = SIZES[size]
    weight = min(1080 * 1920 / (height * width), 5.0)
    count = int(chosen.seconds * rate if rate else chosen.frames * weight)
    return Trial(
        folder=folder,
        count=max(count, COUNT_LEAST),
        rate=rate,
        height=height,
        width=width,
        consumers=consumers,
        reads=chosen.read,
    )


def table(title: str, paired: Pairing, beside: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return a row for everybody: medians, and median ratios to those named."""
    rows = []
    for name in paired.names:
        row: dict[str, Any] = {"run": title, "who": name}
        row["fps"] = paired.median(name, "fps")
        for other in beside:
            row[f"fps/{other}"] = paired.ratio(name, other, "fps")
        row["p50_ms"] = paired.median(name, "p50_ms")
        for other in beside[1:]:
            row[f"p50/{other}"] = paired.ratio(name, other, "p50_ms")
        row["p50-copy"] = paired.beyond(name, beside[0], "p50_ms")
        row["p99_ms"] = paired.median(name, "p99_ms")
        row["cpu_ms"] = paired.median(name, "cpu_ms_per_frame")
        for other in beside[1:]:
            row[f"cpu/{other}"] = paired.ratio(name, other, "cpu_ms_per_frame")
        row["lost"] = paired.most(name, "lost")
        row["rounds"] = paired.count(name)
        row["cpu_ms_by_process"] = paired.by_process(name)
        row["each"] = paired.each(name)
        rows.append(row)
    return rows


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the rows of the bar table that these figures answer."""
    own = {row["run"]: row for row in rows if row["who"] == "detektr"}

    def of(run: str, figure: str) -> float | None:
        return own.get(run, {}).get(figure)

    vga = "vga bgr24, saturated, K=1"
    fps = of(vga, "fps") or 0.0
    beyond = {size: of(f"{size} bgr24, 30/s, K=1", "p50-copy") for size in ("vga", "4k")}
    flat = beyond["4k"] / beyond["vga"] if beyond["4k"] is not None and (beyond["vga"] or 0) > 0 else None
    found = [
        Bar("1080p saturated, K=1: frames/s of iceoryx2", of("1080p bgr24, saturated, K=1", f"fps/{LIKE}"), least=0.95),
        Bar("1080p saturated, K=1: frames/s of the copy", of("1080p bgr24, saturated, K=1", "fps/copy"), least=0.85),
        Bar("1080p saturated, K=4: frames/s of iceoryx2", of("1080p bgr24, saturated, K=4", f"fps/{LIKE}"), least=0.85),
        Bar("VGA saturated, K=1: frames/s", fps or None, least=10_000)
        if fps >= 10_000
        else Bar("VGA saturated, K=1: frames/s of iceoryx2 (or 10,000)", of(vga, f"fps/{LIKE}"), least=0.5),
        Bar("1080p at 30/s, K=1: p50 of iceoryx2", of("1080p bgr24, 30/s, K=1", f"p50/{LIKE}"), most=1.3),
        Bar("1080p at 30/s, K=4: p50 of iceoryx2", of("1080p bgr24, 30/s, K=4", f"p50/{LIKE}"), most=1.3),
        Bar("4K against VGA at 30/s, K=1: p50 beyond the copy", flat, most=1.3),
        Bar("1080p at 30/s, K=1: CPU a frame of iceoryx2", of("1080p bgr24, 30/s, K=1", f"cpu/{LIKE}"), most=1.3),
        Bar("frames lost by detektr, all runs", max((row["lost"] for row in own.values()), default=None), most=0),
    ]
    return found
