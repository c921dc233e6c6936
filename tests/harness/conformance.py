"""A table that any frame transport can be held against: wrong pixels, silent losses, doubles and leaks, by situation.

Each situation runs numbered frames that carry their own checksum. A system under test is a function from a
`Situation` to an `Outcome`; detektr's is `run_detektr`, on a lane. To run another system through it, write such a
function and pass it to `table`.

    python -m tests.harness.conformance
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detektr.memory.run_folder import shm_root
from detektr.options import Lane
from tests.harness.checked import Note, partly_joined, read_notes, wrong_pixels
from tests.harness.lane import add_announce
from tests.harness.running import RunningPipeline

QUICK = {"restart": {"backoff": "20ms..100ms", "limit": "999 in 1m"}, "drain": "20s"}


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What the frames meet on their way."""

    name: str
    frames: int = 1500
    cameras: int = 1
    rate: float = 0.0
    """Frames a second of each camera; 0: as fast as they are taken."""
    replicas: int = 1
    held: int = 4
    """Frames that a consumer holds at once."""
    busy_s: float = 0.0
    """Time that the consumer under test needs for one frame."""
    may_drop: bool = False
    """The camera does not wait: what the consumer has no time for is dropped (and must be counted)."""
    batch: int = 0
    """Frames that the consumer is given at once; 0: one."""
    has_fast_neighbour: bool = False
    """A second consumer of the same buffer that needs no time."""
    is_by_camera: bool = False
    """Each camera's frames go to one replica, in order."""
    kills: str = ""
    """Whom to kill on the way: reader, writer, relay, branch, or nobody."""
    is_chained: bool = False
    """The consumer under test reads another processor, in four replicas, which passes its frames on."""
    is_ordered: bool = False
    """... and gets each camera's frames in the order of their capture, though the replicas finish them in another."""
    is_joined: bool = False
    """... and a second processor beside that one, whose frames are joined with the first one's."""
    has_hasty_branch: bool = False
    """The second processor drops frames that it has no time for."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of the frames."""

    offered: int
    seen: int
    """Different frames that the consumer under test worked on."""
    dropped: int
    """Frames that the system itself says it dropped."""
    wrong: int
    """Results with another frame's pixels."""
    doubled: int
    """Frames worked on twice that were not marked as such."""
    leaked_bytes: int
    disordered: int = 0
    """Frames worked on before an earlier one of their camera, where order was promised."""
    partial: int = 0
    """Joined frames without the results of a branch that had not dropped them."""

    @property
    def lost(self) -> int:
        """Frames that are neither seen nor counted as dropped."""
        return self.offered - self.seen - self.dropped


SITUATIONS = (
    *(
        Situation(
            name=f"{held} held, camera does not wait", held=held, rate=500, busy_s=0.004, may_drop=True, frames=800
        )
        for held in (1, 2, 4, 8, 16)
    ),
    Situation(
        name="slow consumer beside a fast one",
        has_fast_neighbour=True,
        rate=500,
        busy_s=0.01,
        may_drop=True,
        frames=1000,
    ),
    Situation(name="three cameras, one buffer", cameras=3, frames=700),
    Situation(name="four replicas", replicas=4, busy_s=0.001),
    Situation(name="reader killed", kills="reader", replicas=2, busy_s=0.001),
    Situation(
        name="by camera, reader killed",
        cameras=3,
        frames=700,
        replicas=2,
        is_by_camera=True,
        kills="reader",
        busy_s=0.001,
    ),
    Situation(name="writer killed", kills="writer"),
    Situation(name="batches of three cameras", batch=8, held=16, cameras=3, frames=700),
    Situation(name="batches, reader killed", batch=8, held=16, kills="reader", replicas=2, busy_s=0.001),
    Situation(name="ring wrapped many times", frames=6000, held=1),
    Situation(name="chain", is_chained=True),
    Situation(name="chain, relay killed", is_chained=True, kills="relay", busy_s=0.001),
    Situation(name="chain, reader killed", is_chained=True, kills="reader", busy_s=0.001),
    Situation(name="in order", is_ordered=True, cameras=3, frames=700),
    Situation(name="in order, relay killed", is_ordered=True, cameras=3, frames=700, kills="relay"),
    Situation(name="in order, reader killed", is_ordered=True, cameras=3, frames=700, kills="reader", replicas=2),
    Situation(name="joined", is_joined=True),
    Situation(name="joined, a branch drops", is_joined=True, has_hasty_branch=True),
    Situation(name="joined, relay killed", is_joined=True, kills="relay"),
    Situation(name="joined, branch killed", is_joined=True, kills="branch"),
    Situation(name="joined, reader killed", is_joined=True, kills="reader", replicas=2, busy_s=0.001),
    Situation(name="joined, in order, relay killed", is_joined=True, is_ordered=True, kills="relay"),
)


def main() -> None:
    """Print detektr's table; leave with 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_announce(parser)
    announce: Lane = parser.parse_args().announce
    with tempfile.TemporaryDirectory(prefix="dtk") as folder:
        os.environ["DETEKTR_STATE_DIR"] = str(Path(folder) / "state")
        is_kept = table(f"detektr, announced by {announce}", partial(run_detektr, announce), Path(folder))
    sys.exit(0 if is_kept else 1)


def table(system: str, run: Callable[[Situation, Path], Outcome], folder: Path) -> bool:
    """Run every situation and print a line for each.

    Args:
        system: name for the heading.
        run: carries the frames of one situation, with an empty folder for what it needs.
        folder: where those folders are made.
    Returns:
        Whether there was no wrong pixel, no silent loss, no unmarked double, no partial frame and no leak.
    """
    print(
        f"{system:34} {'offered':>8} {'seen':>7} {'dropped':>8} {'wrong':>6} {'lost':>5} {'doubled':>8}"
        f" {'disorder':>8} {'partial':>8} {'leaked':>7}"
    )
    is_kept = True
    for number, situation in enumerate(SITUATIONS):
        place = folder / f"s{number}"
        place.mkdir()
        out = run(situation, place)
        breaches = out.wrong or out.lost or out.doubled or out.disordered or out.partial or out.leaked_bytes
        breaches = breaches or (out.dropped and not may_drop(situation))
        is_kept = is_kept and not breaches
        print(
            f"{situation.name:34} {out.offered:8} {out.seen:7} {out.dropped:8} {out.wrong:6} {out.lost:5}"
            f" {out.doubled:8} {out.disordered:8} {out.partial:8} {out.leaked_bytes:7}{'  BREACH' if breaches else ''}",
            flush=True,
        )
    return is_kept


def may_drop(situation: Situation) -> bool:
    """Whether a counted drop is within what was promised; a killed writer may count what it had not announced."""
    return situation.may_drop or situation.kills == "writer"


def run_detektr(announce: Lane, situation: Situation, folder: Path) -> Outcome:
    """Carry the frames of a situation through detektr, as its users run it."""
    policy = "drop-oldest" if situation.may_drop else "block"
    notes = folder / "notes"
    cameras = [f"camera{number}" for number in range(situation.cameras)]
    arguments = {"count": situation.frames, "rate": situation.rate}
    source = "python:tests.harness.checked:numbered"
    nodes: dict[str, Any] = {
        camera: {"kind": "capture", "source": source, "with": arguments, **QUICK} for camera in cameras
    }
    nodes["buffer"] = {"kind": "buffer", "input": cameras, "high_water_mark": 16, "when_full": policy, **QUICK}
    use, check = "tests.harness.checked:Check", {"path": str(notes), "busy_s": situation.busy_s}
    worker = {"kind": "processor", "input": "buffer", "use": use, "max_deliveries": 20, **QUICK}
    nodes["tested"] = {**worker, "with": check, "window": situation.held, "replicas": situation.replicas}
    if situation.is_by_camera:
        nodes["tested"]["partition_by"] = "camera"
    if situation.batch:
        nodes["tested"]["batch"] = {"size": situation.batch}
    if situation.is_chained or situation.is_ordered or situation.is_joined:
        nodes["relay"] = {**worker, "use": "tests.harness.chain:Detect", "replicas": 4}
        nodes["tested"]["input"] = "relay"
    if situation.is_ordered:
        nodes["tested"]["order"] = "camera"
    if situation.is_joined:
        nodes["branch"] = {**worker, "use": "tests.harness.chain:Detect"}
        nodes["tested"] |= {"input": ["relay", "branch"], "join": "frame"}
    if situation.has_hasty_branch:
        nodes["branch"]["input"] = {"from": "buffer", "when_full": "drop-newest", "high_water_mark": 1}
    if situation.has_fast_neighbour:
        nodes["fast"] = {**worker, "with": {"path": str(folder / "fast")}}
    name = f"conform{os.getpid()}"
    with RunningPipeline(folder, name, nodes, announce=announce) as running:
        if situation.kills:
            running.wait_delivered("relay" if "relay" in nodes else "buffer", "tested", 200)
            victims = {"reader": "tested", "writer": "camera0", "relay": "relay", "branch": "branch"}
            running.kill(victims[situation.kills])
        report = running.end(None, within_s=120)
    left = shm_root() / name
    leaked = sum(path.stat().st_size for path in left.iterdir()) if left.exists() else 0
    return judge(report, read_notes(notes), leaked, cameras, situation)


def judge(report: dict[str, Any], notes: list[Note], leaked: int, cameras: list[str], situation: Situation) -> Outcome:
    """Hold what the consumer noted against what the ledger says of the frames' whole way."""
    offered = sum(edge["offered"] for edge in report["edges"] if edge["from"] in cameras)
    connections = [edge for edge in report["edges"] if edge["from"] in cameras or edge["to"] == "tested"]
    dropped = sum(sum(edge["dropped"].values()) + edge["dead_lettered"] for edge in connections)
    seen = Counter((note.camera, note.sequence) for note in notes)
    marked = {(note.camera, note.sequence) for note in notes if note.delivery > 1}
    in_order = [note for note in notes if situation.is_by_camera or note.delivery == 1]
    return Outcome(
        offered=offered,
        seen=len(seen),
        dropped=dropped,
        wrong=len(wrong_pixels(notes)),
        doubled=sum(count > 1 and frame not in marked for frame, count in seen.items()),
        leaked_bytes=leaked,
        disordered=disordered(in_order) if situation.is_by_camera or situation.is_ordered else 0,
        partial=unexplained(report, notes) if situation.is_joined else 0,
    )


def unexplained(report: dict[str, Any], notes: list[Note]) -> int:
    """Count the joined frames that miss a branch without its reason, and those that no edge of the branch dropped."""
    missing = {(note.camera, note.sequence) for note in notes if note.missing}
    dropped = sum(sum(edge["dropped"].values()) for edge in report["edges"] if edge["to"] == "branch")
    return len(partly_joined(notes, ("relay", "branch"))) + abs(len(missing) - dropped)


def disordered(notes: list[Note]) -> int:
    """Count the notes of frames that come behind one of a later frame of their camera."""
    newest: dict[str, int] = {}
    count = 0
    for note in notes:
        count += note.sequence < newest.get(note.camera, 0)
        newest[note.camera] = max(note.sequence, newest.get(note.camera, 0))
    return count


if __name__ == "__main__":
    main()
