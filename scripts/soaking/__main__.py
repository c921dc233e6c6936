"""Eight cameras for as long as you like: their servers die, hang and come back at random; every promise is checked.

scripts/soak --cameras 8 --minutes 10 --seed 1
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from measuring import MIB, Course, cpu_s, look
from outage import Misfortune, Outage
from watching import Sight, read_sights

from detektr.memory.run_folder import shm_root
from tests.cameras.rtsp_servers import RtspServer, make_clip
from tests.harness.running import RunningPipeline

FPS, STALL_S = 10, 3.0
CAMERAS_PER_SERVER = 2
FLOWS_WITHIN_S = 75.0  # the longest pause between two tries, and the connection
WARM_S = 20.0  # until then memory is still being filled for the first time
PAUSE_S = (3.0, 8.0)
FRAMES_AGAIN = 5
AGE_S_MAX = 0.5  # p95, outside outages
POLL_S = 0.2
OLDEST = 8  # frames that are shown
DEFAULTS = {"stall_timeout": f"{STALL_S:g}s", "open_timeout": "5s", "decoder_threads": 1}


def main() -> None:
    """Run, print one table, and leave with 1 on any breach."""
    parser = argparse.ArgumentParser(description="run cameras that fail at random, then check every promise")
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"  # for the nodes: watching
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        os.environ["DETEKTR_STATE_DIR"] = str(Path(folder) / "state")
        breaches = run(Path(folder), chosen.cameras, chosen.minutes * 60, chosen.seed)
    sys.exit(1 if breaches else 0)


def run(folder: Path, count: int, seconds: float, seed: int) -> list[str]:
    """Run `count` cameras for `seconds`; print what was found; return the breaches."""
    dice = random.Random(seed)
    cameras = [f"cam{number}" for number in range(1, count + 1)]
    clips, notes, name = folder / "clips", folder / "sights", f"soak{seed}"
    clips.mkdir()
    for camera in cameras:
        make_clip(clips / f"{camera}.mp4", width=640, height=360, fps=FPS, seconds=30, gop=FPS)
    soak = Soak()
    with ExitStack() as stack:
        servers = []
        for begin in range(0, count, CAMERAS_PER_SERVER):
            server = stack.enter_context(RtspServer(clips))
            servers.append((server, tuple(cameras[begin : begin + CAMERAS_PER_SERVER])))
        sources = {camera: server.url(f"{camera}.mp4") for server, theirs in servers for camera in theirs}
        pipeline = RunningPipeline(folder, name, nodes(notes), cameras=sources, camera_defaults=DEFAULTS)
        stack.enter_context(pipeline)
        for camera in cameras:
            pipeline.wait_delivered(f"buffer-{camera}", "watch", 2 * FPS, 60)
        soak.suffer(pipeline, Misfortune(servers, dice, STALL_S), seconds, dice)
        pids = [pid for facts in pipeline.status()["nodes"].values() for pid in facts["pids"]]
        report = pipeline.end()
    if soak.breaches:
        print(pipeline.tail(200))
    if pipeline.exit_code not in (0, 128 + signal.SIGTERM):
        soak.breaches.append(f"`up` ended with {pipeline.exit_code}")
    soak.breaches += [f"process {pid} is left" for pid in pids if Path(f"/proc/{pid}").exists()]
    if (shm_root() / name).exists():
        soak.breaches.append(f"left in shared memory: {[path.name for path in (shm_root() / name).iterdir()]}")
    soak.judge(report, read_sights(notes))
    print(f"soak, {count} cameras, seed {seed}, {seconds:.0f} s under fire")
    soak.show(report)
    return soak.breaches


def nodes(notes: Path) -> dict[str, Any]:
    """A buffer for each camera, and two processes that look at the frames of all."""
    use = {"use": "watching:Watch", "with": {"path": str(notes)}}
    return {
        "buffer": {"kind": "buffer", "input": "cameras", "per_camera": True, "high_water_mark": 16},
        "watch": {"kind": "processor", "input": "buffer", "replicas": 2, **use},
    }


class Soak:
    """What happened, what it cost, and what was breached."""

    def __init__(self) -> None:
        self.outages: list[Outage] = []
        self.breaches: list[str] = []
        self.nodes: dict[int, Course] = {}
        self.servers: dict[int, Course] = {}
        self.looked_s = 0.0
        """Time between the first look at the processes and the last."""
        self.ages_s: dict[str, list[float]] = {}
        self.oldest: list[Sight] = []

    def suffer(self, pipeline: RunningPipeline, misfortune: Misfortune, seconds: float, dice: random.Random) -> None:
        """Let faults happen until the time is over or a camera does not come back."""
        begin = time.monotonic()
        warm, end = begin + min(WARM_S, seconds / 3), begin + seconds
        first_look = 0.0
        while time.monotonic() < end:
            self.outages.append(misfortune.strike())
            try:
                wait_flow(pipeline, self.outages[-1])
            except AssertionError as fault:
                self.breaches.append(str(fault).splitlines()[0])
                return
            time.sleep(dice.uniform(*PAUSE_S))  # the pause between two faults
            if time.monotonic() > warm:
                facts = pipeline.status()["nodes"]
                look(self.nodes, {pid: name for name, node in facts.items() for pid in node["pids"] if pid})
                look(self.servers, {server.pid: "server" for server, _ in misfortune.servers})
                first_look = first_look or time.monotonic()
                self.looked_s = time.monotonic() - first_look

    def judge(self, report: dict[str, Any], sights: list[Sight]) -> None:
        """Hold what happened against what was promised."""
        if report["unaccounted"]:
            self.breaches.append(f"unaccounted: {report['unaccounted']}")
        for edge in report["edges"]:
            if edge["queued"] or edge["in_flight"] or edge["dead_lettered"]:
                self.breaches.append(f"not drained, or given up: {edge}")
        for name, facts in report["nodes"].items():
            if facts["restarts"]:
                self.breaches.append(f"{name}: restarted {facts['restarts']} times; no camera may end a process")
        for course in self.nodes.values():
            self.breaches += course.breaches
        calm = [one for one in sights if not any(outage.covers(one.camera, one.seen_ns) for outage in self.outages)]
        for sight in calm:
            self.ages_s.setdefault(sight.camera, []).append(sight.age_ns / 1e9)
        self.oldest = sorted(calm, key=lambda sight: sight.age_ns)[: -OLDEST - 1 : -1]
        for camera, ages_s in sorted(self.ages_s.items()):
            if p95(ages_s) > AGE_S_MAX:
                self.breaches.append(f"{camera}: p95 frame age {p95(ages_s):.2f} s, at most {AGE_S_MAX}")

    def show(self, report: dict[str, Any]) -> None:
        """Print the table."""
        times: dict[str, list[float]] = defaultdict(list)
        for outage in self.outages:
            if outage.flowed_ns:
                times[outage.kind].append(outage.seconds_to_flow)
        print(f"{'fault':20} {'times':>5} {'median s to flow':>17} {'longest s':>10}")
        for kind, seconds in sorted(times.items()):
            print(f"{kind:20} {len(seconds):5} {statistics.median(seconds):17.2f} {max(seconds):10.2f}")
        print(
            f"{'camera':20} {'frames':>7} {'p50 age s':>10} {'p95':>7} {'longest':>8} {'reconnects':>11} {'stale':>6}"
        )
        for camera, ages_s in sorted(self.ages_s.items()):
            facts, many = report["nodes"][camera], sorted(ages_s)
            counts = f"{facts.get('reconnects', '-'):>11} {facts.get('stale', '-'):>6}"
            age = f"{statistics.median(many):10.3f} {p95(many):7.3f} {many[-1]:8.3f}"
            print(f"{camera:20} {facts['frames']:7} {age} {counts}")
        begin_ns = self.outages[0].begun_ns if self.outages else 0
        for sight in self.oldest:
            at_s = (sight.seen_ns - begin_ns) / 1e9
            print(f"oldest: {sight.camera} {sight.age_ns / 1e9:.2f} s, seen by {sight.pid} at {at_s:.2f} s")
        print(f"{'process':20} {'MiB first':>9} {'last':>7} {'most':>7} {'files':>10} {'CPU s':>8}")
        for course in sorted(self.nodes.values(), key=lambda course: course.name):
            memory = (course.first.rss_bytes, course.last.rss_bytes, course.rss_bytes_max)
            mib = f"{memory[0] / MIB:9.1f} {memory[1] / MIB:7.1f} {memory[2] / MIB:7.1f}"
            files = f"{course.first.files} to {course.last.files}"
            print(f"{course.name:20} {mib} {files:>10} {cpu_s([course]):8.1f}")
        if self.looked_s:
            cores = len(os.sched_getaffinity(0))
            share = 100 / (self.looked_s * cores)
            pipeline, servers = cpu_s(self.nodes.values()) * share, cpu_s(self.servers.values()) * share
            print(f"CPU of {cores} cores: pipeline {pipeline:.0f} %, servers {servers:.0f} %")
        for edge in report["edges"]:
            terms = {key: edge[key] for key in ("offered", "delivered", "dropped", "redelivered", "dead_lettered")}
            print(f"{edge['from']} -> {edge['to']}: {terms}")
        print(f"unaccounted: {report['unaccounted']}")
        print(f"breaches: {len(self.breaches)}")
        for breach in self.breaches[:20]:
            print(f"  {breach}")


def wait_flow(pipeline: RunningPipeline, outage: Outage) -> None:
    """Wait until frames of all cameras of an outage come again, and note when."""

    def delivered() -> dict[str, int]:
        edges = [edge for edge in pipeline.status()["edges"] if edge["to"] == "watch"]
        found = {edge["from"].removeprefix("buffer-"): int(edge["delivered"]) for edge in edges}
        return {camera: found[camera] for camera in outage.cameras if camera in found}

    before = delivered()
    deadline = time.monotonic() + FLOWS_WITHIN_S
    while True:
        now = delivered()
        missing = [one for one in outage.cameras if now.get(one, 0) < before.get(one, 0) + FRAMES_AGAIN]
        if not missing:
            outage.flowed_ns = time.monotonic_ns()
            return
        said = pipeline.status()["nodes"].get(missing[0], {})
        why = f"{missing[0]} is {said.get('state')}: {said.get('why')}"
        assert time.monotonic() < deadline, f"{outage.kind}: no frames within {FLOWS_WITHIN_S} s of {missing}; {why}"
        time.sleep(POLL_S)


def p95(values: Sequence[float]) -> float:
    """Return what 95 of 100 values do not exceed."""
    many = sorted(values)
    return many[min(len(many) - 1, len(many) * 95 // 100)]


if __name__ == "__main__":
    main()
