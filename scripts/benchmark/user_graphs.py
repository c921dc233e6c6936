"""graphs as users draw them: batches of a real ONNX model beside single calls; chain, order and join beside none"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from bar import Bar
from gathering import STAGED, gathering_rows
from graph import STAGES
from onnx_model import make_model

from tests.harness.lane import add_announce
from tests.harness.running import RunningPipeline

CAMERAS = 8
CASES = ("batches", "gathering")
HERE = Path(__file__).parent


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    add_announce(parser)
    parser.add_argument("--only", choices=CASES, nargs="+", default=list(CASES), help="leave out the other case")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--frames", type=int, default=1500, help="of each camera, at full speed")
    parser.add_argument("--seconds", type=float, default=8, help="how long a run at a rate takes")
    parser.add_argument("--rate", type=float, default=30, help="frames a second of each camera, in runs at a rate")
    parser.add_argument("--sizes", type=int, nargs="+", default=[4, 8, 16], help="frames of a batch")


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run what is asked for."""
    rows = run_batches(chosen) if "batches" in chosen.only else []
    return rows + (gathering_rows(chosen.seconds, chosen.rounds) if "gathering" in chosen.only else [])


def run_batches(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Run single calls and batches of each size in turn, at full speed and at a rate."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        make_model(Path(folder, "model.onnx"))
        found: dict[tuple[int, float], list[dict[str, float]]] = {}
        for number in range(chosen.rounds):
            for size in (1, *chosen.sizes):
                for rate in (0.0, chosen.rate):
                    place = Path(folder, f"{number}-{size}-{rate:g}")
                    place.mkdir()
                    count = int(chosen.seconds * rate) if rate else chosen.frames
                    figures = measure(place, Path(folder, "model.onnx"), size, count, rate, chosen.announce)
                    found.setdefault((size, rate), []).append(figures)
    for rate, how in ((0.0, "as fast as it goes"), (chosen.rate, f"at {chosen.rate:g}/s each")):
        for size in (1, *chosen.sizes):
            figures = {name: statistics.median(one[name] for one in found[size, rate]) for name in found[size, rate][0]}
            title = f"{CAMERAS} cameras {how}, one ONNX model, announced by {chosen.announce}"
            rows.append({"run": title, "who": "single calls" if size == 1 else f"batches of {size}", **figures})
    return rows


def measure(folder: Path, model: Path, size: int, count: int, rate: float, announce: Any) -> dict[str, float]:
    """Run one pipeline to its end; returns frames a second, ages after the work, frames a call, the model's time.

    Raises:
        AssertionError: a frame was lost, dropped or given up.
    """
    told = {"count": count, "rate": rate}
    names = [f"camera{number}" for number in range(CAMERAS)]
    nodes: dict[str, Any] = {
        name: {"kind": "capture", "source": "python:onnx_model:pictures", "with": told, "high_water_mark": 4}
        for name in names
    }
    nodes["model"] = {
        "kind": "processor", "input": names, "use": "onnx_model:Classify",
        "with": {"model": str(model), "notes": str(folder)},
        **({"batch": {"size": size, "wait": "20ms"}} if size > 1 else {}),
    }  # fmt: skip
    nodes["events"] = {"kind": "sink", "input": "model", "use": "jsonl", "with": {"path": str(folder / "events.jsonl")}}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    with RunningPipeline(folder, f"bench-graph-{os.getpid()}", nodes, announce=announce) as up:
        report = up.end(None, within_s=300)
    assert report["unaccounted"] == 0, json.dumps(report)
    assert not any(edge["dropped"] or edge["dead_lettered"] for edge in report["edges"]), json.dumps(report)
    notes = np.concatenate([np.load(path) for path in folder.glob("notes-*.npy")])
    assert len(notes) == CAMERAS * count, f"{len(notes)} frames of {CAMERAS * count}"
    ages_ms = (notes[:, 1] - notes[:, 0]) / 1e6
    spent_s = (notes[:, 1].max() - notes[:, 1].min()) / 1e9
    return {
        "fps": len(notes) / spent_s,
        "p50_ms": float(np.percentile(ages_ms, 50)),
        "p99_ms": float(np.percentile(ages_ms, 99)),
        "frames_a_call": float(1 / np.mean(1 / notes[:, 2])),
        "model_ms": float(np.median(notes[:, 3])) / 1e6,
    }


def bars(rows: list[dict[str, Any]]) -> list[Bar]:
    """Return the bar of a chain: what one more stage costs."""
    more = next((row["cpu_ms_more"] for row in rows if row["who"] == STAGED), None)
    each = None if more is None else more / (STAGES - 1)
    return [Bar("a chain beside one class, shm: ms of CPU more for each stage", each, most=0.25)]
