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
from pathlib import Path
from typing import Any

from detektr.memory.run_folder import shm_root
from detektr.options import Lane
from tests.harness.checked import Note, read_notes, wrong_pixels
from tests.harness.lane import LANES
from tests.harness.running import RunningPipeline

PAUSE_S = (0.5, 1.5)
STOPPED_S = (0.05, 1.2)
FLOWS_WITHIN_S = 30.0
RESTART = {"backoff": "20ms..100ms", "limit": "9999 in 1m"}
SINGLE = ("camera", "buffer", "events")


class Breach(Exception):
    """A promise that was not kept."""


def main() -> None:
    """Run, print one table, and leave with 1 on any breach."""
    parser = argparse.ArgumentParser(description="kill and stop nodes at random, then check every promise")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--announce", choices=LANES, help="the lane on which leases are announced; unless told otherwise the seed's"
    )
    parser.add_argument("--only", nargs="+", help="kill only these nodes")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        os.environ["DETEKTR_STATE_DIR"] = str(Path(folder) / "state")
        announce = chosen.announce or lane_of(chosen.seed)
        breaches = run(Path(folder), chosen.minutes * 60, chosen.seed, announce, chosen.only)
    sys.exit(1 if breaches else 0)


def lane_of(seed: int) -> Lane:
    """Return the lane of a seed: seeds that follow each other take the lanes in turn, 1 the product's default."""
    return LANES[(seed - 1) % len(LANES)]


def run(folder: Path, seconds: float, seed: int, announce: Lane, only: list[str] | None) -> list[str]:
    """Run the pipeline under fire for `seconds`; print what was found; return the breaches."""
    dice = random.Random(seed)
    notes = {consumer: folder / consumer for consumer in "abc"}
    name = f"chaos{seed}"
    pipeline = RunningPipeline(folder, name, graph(notes), announce=announce)
    fired: Counter[str] = Counter()
    recovered_s: dict[str, list[float]] = defaultdict(list)
    breaches: list[str] = []
    with pipeline:
        pipeline.wait_delivered("buffer", "a", 50)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            node = dice.choice(only or ["camera", "buffer", "a", "a", "b", "c", "events"])
            number = dice.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP])
            try:
                recovered_s[f"{node} {number.name}"].append(fire(pipeline, node, number, dice))
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
    breaches += check_ledger(report)
    for consumer, path in notes.items():
        breaches += check_notes(consumer, read_notes(path), report, is_ordered=consumer != "c")
    breaches += [f"process {pid} is left" for pid in pids if Path(f"/proc/{pid}").exists()]
    if (shm_root() / name).exists():
        breaches.append(f"left in shared memory: {[path.name for path in (shm_root() / name).iterdir()]}")
    title = f"chaos, seed {seed}, announced by {announce}, {seconds:.0f} s under fire"
    show(title, report, fired, recovered_s, breaches)
    return breaches


def graph(notes: dict[str, Path]) -> dict[str, Any]:
    """One camera, a buffer that blocks, processors in two replicas, on batches, and behind the first, and a sink."""
    every = {"restart": RESTART, "drain": "30s"}

    def check(consumer: str, **more: Any) -> dict[str, Any]:
        arguments = {"path": str(notes[consumer]), "busy_s": 0.0005}
        use = "tests.harness.checked:Check"
        return {
            "kind": "processor", "input": "buffer", "use": use, "with": arguments, "max_deliveries": 50,
            "timeout": "800ms", **every, **more,
        }  # fmt: skip

    source = "python:tests.harness.checked:numbered"
    return {
        "camera": {"kind": "capture", "source": source, "with": {"rate": 600}, **every},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 32, "when_full": "block", **every},
        "a": check("a", replicas=2),
        "b": check("b", batch={"size": 4, "wait": "5ms"}),
        "c": check("c", input="a"),
        "events": {
            "kind": "sink", "input": "a", "use": "detektr.sinks.jsonl:JsonLines", "max_deliveries": 50,
            "with": {"path": f"{notes['a']}.jsonl"}, **every,
        },
    }  # fmt: skip


def fire(pipeline: RunningPipeline, node: str, number: signal.Signals, dice: random.Random) -> float:
    """Kill or stop one process of a node; returns the seconds until all processors took frames again."""
    pids = pipeline.wait(lambda: pipeline.pids(node), FLOWS_WITHIN_S, f"a process of {node}")
    pid = dice.choice(pids)
    ways = (("buffer", "a"), ("buffer", "b"), ("a", "c"))
    before = {way: pipeline.edge(*way).get("delivered", 0) for way in ways}
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
        return is_whole and all(pipeline.edge(*way).get("delivered", 0) > before[way] + 20 for way in ways)

    pipeline.wait(flows, FLOWS_WITHIN_S, f"frames flow again after {number.name} to {node}")
    return time.monotonic() - begin


def check_ledger(report: dict[str, Any]) -> list[str]:
    """Every edge adds up, and what `block` promised was not dropped."""
    breaches = [] if report["unaccounted"] == 0 else [f"unaccounted: {report['unaccounted']}"]
    for edge in report["edges"]:
        allowed = {"capture_died"} if edge["from"] == "camera" else set()
        if set(edge["dropped"]) - allowed or edge["dead_lettered"]:
            breaches.append(
                f"lost between {edge['from']} and {edge['to']}: {edge['dropped']}, {edge['dead_lettered']} dead"
            )
        if edge["queued"] or edge["in_flight"]:
            breaches.append(f"not drained: {edge['from']} to {edge['to']}")
    return breaches


def check_notes(consumer: str, notes: list[Note], report: dict[str, Any], *, is_ordered: bool) -> list[str]:
    """Each frame was worked on, with its own pixels, in order per replica, and whoever saw it again was told so."""
    breaches = []
    wrong = len(wrong_pixels(notes))
    if wrong:
        breaches.append(f"{consumer}: {wrong} frames with another frame's pixels")
    seen = Counter(note.sequence for note in notes)
    edge = next(edge for edge in report["edges"] if edge["to"] == consumer)
    if len(seen) < edge["delivered"]:
        breaches.append(f"{consumer}: {edge['delivered']} delivered, {len(seen)} worked on")
    marked = {note.sequence for note in notes if note.delivery > 1}
    unmarked = [sequence for sequence, count in seen.items() if count > 1 and sequence not in marked]
    if unmarked:
        breaches.append(f"{consumer}: {len(unmarked)} worked on twice and not marked, e.g. {unmarked[:5]}")
    last: dict[int, int] = {}
    for note in notes:
        before = last.get(note.pid, -1)
        if is_ordered and note.delivery == 1 and note.sequence < before:
            breaches.append(f"{consumer}: process {note.pid} saw {note.sequence} after {before}")
        last[note.pid] = max(note.sequence, before)
    return breaches


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
