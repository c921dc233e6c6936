"""A graph of detektr as a run: the file a user would write, `up` on it, the ledger checked at its end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from run import Figures, RunFailed, run_trial
from trial import Trial

from detektr.options import Lane

DETECTORS = 2  # replicas, which finish frames in another order than they began
DETECT_S, POSE_S = 0.05, 0.03  # the longest times that a detector and a pose model take, without a core of their own
STAGES = 3
HELD_FRAMES = 16  # the mark of the buffer and the window of a processor: as iceoryx2 holds for each subscriber


def transport_nodes(trial: Trial) -> dict[str, Any]:
    """Return capture, buffer and a processor for each consumer, fed with pictures from memory."""
    told = {"folder": trial.folder}
    nodes: dict[str, Any] = {
        "camera": {"kind": "capture", "source": "python:workload:source", "with": told},
        "buffer": buffer("camera"),
    }
    for group in range(trial.consumers):
        nodes[f"meter{group}"] = processor(trial, "workload:Meter", group, replicas=trial.replicas)
    return nodes


def video_nodes(trial: Trial) -> dict[str, Any]:
    """Return capture, buffer and a processor that reads grey, fed from the trial's file."""
    camera = {"kind": "capture", "source": trial.file}
    return {"camera": camera, "buffer": buffer("camera"), "gray": processor(trial, "workload:Gray")}


def camera_nodes(trial: Trial) -> dict[str, Any]:
    """Return capture, buffer and a processor for each camera, a file at its own pace each."""
    nodes: dict[str, Any] = {}
    for number in range(trial.cameras):
        camera, held = f"camera{number}", f"buffer{number}"
        nodes[camera] = {"kind": "capture", "source": trial.file, "realtime": True}
        nodes[held] = buffer(camera)
        nodes[f"gray{number}"] = processor(trial, "workload:Gray", number, held)
    return nodes


def chain_nodes(trial: Trial, *, is_ordered: bool) -> dict[str, Any]:
    """Return capture, buffer, a detector in replicas and a tracker that reads it, in order or as frames come."""
    nodes = _detected(trial)
    nodes["track"] = processor(trial, "workload:Meter", held="detect")
    if is_ordered:
        nodes["track"]["order"] = "camera"
    return nodes


def branch_nodes(trial: Trial, *, is_joined: bool) -> dict[str, Any]:
    """Return the same with a second branch, and who reads both: each frame once, or twice as it comes."""
    nodes = _detected(trial)
    nodes["pose"] = _model("workload:Wait", POSE_S)
    nodes["merge"] = processor(trial, "workload:Meter") | {"input": ["detect", "pose"]}
    if is_joined:
        nodes["merge"]["join"] = "frame"
    return nodes


def stage_nodes(trial: Trial, *, is_chain: bool) -> dict[str, Any]:
    """Return capture, buffer, and the work of `STAGES` stages: in a processor each, or all in one class."""
    nodes = {
        "camera": {"kind": "capture", "source": "python:workload:source", "with": {"folder": trial.folder}},
        "buffer": buffer("camera"),
    }
    held = "buffer"
    for number in range(1, STAGES if is_chain else 1):
        nodes[f"stage{number}"] = {"kind": "processor", "input": held, "use": "workload:touch"}
        held = f"stage{number}"
    nodes["last"] = processor(trial, "workload:Stages", held=held)
    nodes["last"]["with"]["stages"] = 1 if is_chain else STAGES
    return nodes


def _detected(trial: Trial) -> dict[str, Any]:
    camera = {"kind": "capture", "source": "python:workload:source", "with": {"folder": trial.folder}}
    detect = _model("workload:Wait", DETECT_S) | {"replicas": DETECTORS}
    return {"camera": camera, "buffer": buffer("camera"), "detect": detect}


def _model(use: str, busy_s: float) -> dict[str, Any]:
    return {"kind": "processor", "input": "buffer", "use": use, "with": {"busy_s": busy_s}}


def buffer(camera: str) -> dict[str, Any]:
    """Return a buffer that loses nothing."""
    return {"kind": "buffer", "input": camera, "high_water_mark": HELD_FRAMES, "when_full": "block"}


def processor(trial: Trial, use: str, group: int = 0, held: str = "buffer", replicas: int = 1) -> dict[str, Any]:
    """Return a processor that leaves its notes in the trial's folder."""
    told = {"folder": trial.folder, "group": group}
    return {
        "kind": "processor", "input": held, "use": use, "with": told, "window": HELD_FRAMES, "replicas": replicas,
    }  # fmt: skip


def run_graph(
    trial: Trial, nodes: dict[str, Any], *, announce: Lane, ends: int, more: Mapping[str, Any] | None = None
) -> Figures:
    """Run a graph to its end.

    Args:
        trial: what its sources and processors are told.
        nodes: the graph, as in a pipeline file.
        announce: the lane of every edge.
        ends: sources and consumers that say when they had their last frame.
        more: what the file says beside the graph.
    Raises:
        RunFailed: `up` failed, or the ledger does not add up.
    """
    folder = Path(trial.folder)
    text = {
        "name": f"bench-{os.getpid()}",
        "announce": announce,
        "metrics": {"port": 0},
        **(more or {}),
        "nodes": nodes,
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(text, sort_keys=False))
    command = [sys.executable, "-m", "detektr", "pipeline", "up", "pipeline.yaml", "--report", "report.json"]
    figures = run_trial(trial, [command], ready=trial.consumers, ends=ends)
    report = json.loads((folder / "report.json").read_text())
    if report["unaccounted"] or any(edge["dropped"] or edge["dead_lettered"] for edge in report["edges"]):
        raise RunFailed(f"the ledger does not add up, or a frame was dropped: {report}")
    return figures
