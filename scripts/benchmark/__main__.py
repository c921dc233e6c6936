"""Measure detektr beside what bounds it, in one run, as ratios: `scripts/bench transport | video | start | steady`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

HERE = Path(__file__).parent
SIZES = {"vga": (480, 640), "720p": (720, 1280), "1080p": (1080, 1920), "4k": (2160, 3840)}
POLL_S = 0.02


def main() -> None:
    """Run one benchmark and print its table."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    transport = commands.add_parser("transport", help="pictures from memory through capture, buffer and K processors")
    transport.add_argument("--size", choices=SIZES, default="1080p")
    transport.add_argument("--frames", type=int, default=3000)
    transport.add_argument("--rates", type=float, nargs="+", default=[0, 30], help="frames/s; 0: as fast as it goes")
    transport.add_argument("--consumers", type=int, nargs="+", default=[1, 4])
    transport.add_argument("--rounds", type=int, default=3)
    video = commands.add_parser("video", help="a file through capture, buffer and a processor that reads grey")
    video.add_argument("file", type=Path)
    video.add_argument("--rounds", type=int, default=3)
    start = commands.add_parser("start", help="from `up` to the first frame processed, five processes")
    start.add_argument("--rounds", type=int, default=5)
    steady = commands.add_parser("steady", help="full speed with one slow replica: does anything grow?")
    steady.add_argument("--minutes", type=float, default=60)
    steady.add_argument("--plot", type=Path, help="draw memory and descriptors over time (SVG)")
    for command in (transport, video, start, steady):
        command.add_argument("--json", type=Path, help="write the figures here too")
    chosen = parser.parse_args()
    system = f"{platform.machine()}, Linux {platform.release()}, Python {platform.python_version()}"
    print(f"machine: {os.cpu_count()} cores, {system}")
    benches = {"transport": bench_transport, "video": bench_video, "start": bench_start, "steady": run_steady}
    rows = benches[chosen.what](chosen)
    show(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps(rows, indent=1) + "\n")


def bench_transport(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Pair the bare copy with detektr, round by round; medians and the median ratio."""
    height, width = SIZES[chosen.size]
    rows = []
    for rate in chosen.rates:
        count = chosen.frames if not rate else min(chosen.frames, int(rate * 10))
        for consumers in chosen.consumers:
            rounds: list[tuple[dict[str, float], dict[str, float]]] = []
            for _ in range(chosen.rounds):
                bound = limit("copy", count, rate, height, width)
                rounds.append((bound, run_transport(count, rate, height, width, consumers)))
            own = {key: median(pair[1][key] for pair in rounds) for key in rounds[0][1]}
            rows.append(
                {
                    "run": f"{chosen.size} bgr24, {'saturated' if not rate else f'{rate:g}/s'}, K={consumers}",
                    "frames": count,
                    "lost": max(pair[1]["lost"] for pair in rounds),
                    "fps": own["fps"],
                    "fps_of_copy": median(pair[1]["fps"] / pair[0]["fps"] for pair in rounds),
                    "p50_ms": own["p50_ms"],
                    "p99_ms": own["p99_ms"],
                    "p50_copy_ms": median(pair[0]["p50_ms"] for pair in rounds),
                    "cpu_ms_per_frame": own["cpu_ms_per_frame"],
                }
            )
    return rows


def run_transport(count: int, rate: float, height: int, width: int, consumers: int) -> dict[str, float]:
    """Run the pictures through capture, buffer and processors; every process of its own, as `up` starts them."""
    arguments = {"count": count, "rate": rate, "height": height, "width": width}
    nodes: dict[str, Any] = {
        "camera": {"kind": "capture", "source": "python:workload:source", "with": arguments},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block"},
    }
    with tempfile.TemporaryDirectory() as folder:
        for number in range(consumers):
            nodes[f"meter{number}"] = worker("workload:Meter", folder)
        cpu_s = run_pipeline(Path(folder), nodes)
        meters = read_meters(Path(folder))
    return {
        "fps": min(meter["fps"] for meter in meters),
        "p50_ms": max(meter["p50_ms"] for meter in meters),
        "p99_ms": max(meter["p99_ms"] for meter in meters),
        "lost": float(consumers * count - sum(int(meter["distinct"]) for meter in meters)),
        "cpu_ms_per_frame": cpu_s * 1e3 / count,
    }


def bench_video(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Pair decoding alone with the same file through detektr."""
    nodes: dict[str, Any] = {
        "camera": {"kind": "capture", "source": str(chosen.file.resolve())},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block"},
    }
    rounds = []
    for _ in range(chosen.rounds):
        bound = limit("decode", chosen.file)
        with tempfile.TemporaryDirectory() as folder:
            cpu_s = run_pipeline(Path(folder), {**nodes, "gray": worker("workload:Gray", folder)})
            rounds.append((bound, read_meters(Path(folder))[0], cpu_s))
    return [
        {
            "run": f"{chosen.file.name}: decoded, buffered, grey read",
            "frames": int(rounds[0][1]["frames"]),
            "fps": median(own["fps"] for _, own, _ in rounds),
            "decode_fps": median(bound["fps"] for bound, _, _ in rounds),
            "fps_of_decode": median(own["fps"] / bound["fps"] for bound, own, _ in rounds),
            "cpu_ms_per_frame": median(cpu_s * 1e3 / own["frames"] for _, own, cpu_s in rounds),
            "decode_cpu_ms": median(bound["cpu_s"] * 1e3 / bound["frames"] for bound, _, _ in rounds),
        }
    ]


def bench_start(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Time `up` until the first frame was processed, five processes."""
    nodes: dict[str, Any] = {
        "camera": {"kind": "capture", "source": "lavfi:testsrc2=size=1280x720:rate=30", "realtime": True},
        "buffer": {"kind": "buffer", "input": "camera"},
        "motion": {"kind": "processor", "input": "buffer", "use": "detektr.processors.motion:Motion", "replicas": 2},
    }
    times = []
    for _ in range(chosen.rounds):
        with tempfile.TemporaryDirectory() as folder:
            nodes["events"] = {
                "kind": "sink", "input": "motion", "use": "detektr.sinks.jsonl:JsonLines",
                "with": {"path": f"{folder}/events.jsonl"},
            }  # fmt: skip
            times.append(run_pipeline(Path(folder), nodes, until_first=True))
    return [{"run": "up to first frame processed, 5 processes", "median_s": median(times), "longest_s": max(times)}]


def run_steady(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run for a long time and see what grows."""
    from steady import bench_steady

    return bench_steady(chosen.minutes, chosen.plot)


def worker(use: str, folder: str) -> dict[str, Any]:
    """Describe a processor that leaves its notes in `folder`."""
    return {"kind": "processor", "input": "buffer", "use": use, "with": {"folder": folder}}


def run_pipeline(folder: Path, nodes: dict[str, Any], *, until_first: bool = False) -> float:
    """Run a graph to its end; returns the CPU seconds of all its processes from the first frame on.

    With `until_first`: returns the seconds until the first frame was processed, and stops it then.
    """
    from detektr.pipeline.roster import read_status

    name, file = f"bench-{os.getpid()}", folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump({"name": name, "nodes": nodes}, sort_keys=False))
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "detektr", "pipeline", "up", str(file), "--report", str(folder / "report.json")]
    begin = time.monotonic()
    with (folder / "log").open("wb") as log:
        up = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": paths}, cwd=folder)
        first: dict[int, float] | None = None
        last: dict[int, float] = {}
        while up.poll() is None:
            family = [psutil.Process(up.pid), *psutil.Process(up.pid).children(recursive=True)]
            spent = {process.pid: cpu_of(process) for process in family}
            last.update({pid: cpu for pid, cpu in spent.items() if cpu})
            if first is None:
                try:
                    edges = read_status(name)["edges"]
                except Exception:
                    edges = []  # not up yet
                if any(edge["from"] == "buffer" and edge["delivered"] for edge in edges):
                    first = dict(last)
                    if until_first:
                        seconds = time.monotonic() - begin
                        up.terminate()
                        up.wait()
                        return seconds
            time.sleep(POLL_S)
    if up.returncode:
        raise SystemExit((folder / "log").read_text())
    report = json.loads((folder / "report.json").read_text())
    if report["unaccounted"]:
        raise SystemExit(f"the ledger does not add up: {report}")
    return sum(cpu - (first or {}).get(pid, 0.0) for pid, cpu in last.items() if pid != up.pid)


def cpu_of(process: psutil.Process) -> float:
    """Return user and system seconds of a process; 0 when it has just ended."""
    try:
        times = process.cpu_times()
    except psutil.Error:
        return 0.0
    return float(times.user + times.system)


def limit(*arguments: object) -> dict[str, float]:
    """Measure a bound in a fresh process."""
    command = [sys.executable, str(HERE / "limits.py"), *map(str, arguments)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return answer


def read_meters(folder: Path) -> list[dict[str, float]]:
    """Return what the processors noted."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("meter-*.json"))]


def median(values: Any) -> float:
    """Return the median."""
    return statistics.median(list(values))


def show(rows: list[dict[str, Any]]) -> None:
    """Print one block a row: figure, value."""
    for row in rows:
        print(f"\n{row.pop('run')}")
        for name, value in row.items():
            print(f"  {name:18} {value:10.3f}" if isinstance(value, float) else f"  {name:18} {value:10}")


if __name__ == "__main__":
    main()
