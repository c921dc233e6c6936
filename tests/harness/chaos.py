"""A chaos run: nodes are killed and stopped at random under load; then every promise is held against what happened.

python -m tests.harness.chaos --minutes 5 --seed 1
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
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detektr.memory.run_folder import shm_root
from detektr.options import Lane
from tests.harness.checked import Note, partly_joined, read_notes, wrong_pixels
from tests.harness.lane import LANES
from tests.harness.running import RunningPipeline

PAUSE_S = (0.5, 1.5)
STOPPED_S = (0.05, 1.2)
FLOWS_WITHIN_S = 30.0
RESTART = {"backoff": "20ms..100ms", "limit": "9999 in 1m"}
EVERY = {"restart": RESTART, "drain": "30s"}
SOURCE = "python:tests.harness.checked:numbered"


@dataclass(frozen=True, kw_only=True)
class Promise:
    """What was promised to a consumer that notes its frames, beside that it gets each, with its own pixels."""

    order: Literal["none", "process", "camera"] = "none"
    """Frames come in order: to each of its processes, or of each camera to whichever process it is."""
    branches: tuple[str, ...] = ()
    """Nodes whose results come with each frame."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One graph to be fired at."""

    nodes: Callable[[Mapping[str, Path]], dict[str, Any]]
    """Returns the nodes, as in a file, given where each consumer notes its frames."""
    captures: tuple[str, ...]
    victims: tuple[str, ...]
    """Whom a fault may hit; who stands here twice is hit twice as often."""
    ways: tuple[tuple[str, str], ...]
    """Edges on which frames must flow again after a fault; the first one, before any."""
    promises: Mapping[str, Promise]
    """By consumer."""


def _check(path: Path, use: str = "Check", **more: Any) -> dict[str, Any]:
    return {
        "kind": "processor", "use": f"tests.harness.checked:{use}", "with": {"path": str(path), "busy_s": 0.0005},
        "max_deliveries": 50, "timeout": "800ms", **EVERY, **more,
    }  # fmt: skip


def _detect(**more: Any) -> dict[str, Any]:
    use = {"use": "tests.harness.chain:Detect", "with": {"busy_s": 0.002}}
    return {"kind": "processor", **use, "max_deliveries": 50, "timeout": "800ms", **EVERY, **more}


def _events(consumer: str, path: Path) -> dict[str, Any]:
    use = {"use": "detektr.sinks.jsonl:JsonLines", "with": {"path": f"{path}.jsonl"}}
    return {"kind": "sink", "input": consumer, **use, "max_deliveries": 50, **EVERY}


def _plain(notes: Mapping[str, Path]) -> dict[str, Any]:
    """One camera, a buffer that blocks, processors in two replicas, on batches, and behind the first, and a sink."""
    return {
        "camera": {"kind": "capture", "source": SOURCE, "with": {"rate": 600}, **EVERY},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 32, "when_full": "block", **EVERY},
        "a": _check(notes["a"], input="buffer", replicas=2),
        "b": _check(notes["b"], input="buffer", batch={"size": 4, "wait": "5ms"}),
        "c": _check(notes["c"], input="a"),
        "events": _events("a", notes["a"]),
    }


def _gathered(notes: Mapping[str, Path]) -> dict[str, Any]:
    """Two cameras, a detector on batches in two replicas, a tracker that gets its frames in order, and a join."""
    cameras = ["door", "yard"]
    nodes: dict[str, Any] = {
        name: {"kind": "capture", "source": SOURCE, "with": {"rate": 120}, **EVERY} for name in cameras
    }
    return nodes | {
        "buffer": {"kind": "buffer", "input": cameras, "high_water_mark": 16, "when_full": "block", **EVERY},
        "detect": _detect(input="buffer", replicas=2, batch={"size": 4, "wait": "5ms"}),
        "track": _check(notes["track"], "Keep", input="detect", order="camera", replicas=2),
        "pose": _detect(input="buffer"),
        "merge": _check(notes["merge"], input=["track", "pose"], join="frame"),
        "events": _events("merge", notes["merge"]),
    }


TARGETS: Mapping[str, Target] = {
    "plain": Target(
        nodes=_plain,
        captures=("camera",),
        victims=("camera", "buffer", "a", "a", "b", "c", "events"),
        ways=(("buffer", "a"), ("buffer", "b"), ("a", "c")),
        promises={"a": Promise(order="process"), "b": Promise(order="process"), "c": Promise()},
    ),
    "gathered": Target(
        nodes=_gathered,
        captures=("door", "yard"),
        victims=("door", "yard", "buffer", "detect", "detect", "track", "track", "pose", "merge", "merge", "events"),
        ways=(("detect", "track"), ("track", "merge"), ("pose", "merge")),
        promises={"track": Promise(order="camera"), "merge": Promise(branches=("track", "pose"))},
    ),
}
"""By the name that `--graph` knows."""


def main() -> None:
    """Run, print one table, and leave with 1 on any breach."""
    parser = argparse.ArgumentParser(description="kill and stop nodes at random, then check every promise")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--announce", choices=LANES, help="the lane on which leases are announced; unless told otherwise the seed's"
    )
    parser.add_argument("--graph", choices=TARGETS, help="fire at this graph only; else at each, one after the other")
    parser.add_argument("--only", nargs="+", help="kill only these nodes, on the graphs that have them")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        os.environ["DETEKTR_STATE_DIR"] = str(Path(folder) / "state")
        announce = chosen.announce or lane_of(chosen.seed)
        breaches = []
        for graph in [chosen.graph] if chosen.graph else TARGETS:
            if not set(chosen.only or ()) <= set(TARGETS[graph].victims):
                continue
            place = Path(folder, graph)
            place.mkdir()
            breaches += run(place, graph, chosen.minutes * 60, chosen.seed, announce, chosen.only)
    sys.exit(1 if breaches else 0)


def lane_of(seed: int) -> Lane:
    """Return the lane of a seed: seeds that follow each other take the lanes in turn, 1 the product's default."""
    return LANES[(seed - 1) % len(LANES)]


def run(folder: Path, graph: str, seconds: float, seed: int, announce: Lane, only: list[str] | None) -> list[str]:
    """Run a graph under fire for `seconds`; print what was found; return the breaches."""
    dice, target = random.Random(seed), TARGETS[graph]
    notes = {consumer: folder / consumer for consumer in target.promises}
    name = f"chaos{seed}-{graph}"
    pipeline = RunningPipeline(folder, name, target.nodes(notes), announce=announce)
    fired: Counter[str] = Counter()
    recovered_s: dict[str, list[float]] = defaultdict(list)
    breaches: list[str] = []
    with pipeline:
        pipeline.wait_delivered(*target.ways[0], 50)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            node = dice.choice(only or target.victims)
            number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
            try:
                recovered_s[f"{node} {number.name}"].append(fire(pipeline, target, node, number, dice))
                fired[f"{node} {number.name}"] += 1
            except AssertionError as fault:
                breaches.append(f"{node} {number.name}: the flow did not come back: {str(fault).splitlines()[0]}")
                break
            time.sleep(dice.uniform(*PAUSE_S))  # the pause between two faults
        pids = [pid for facts in pipeline.status()["nodes"].values() for pid in facts["pids"]]
        report = pipeline.end()
        if pipeline.exit_code not in (0, 128 + signal.SIGTERM):  # the latter where the drain was too short
            breaches.append(f"`up` ended with {pipeline.exit_code}")
    if breaches:
        print(pipeline.tail(200))
    breaches += check_ledger(report, target.captures)
    for consumer, path in notes.items():
        breaches += check_notes(consumer, read_notes(path), report, target.promises[consumer])
    breaches += [f"process {pid} is left" for pid in pids if Path(f"/proc/{pid}").exists()]
    if (shm_root() / name).exists():
        breaches.append(f"left in shared memory: {[path.name for path in (shm_root() / name).iterdir()]}")
    title = f"chaos on the graph {graph}, seed {seed}, announced by {announce}, {seconds:.0f} s under fire"
    show(title, report, fired, recovered_s, breaches)
    return breaches


def fire(pipeline: RunningPipeline, target: Target, node: str, number: signal.Signals, dice: random.Random) -> float:
    """Kill or stop one process of a node; returns the seconds until all processors took frames again."""
    pids = pipeline.wait(lambda: pipeline.pids(node), FLOWS_WITHIN_S, f"a process of {node}")
    pid = dice.choice(pids)
    before = {way: pipeline.edge(*way).get("delivered", 0) for way in target.ways}
    begin = time.monotonic()
    try:
        os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(dice.uniform(*STOPPED_S))  # how long it hangs
            begin = time.monotonic()
            os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return 0.0  # it had just been restarted for another reason

    def flows() -> bool:
        is_whole = (bool(pipeline.pids(node)) and pid not in pipeline.pids(node)) or number == signal.SIGSTOP
        return is_whole and all(pipeline.edge(*way).get("delivered", 0) > before[way] + 20 for way in before)

    pipeline.wait(flows, FLOWS_WITHIN_S, f"frames flow again after {number.name} to {node}")
    return time.monotonic() - begin


def check_ledger(report: dict[str, Any], captures: tuple[str, ...]) -> list[str]:
    """Every edge adds up, and what `block` promised was not dropped."""
    breaches = [] if report["unaccounted"] == 0 else [f"unaccounted: {report['unaccounted']}"]
    for edge in report["edges"]:
        allowed = {"capture_died"} if edge["from"] in captures else set()
        if set(edge["dropped"]) - allowed or edge["dead_lettered"]:
            breaches.append(
                f"lost between {edge['from']} and {edge['to']}: {edge['dropped']}, {edge['dead_lettered']} dead"
            )
        if edge["queued"] or edge["in_flight"]:
            breaches.append(f"not drained: {edge['from']} to {edge['to']}")
    return breaches


def check_notes(consumer: str, notes: list[Note], report: dict[str, Any], promise: Promise) -> list[str]:
    """Each frame was worked on, with its own pixels, as it was promised, and whoever saw it again was told so."""
    breaches = []
    wrong = len(wrong_pixels(notes))
    if wrong:
        breaches.append(f"{consumer}: {wrong} frames with another frame's pixels")
    seen = Counter((note.camera, note.sequence) for note in notes)
    delivered = max(edge["delivered"] for edge in report["edges"] if edge["to"] == consumer)
    if len(seen) < delivered:
        breaches.append(f"{consumer}: {delivered} delivered, {len(seen)} worked on")
    marked = {(note.camera, note.sequence) for note in notes if note.delivery > 1}
    unmarked = [frame for frame, count in seen.items() if count > 1 and frame not in marked]
    if unmarked:
        breaches.append(f"{consumer}: {len(unmarked)} worked on twice and not marked, e.g. {unmarked[:5]}")
    if promise.order != "none":
        breaches += [f"{consumer}: {one}" for one in disorder(notes, is_of_camera=promise.order == "camera")]
    partial = [note for note in notes if note.missing] + partly_joined(notes, promise.branches)
    if promise.branches and partial:
        breaches.append(f"{consumer}: {len(partial)} came without the results of a branch, e.g. {partial[:2]}")
    return breaches


def disorder(notes: list[Note], *, is_of_camera: bool) -> list[str]:
    """Return where a frame came behind a later one of its camera, to one process or at all, and was not marked."""
    found = []
    last: dict[tuple[str, int], int] = {}
    for note in notes:
        place = note.camera, 0 if is_of_camera else note.pid
        before = last.get(place, -1)
        if note.delivery == 1 and note.sequence < before:
            found.append(f"process {note.pid} saw {note.sequence} of {note.camera} after {before}")
        last[place] = max(note.sequence, before)
    return found


def show(
    title: str, report: dict[str, Any], fired: Counter[str], recovered_s: dict[str, list[float]], breaches: list[str]
) -> None:
    """Print the table."""
    print(title)
    print(f"{'fault':18} {'times':>5} {'median s to flow':>17} {'longest s':>10}")
    for name, times in sorted(recovered_s.items()):
        print(f"{name:18} {fired[name]:5} {statistics.median(times):17.2f} {max(times):10.2f}")
    for edge in report["edges"]:
        terms = {
            key: edge[key] for key in ("offered", "delivered", "dropped", "redelivered", "refused", "dead_lettered")
        }
        print(f"{edge['from']} -> {edge['to']}: {terms}")
    print(f"unaccounted: {report['unaccounted']}")
    print(f"breaches: {len(breaches)}")
    for breach in breaches[:20]:
        print(f"  {breach}")


if __name__ == "__main__":
    main()
