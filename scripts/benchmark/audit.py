"""Do audit and metrics stand in the way? One saturated pipeline beside each of the ways in which they may misbehave.

The main path (camera, buffer, meter) blocks and runs as fast as it can; beside it a paced camera feeds a buffer that
drops nearly everything, each drop being a record for the trail. Redis is a real server, started for each run.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import socket
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from detektr import Frame
from tests.harness.running import RunningPipeline

HERE = Path(__file__).parent
WARM_FRAMES = 2000
MAIN = ("camera", "buffer", "meter")
ENDLESS = 1 << 40
SCRAPE_S = 0.1
DEAF = 8  # connections that ask for the metrics and never read
CATCHES_UP_S = 60.0
_LOST = re.compile(r"audit: .* has all records again; lost so far: (\d+)")
_WAITING = re.compile(r"audit: .*: (\d+) records wait in the spool for the next start, (\d+) are lost")


class Glance:
    """Touches each frame; takes its time where told to."""

    def __init__(self, busy_s: float = 0.0) -> None:
        """Take the time for each frame."""
        self.busy_s, self.touched = busy_s, 0

    def process(self, frame: Frame) -> None:
        """Read some pixels."""
        self.touched += int(frame.pixels[::16, ::16].sum())
        if self.busy_s:
            time.sleep(self.busy_s)  # the work of a slow model


@dataclass
class Trial:
    """What a situation may do with a run."""

    run: RunningPipeline
    redis: Any
    seconds: float


def _wait(trial: Trial) -> None:
    time.sleep(trial.seconds)  # the window that is measured


def _kill_redis(trial: Trial) -> None:
    time.sleep(trial.seconds / 2)
    trial.redis.kill()
    time.sleep(trial.seconds / 2)


def _scrape(trial: Trial) -> None:
    end, count = time.monotonic() + trial.seconds, 0
    while time.monotonic() < end:
        with urllib.request.urlopen(trial.run.status()["metrics"], timeout=10) as answer:
            count += b"detektr_" in answer.read()
        time.sleep(SCRAPE_S)
    if not count:
        raise SystemExit("no scrape was answered")


def _be_deaf(trial: Trial) -> None:
    host, port = re.findall(r"//(.*):(\d+)/", trial.run.status()["metrics"])[0]
    with contextlib.ExitStack() as stack:
        for _ in range(DEAF):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # the kernel makes it its least
            connection.connect((host, int(port)))
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: bench\r\n\r\n")
        time.sleep(trial.seconds)


SITUATIONS: dict[str, Callable[[Trial], None]] = {
    "no audit": _wait,
    "Redis well": _wait,
    "Redis stopped throughout": _wait,
    "Redis killed in the middle": _kill_redis,
    "scraped every 100 ms": _scrape,
    "scrapers that never read": _be_deaf,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="how long each run is measured")
    parser.add_argument("--drops", type=float, default=500, help="frames/s of the side camera, nearly all dropped")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run the data path beside a trail and metrics that misbehave."""
    return bench_audit(chosen.rounds, chosen.seconds, chosen.drops)


def bench_audit(rounds: int, seconds: float, drops: float) -> list[dict[str, Any]]:
    """Run every situation in each round, in another order each time.

    Args:
        rounds: how many.
        seconds: how long each run is measured.
        drops: frames a second that the side camera sends, nearly all dropped and recorded.
    Returns:
        One row a situation: medians, and the medians of the ratios to the round's run without audit.
    """
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    names = list(SITUATIONS)
    figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in [*names[number:], *names[:number]]:
            figures[name].append(measure(name, seconds, drops))
    first = figures["no audit"]
    rows = []
    for name, found in figures.items():
        ratios = {
            f"{key} / no audit": statistics.median(one[key] / two[key] for one, two in zip(found, first, strict=True))
            for key in ("frames/s", "cpu_ms_per_frame")
        }
        medians = {key: statistics.median(one[key] for one in found) for key in found[0]}
        rows.append({"run": name, **medians, **ratios})
    return rows


def measure(name: str, seconds: float, drops: float) -> dict[str, float]:
    """Run one situation once; leave with words when a frame or a record is unaccounted for."""
    with tempfile.TemporaryDirectory(prefix="dtk") as text, contextlib.ExitStack() as stack:
        folder = Path(text)
        os.environ["DETEKTR_STATE_DIR"] = f"{text}/state"
        redis = stack.enter_context(_redis(folder)) if name.startswith("Redis") else None
        if name == "Redis stopped throughout":
            redis.signal(signal.SIGSTOP)
        audit = "none" if redis is None else redis.url
        run = RunningPipeline(folder, f"bench{os.getpid()}", _nodes(drops), audit=audit, metrics={"port": 0})
        with run:
            run.wait_delivered("buffer", "meter", WARM_FRAMES, within_s=60)
            frames, cpu_s, up_s, begun_s = _read(run)
            SITUATIONS[name](Trial(run, redis, seconds))
            frames_end, cpu_end_s, up_end_s, end_s = _read(run)
            again_s = 0.0
            if name == "Redis killed in the middle":
                redis.start()
                again_s = _time_of(lambda: _LOST.search(run.log.read_text(errors="replace")) is not None)
            report = run.end(within_s=60)
        figures = {
            "frames/s": (frames_end - frames) / (end_s - begun_s),
            "cpu_ms_per_frame": (cpu_end_s - cpu_s) * 1e3 / (frames_end - frames),
            "up_cpu_share": (up_end_s - up_s) / (end_s - begun_s),
            "records_of_drops": 0.0, "in_redis": 0.0, "in_spool": 0.0, "lost_counted": 0.0, "caught_up_s": again_s,
        }  # fmt: skip
        _check(report)
        if redis is not None:
            figures |= _records(report, redis, run.log.read_text(errors="replace"), is_away="stopped" in name)
        return figures


def _nodes(drops: float) -> dict[str, Any]:
    def camera(rate: float) -> dict[str, Any]:
        size = {"count": ENDLESS, "rate": rate, "height": 120, "width": 160}
        return {"kind": "capture", "source": "python:workload:source", "with": size}

    return {
        "camera": camera(0),
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 32, "when_full": "block"},
        "meter": {"kind": "processor", "input": "buffer", "use": "audit:Glance", "window": 16},
        "side": camera(drops),
        "loss": {"kind": "buffer", "input": "side", "high_water_mark": 4, "when_full": "drop-oldest"},
        "slow": {"kind": "processor", "input": "loss", "use": "audit:Glance", "with": {"busy_s": 0.05}},
    }


def _read(run: RunningPipeline) -> tuple[int, float, float, float]:
    """Return frames worked on, CPU seconds of the main path and of the supervisor, and the time."""
    assert run.process is not None
    pids = [pid for node in MAIN for pid in run.pids(node)]
    delivered = run.edge("buffer", "meter")["delivered"]
    return delivered, sum(map(_cpu_s, pids)), _cpu_s(run.process.pid), time.monotonic()


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _time_of(condition: Callable[[], bool]) -> float:
    begun_s = time.monotonic()
    while not condition():
        if time.monotonic() > begun_s + CATCHES_UP_S:
            raise SystemExit(f"the trail has not caught up within {CATCHES_UP_S} s")
        time.sleep(0.05)
    return time.monotonic() - begun_s


def _check(report: dict[str, Any]) -> None:
    if report["unaccounted"]:
        raise SystemExit(f"the ledger does not add up: {report}")
    for edge in report["edges"]:
        if edge["from"] in MAIN and (edge["delivered"] != edge["offered"] or not edge["offered"]):
            raise SystemExit(f"not every frame was worked on: {edge}")


def _records(report: dict[str, Any], redis: Any, log: str, *, is_away: bool) -> dict[str, float]:
    """Find every drop in Redis, in the spool or among the losses; leave with words where one is in none of them."""
    dropped = sum(sum(edge["dropped"].values()) for edge in report["edges"])
    waiting = _WAITING.search(log)
    in_spool, lost = (int(waiting[1]), int(waiting[2])) if waiting else (0, 0)
    again = _LOST.search(log)
    lost = max(lost, int(again[1]) if again else 0) + sum(node["trail_lost"] for node in report["nodes"].values())
    stored = 0
    if not is_away:
        with redis.client() as client:
            for name in ("metadata", "buffered", "results"):
                entries = [fields for _, fields in client.xrange(f"frames:{name}")]
                stored += sum(int(fields["frames"]) for fields in entries if "packed" in fields)
        if stored < dropped and not in_spool and not lost:  # a row in the spool stands for all drops of a second
            raise SystemExit(f"{dropped} drops; {stored} in Redis, and no row is in the spool or counted as lost")
    return {"records_of_drops": dropped, "in_redis": stored, "in_spool": in_spool, "lost_counted": lost}


@contextlib.contextmanager
def _redis(folder: Path) -> Iterator[Any]:
    """Run the tests' Redis server."""
    sys.path.insert(0, str(HERE.parent.parent))
    from tests.harness.redis_server import run_redis

    place = folder / "redis"
    place.mkdir()
    with run_redis(place) as server:
        yield server
