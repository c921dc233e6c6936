"""pictures from memory through capture, buffer and K processors, beside a bare copy and the peers installed"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from bar import Bar
from entrant import COPY, PEERS_OF_TRANSPORT, Entrant, detektr, present, versions
from pairing import Pairing, add_pairing, run_paired
from trial import WARM_FRAMES, Trial

from detektr.options import Lane
from tests.harness.lane import LANES

SIZES = {"vga": (480, 640), "720p": (720, 1280), "1080p": (1080, 1920), "4k": (2160, 3840)}
LIKE = "iceoryx2"
COUNT_LEAST = 3 * WARM_FRAMES
BOTH = "both"


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """What a lane is held against: how it compares with `LIKE`, paired in the rounds of one run."""

    fps_least: Mapping[int, float]
    """Of 1080p at full speed, by the number of consumers."""
    p50_most: float
    """Of 1080p at 30/s."""
    cpu_most: float
    """Of 1080p at 30/s, CPU a frame."""


BOUNDS: dict[Lane, Bounds] = {
    "zmq": Bounds(fps_least={1: 0.9, 4: 0.8}, p50_most=1.7, cpu_most=1.8),
    "shm": Bounds(fps_least={1: 0.95, 4: 0.85}, p50_most=1.3, cpu_most=1.3),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_pairing(parser)
    words = "the lane on which detektr announces leases; unless told otherwise both, each in every round"
    parser.add_argument("--announce", choices=[*LANES, BOTH], default=BOTH, help=words)
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
    found = present(entrants(chosen), chosen.peers or [])
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


def entrants(chosen: argparse.Namespace) -> list[Entrant]:
    """Return who is to run, in the order of the table; `--only detektr` means it on every lane that was chosen."""
    lanes = LANES if chosen.announce == BOTH else [chosen.announce]
    peers = PEERS_OF_TRANSPORT if chosen.peers is not None else []
    everybody = [COPY, *(detektr(lane, own_name(lane)) for lane in lanes), *peers]
    only = {own_name(lane) for lane in lanes if "detektr" in (chosen.only or ())} | set(chosen.only or ())
    return [one for one in everybody if not only or one.name in only]


def own_name(lane: Lane) -> str:
    """Return the name of detektr on a lane, in tables and files."""
    return f"detektr {lane}"


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
        row["rounds"], row["failed"] = paired.count(name), paired.failed(name)
        row["cpu_ms_by_process"] = paired.by_process(name)
        row["each"] = paired.each(name)
        rows.append(row)
    return rows + [{"run": title, "who": name, "failed": paired.failed(name)} for name in paired.names_failed]


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the rows of the bar table that these figures answer."""
    return [bar for lane in LANES for bar in bars_of(lane, rows)]


def bars_of(lane: Lane, rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the bars of one lane; those of a lane that did not run are told as not measured."""
    own = {row["run"]: row for row in rows if row["who"] == own_name(lane)}
    bounds = BOUNDS[lane]

    def of(run: str, figure: str) -> float | None:
        return own.get(run, {}).get(figure)

    paced = "1080p bgr24, 30/s, K="
    found = [
        Bar(
            f"{lane}: 1080p saturated, K={consumers}: frames/s of {LIKE}",
            of(f"1080p bgr24, saturated, K={consumers}", f"fps/{LIKE}"),
            least=least,
        )
        for consumers, least in bounds.fps_least.items()
    ]
    found += [
        Bar(f"{lane}: 1080p at 30/s, K=1: p50 of {LIKE}", of(f"{paced}1", f"p50/{LIKE}"), most=bounds.p50_most),
        Bar(f"{lane}: 1080p at 30/s, K=4: p50 of {LIKE}", of(f"{paced}4", f"p50/{LIKE}"), most=bounds.p50_most),
        Bar(f"{lane}: 1080p at 30/s, K=1: CPU a frame of {LIKE}", of(f"{paced}1", f"cpu/{LIKE}"), most=bounds.cpu_most),
    ]
    if lane == "shm":  # what the bytes of a picture cost shows where announcing costs least
        found += bars_of_bytes(of)
    ended = [row for row in own.values() if "lost" in row]
    return [
        *found,
        Bar(f"{lane}: frames lost, all runs", max((row["lost"] for row in ended), default=None), most=0),
        Bar(
            f"{lane}: rounds that failed, all runs", sum(row["failed"] for row in own.values()) if own else None, most=0
        ),
    ]


def bars_of_bytes(of: Callable[[str, str], float | None]) -> list[Bar]:
    """Return the bars for what a picture's size costs.

    Args:
        of: gives a figure of a run; None: not measured.
    """
    vga = "vga bgr24, saturated, K=1"
    fps = of(vga, "fps") or 0.0
    beyond = {size: of(f"{size} bgr24, 30/s, K=1", "p50-copy") for size in ("vga", "4k")}
    flat = beyond["4k"] / beyond["vga"] if beyond["4k"] is not None and (beyond["vga"] or 0) > 0 else None
    return [
        Bar(
            "shm: 1080p saturated, K=1: frames/s of the copy", of("1080p bgr24, saturated, K=1", "fps/copy"), least=0.85
        ),
        Bar("shm: VGA saturated, K=1: frames/s", fps or None, least=10_000)
        if fps >= 10_000
        else Bar(f"shm: VGA saturated, K=1: frames/s of {LIKE} (or 10,000)", of(vga, f"fps/{LIKE}"), least=0.5),
        Bar("shm: 4K against VGA at 30/s, K=1: p50 beyond the copy", flat, most=1.3),
    ]
