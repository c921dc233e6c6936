"""full speed with one slow replica for as long as you like: does anything grow?"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from plot import Line, Panel, draw_panels

from detektr import Frame
from detektr.memory.run_folder import shm_root
from detektr.options import Lane
from tests.harness.lane import add_announce
from tests.harness.running import RunningPipeline

SAMPLE_S = 10.0
MIB = 1 << 20


class Uneven:
    """Reads a few pixels; the first replica that opens is slow."""

    def __init__(self, folder: str, slow_s: float) -> None:
        """Take the folder for the lock that makes one replica the slow one."""
        self.lock, self.slow_s = Path(folder) / "slow.lock", slow_s
        self.is_slow, self.touched = False, 0

    def open(self) -> None:
        """Be the slow one if nobody is."""
        self.file = self.lock.open("w")
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.is_slow = True
        except BlockingIOError:
            self.is_slow = False

    def process(self, frame: Frame) -> dict[str, Any] | None:
        """Touch the frame; take long if we are the slow one."""
        self.touched += int(frame.gray[::64, ::64].sum())
        if self.is_slow:
            time.sleep(self.slow_s)  # the work of a slow model
        return {"sequence": frame.sequence} if frame.sequence % 1000 == 0 else None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_announce(parser)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw memory and descriptors over time (SVG)")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run for a long time and see what grows."""
    return bench_steady(chosen.minutes, chosen.plot, chosen.announce)


def bench_steady(minutes: float, plot: Path | None, announce: Lane) -> list[dict[str, Any]]:
    """Run for `minutes`, sampling RSS, descriptors and shared memory of every process.

    Returns:
        One row a process: first (after a minute), last and highest figures.
    """
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        nodes: dict[str, Any] = {
            "camera": {
                "kind": "capture", "source": "python:tests.harness.checked:numbered",
                "with": {"width": 640, "height": 480},
            },
            "buffer": {"kind": "buffer", "input": "camera", "when_full": "block", "high_water_mark": 32},
            "worker": {
                "kind": "processor", "input": "buffer", "use": "steady:Uneven", "replicas": 2,
                "with": {"folder": folder, "slow_s": 0.2},
            },
            "events": {
                "kind": "sink", "input": "worker", "use": "detektr.sinks.jsonl:JsonLines",
                "with": {"path": f"{folder}/events.jsonl", "rotate_bytes": 1_000_000},
            },
        }  # fmt: skip
        os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        os.environ["DETEKTR_STATE_DIR"] = f"{folder}/state"
        told = {"announce": announce, "audit": f"sqlite:{folder}/audit.db", "metrics": {"port": 0}}
        with RunningPipeline(Path(folder), f"steady{os.getpid()}", nodes, **told) as up:
            up.wait_delivered("buffer", "worker", 10)
            samples = sample(up, minutes * 60)
            report = up.end()
    if report["unaccounted"]:
        raise SystemExit(f"the ledger does not add up: {report}")
    if plot is not None:
        draw(samples, plot)
    edge = next(edge for edge in report["edges"] if edge["to"] == "worker")
    rows = [
        {
            "run": f"{minutes:g} minutes, {edge['delivered']} frames, unaccounted 0, announced by {announce}",
            "frames/s": edge["delivered"] / report["seconds"],
        }
    ]
    for name in samples[0]["rss"]:
        rss = [one["rss"][name] for one in samples if name in one["rss"]]
        files = [one["files"][name] for one in samples if name in one["files"]]
        rows.append(
            {
                "run": name,
                "rss_first_mib": rss[0], "rss_last_mib": rss[-1], "rss_most_mib": max(rss),
                "files_first": files[0], "files_last": files[-1],
            }
        )  # fmt: skip
    shm = [one["shm"] for one in samples]
    rows.append({"run": "shared memory", "first_mib": shm[0], "last_mib": shm[-1], "most_mib": max(shm)})
    return rows


def sample(run: RunningPipeline, seconds: float) -> list[dict[str, Any]]:
    """Look at every process every `SAMPLE_S`, after a first minute (or a tenth of the time) to warm up."""
    begin = time.monotonic()
    warm = begin + min(60.0, seconds / 10)
    samples = []
    while time.monotonic() < begin + seconds:
        time.sleep(SAMPLE_S)
        if time.monotonic() < warm:
            continue
        assert run.process is not None
        family = {"supervisor": run.process.pid}
        for node, facts in run.status()["nodes"].items():
            family.update({f"{node}.{place}": pid for place, pid in enumerate(facts["pids"]) if pid})
        processes = {name: psutil.Process(pid) for name, pid in family.items()}
        folder = shm_root() / run.name
        samples.append(
            {
                "minutes": (time.monotonic() - begin) / 60,
                "rss": {name: process.memory_info().rss / MIB for name, process in processes.items()},
                "files": {name: process.num_fds() for name, process in processes.items()},
                "shm": sum(path.stat().st_blocks * 512 for path in folder.iterdir()) / MIB,
            }
        )
    return samples


def draw(samples: list[dict[str, Any]], plot: Path) -> None:
    """Draw RSS, descriptors and shared memory over time as SVG, and keep the samples beside it."""
    minutes = [one["minutes"] for one in samples]
    names = list(samples[0]["rss"])
    rss = [Line(name, minutes, [one["rss"].get(name) for one in samples]) for name in names]
    files = [Line(name, minutes, [one["files"].get(name) for one in samples]) for name in names]
    rss.append(Line("shared memory", minutes, [one["shm"] for one in samples]))
    label = "minutes at full speed"
    draw_panels(plot, [Panel("RSS, MiB (shared pages too)", label, rss), Panel("open descriptors", label, files)])
    plot.with_suffix(".json").write_text(json.dumps(samples))
