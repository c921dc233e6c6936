"""One run of anybody: its processes started, watched to their end, and their notes turned into figures."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from trial import Trial
from watch import Watch, family

HERE = Path(__file__).parent
POLL_S = 0.05
LIMIT_S = 90.0  # beyond what the frames themselves take at their rate


class RunFailed(Exception):
    """A run did not end as it should; the message holds what it said."""


@dataclass(frozen=True)
class Figures:
    """What one run gave; all from the first measured frame on."""

    fps: float
    """Frames a second of the slowest consumer, from the first measured frame's hand-over to its last look."""
    p50_ms: float
    """Median from hand-over to first look, of the slowest consumer."""
    p99_ms: float
    """The 99th of a hundred, of the slowest consumer."""
    cpu_ms_per_frame: float
    """CPU of all processes for each frame handed over after the mark."""
    cpu_share: float
    """CPU of all processes over the time between the marks, as a part of all cores."""
    lost: float
    """Frames that a consumer should have seen and did not."""
    cpu_by_process: Mapping[str, float]
    """CPU ms for each frame, by process."""


def run_trial(
    trial: Trial, commands: Sequence[Sequence[str]], *, ready: int, ends: int, env: Mapping[str, str] | None = None
) -> Figures:
    """Start the processes of a run, wait for their end and judge their notes.

    Args:
        trial: what they are told, by a file in its folder.
        commands: the processes to start; what they start is watched as well.
        ready: consumers that must be ready before a producer that asks may begin.
        ends: consumers and producers that say when they had their last frame.
        env: what they get beside this process's environment.
    Raises:
        RunFailed: one of them failed, or they did not end in time.
    """
    trial.save()
    paths = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, **(env or {}), "PYTHONPATH": paths}
    limit_s = LIMIT_S + (trial.count / trial.rate if trial.rate else 0)
    log_path = Path(trial.folder, "log")
    with Watch(trial, ready=ready, ends=ends) as watch, log_path.open("wb") as log:
        started: list[subprocess.Popen[bytes]] = []
        try:
            for command in commands:
                started.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=trial.folder))
            codes = _wait(started, time.monotonic() + limit_s)
        finally:
            _end(started)
    if codes is None or any(codes):
        why = f"did not end within {limit_s:g} s" if codes is None else f"ended with {codes}"
        raise RunFailed(f"{why}: {log_path.read_text(errors='replace')[-2000:]}")
    return judge(trial, watch)


def judge(trial: Trial, watch: Watch) -> Figures:
    """Turn the notes of all consumers into figures.

    Raises:
        RunFailed: a consumer left no notes, or saw nothing of the measured part.
    """
    groups: dict[str, list[Any]] = {}
    for path in sorted(Path(trial.folder).glob("notes-*.npy")):
        groups.setdefault(path.name.split("-")[1], []).append(np.load(path))
    seen = [np.concatenate(parts) for parts in groups.values()]
    measured = [notes[notes[:, 0] >= trial.warm] for notes in seen]
    if len(seen) < trial.consumers or not all(len(notes) for notes in measured) or not watch.mark_ns:
        counts = [len(notes) for notes in seen]
        raise RunFailed(f"{trial.consumers} consumers should have seen {trial.count} frames each; they saw {counts}")
    late_ms = [(notes[:, 2] - notes[:, 1]) / 1e6 for notes in measured]
    fps = [len(set(notes[:, 0])) * 1e9 / (notes[:, 2].max() - notes[:, 1].min()) for notes in measured]
    # Several cameras have sequences of their own: what each handed over after the mark adds up.
    after_mark = [trial.count - 1 - int(notes[notes[:, 1] <= watch.mark_ns][:, 0].max(initial=-1)) for notes in seen]
    frames = max(sum(after_mark) if trial.cameras > 1 else max(after_mark), 1)
    spent_ms: dict[str, float] = {}
    for pid, cpu_s in watch.cpu_s.items():
        name = watch.names.get(pid, str(pid))
        spent_ms[name] = spent_ms.get(name, 0.0) + cpu_s * 1e3 / frames
    return Figures(
        fps=float(min(fps)),
        p50_ms=max(float(np.percentile(late, 50)) for late in late_ms),
        p99_ms=max(float(np.percentile(late, 99)) for late in late_ms),
        cpu_ms_per_frame=sum(spent_ms.values()),
        cpu_share=sum(watch.cpu_s.values()) / watch.seconds / (os.cpu_count() or 1),
        lost=float(sum(trial.count - len(set(notes[:, 0])) for notes in seen)),
        cpu_by_process=spent_ms,
    )


def _wait(started: Sequence[subprocess.Popen[bytes]], deadline: float) -> list[int] | None:
    """Return the exit codes as soon as all have ended or one has failed; None: not in time."""
    while time.monotonic() < deadline:
        codes = [process.poll() for process in started]
        done = [code for code in codes if code is not None]
        if len(done) == len(codes) or any(done):
            return done
        time.sleep(POLL_S)
    return None


def _end(started: Sequence[subprocess.Popen[bytes]]) -> None:
    """See to it that nothing of a run lives on."""
    if all(process.poll() is not None for process in started) and not family():
        return
    left = psutil.Process().children(recursive=True)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for process in left:
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)
        left = psutil.wait_procs(left, timeout=10)[1]
    for child in started:
        child.wait()
