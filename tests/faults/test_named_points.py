"""SIGKILL at named points: each pipeline goes on and ends by itself, and every promise is held against what it did."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from detektr.memory import layout
from detektr.options import Lane
from tests.harness.checked import Note, read_notes, wrong_pixels
from tests.harness.running import RunningPipeline

FRAMES = 500
NEVER_ANNOUNCED_MAX = 5  # by one killed capture: those that its thread has queued ahead, and the one in hand
QUICK = {"restart": {"backoff": "10ms..50ms", "limit": "99 in 1m"}, "drain": "20s"}
EDGE, FANOUT, JOURNAL = "detektr.edge.edge:Edge", "detektr.edge.fanout:Fanout", "detektr.memory.journal:Journal"
SUBSCRIBER, RING = "detektr.edge.subscriber:EdgeSubscriber", "detektr.memory.ring:RingWriter"
COMPLETIONS, READER = (
    "detektr.memory.completion_queue:CompletionQueueWriter",
    "detektr.memory.journal_reader:JournalReader",
)
CONNECTION, LINK = "detektr.edge.lanes.shm_lane:ShmConnection", "detektr.wire.link:Link"
ANNOUNCER, RECEIVER = "detektr.edge.lanes.zmq_lane:ZmqAnnouncer", "detektr.edge.lanes.zmq_receiver:ZmqReceiver"
ZMQ_CONNECTION = "detektr.edge.lanes.zmq_lane:ZmqConnection"


@dataclass(frozen=True)
class Point:
    """Where a process dies: before or after the call of a method, or inside a change of a journal, after a store."""

    what: str
    target: str
    when: str
    call: int = 30
    condition: str = "True"


def in_changes(method: str, what: str, before: int, calls: int) -> tuple[Point, ...]:
    """Points between the stores of a change; `before` of them come before the one that declares it."""
    target, strikes_out = f"{JOURNAL}.{method}", f"result > 0 and arguments[0] == {layout.EDGE_WORD_CHANGE}"
    return (
        Point(f"{what}, not yet written down", target, "inside", calls * before + 1, "result == -1"),
        Point(f"{what}, written down and not declared", target, "inside", calls * before, "result == -1"),
        Point(f"{what}, declared and not begun", target, "inside", calls, "result == 0"),
        Point(f"in the middle of {what}", target, "inside", calls, "result == 2"),
        Point(f"{what}, applied and not struck out", target, "inside", calls, strikes_out),
    )


IN_CHANGES = (*in_changes("record", "an offer", 3, 20), *in_changes("apply", "a settlement", 2, 8))

CAPTURE = (
    Point("between claim and publish", f"{RING}.publish", "before"),
    Point("between publish and the page", f"{RING}.publish", "after"),
    Point("between publish and announce", f"{FANOUT}.fan_out", "before"),
    Point("in mid-attach", f"{EDGE}.attach", "after", call=1),
    Point("leased, and not announced", f"{JOURNAL}.announce", "before"),
    Point("between lease and announcement", f"{EDGE}.lease_queued", "after", condition="self.has_announced"),
    Point("a return heard and not taken", f"{EDGE}.finish", "before"),
)
BUFFER = (
    Point("in mid-attach upstream", f"{SUBSCRIBER}._attach", "after", call=1),
    Point("in mid-attach downstream", f"{EDGE}.attach", "after", call=2),
    Point("accepted into the first edge only", f"{EDGE}.offer", "before", condition="self.consumer == 'b'"),
    Point("accepted and not returned", f"{SUBSCRIBER}.finish", "before"),
    Point("leased, and not announced", f"{JOURNAL}.announce", "before"),
    Point("leased and announced to one consumer", f"{JOURNAL}.announce", "after"),
    Point("between lease and announcement", f"{EDGE}.lease_queued", "after", condition="self.has_announced"),
    Point("asleep, as it has said", f"{SUBSCRIBER}.fall_asleep", "after", call=5),
    Point("its queue full, its producer waits", f"{FANOUT}.has_room", "after", condition="not result", call=5),
)
DROPPING = (
    Point("its queue full, about to drop", f"{EDGE}._drop", "before", call=5),
    Point("its queue full, just dropped in the first edge", f"{EDGE}._drop", "after", 9, "self.consumer == 'a'"),
    Point("its queue full, just dropped in the second edge", f"{EDGE}._drop", "after", 9, "self.consumer == 'b'"),
    Point("dropped in the first edge only", f"{EDGE}.count_dropped", "after", 9, "self.consumer == 'a'"),
)
PROCESSOR = (
    Point("leases announced and not begun", f"{SUBSCRIBER}.take", "before"),
    Point("holding a lease", "detektr.nodes.working.processor:ProcessorNode.work", "before"),
    Point("result offered, the frame not finished", "detektr.nodes.working.processor:ProcessorNode.work", "after"),
    Point("between result and page", f"{SUBSCRIBER}.finish", "before"),
    Point("its event offered, the frame not finished", f"{FANOUT}.fan_out", "after", call=1),
    Point("asleep, as it has said", f"{SUBSCRIBER}.fall_asleep", "after", call=5),
)
SINK = (
    Point("holding an event", "detektr.nodes.working.sink:SinkNode.work", "before", call=1),
    Point("between write and return", f"{SUBSCRIBER}.finish", "before", call=1),
)

OWN_STEPS: dict[Lane, dict[str, tuple[Point, ...]]] = {
    "shm": {
        "buffer": (
            Point("leases read upstream, and not held yet", f"{READER}.leases", "after", call=5, condition="result"),
            Point("leased, and told one consumer", f"{CONNECTION}.wake", "after"),
            Point("woken, and nothing looked at", f"{LINK}.wait", "after", call=5, condition="self.is_rung"),
        ),
        "processor": (
            Point("leases read, and not held yet", f"{READER}.leases", "after", call=5, condition="result"),
            Point("finished by its status block, not completed", f"{COMPLETIONS}.append", "before"),
            Point("completed, the producer not woken", f"{COMPLETIONS}.append", "after"),
        ),
    },
    "zmq": {
        "buffer": (
            Point("leases announced to it, and not held yet", f"{RECEIVER}.deliver", "after", call=5),
            Point("leased, and about to tell one consumer", f"{ANNOUNCER}._send", "before"),
            Point("leased, and told one consumer", f"{ANNOUNCER}._send", "after"),
            Point("completed leases heard, and not settled", f"{ZMQ_CONNECTION}.hear", "after", call=5),
            Point("completed leases about to be told upstream", f"{RECEIVER}._send", "before", call=5),
            Point("completed leases told upstream", f"{RECEIVER}._send", "after", call=5),
        ),
        "processor": (
            Point("leases announced to it, and not held yet", f"{RECEIVER}.deliver", "after", call=5),
            Point("finished by its status block, not completed", f"{RECEIVER}.complete", "before"),
            Point("completed, the producer not told", f"{RECEIVER}.complete", "after"),
            Point("completed, and told", f"{RECEIVER}._send", "after", call=5),
        ),
    },
}
"""Where each lane has steps of its own."""


def graph(tmp_path: Path, policy: str) -> dict[str, Any]:
    """A numbered source, a buffer, and two processors, one of which has a sink."""

    def check(name: str) -> dict[str, Any]:
        arguments = {"path": str(tmp_path / name), "busy_s": 0.0005 if policy == "block" else 0.002}
        use = "tests.harness.checked:Check"
        return {"kind": "processor", "input": "buffer", "use": use, "with": arguments, "max_deliveries": 9, **QUICK}

    source = "python:tests.harness.checked:numbered"
    return {
        "camera": {"kind": "capture", "source": source, "with": {"count": FRAMES}, **QUICK},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 8, "when_full": policy, **QUICK},
        "a": check("a"),
        "b": check("b"),
        "events": {
            "kind": "sink", "input": "a", "use": "detektr.sinks.jsonl:JsonLines", "max_deliveries": 9,
            "with": {"path": str(tmp_path / "events.jsonl")}, **QUICK,
        },
    }  # fmt: skip


ALIKE = pytest.mark.thorough


@pytest.mark.parametrize(
    ("points", "policy", "doubled"),
    [
        pytest.param(
            {"camera.0": CAPTURE, "events.0": SINK}, "block", 0, id="capture and sink", marks=pytest.mark.thorough
        ),
        pytest.param({"camera.0": IN_CHANGES, "a.0": PROCESSOR}, "block", 3, id="capture and processor"),
        pytest.param({"buffer.0": (*BUFFER, *IN_CHANGES)}, "block", 0, id="buffer"),
        pytest.param({"buffer.0": DROPPING[:3]}, "drop-oldest", 0, id="buffer that drops the oldest"),
        pytest.param(
            {"buffer.0": DROPPING[3:]}, "drop-newest", 0, id="buffer that drops the newest", marks=pytest.mark.thorough
        ),
    ],
)
def test_killed_at_named_points_the_pipeline_goes_on_and_every_promise_holds(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    points: dict[str, tuple[Point, ...]],
    policy: str,
    doubled: int,
    lane: Lane,
) -> None:
    fired = tmp_path / "fired"
    fired.mkdir()
    more = {"a.0": OWN_STEPS[lane]["processor"], "buffer.0": OWN_STEPS[lane]["buffer"] if policy == "block" else ()}
    points = {process: (*lives, *more.get(process, ())) for process, lives in points.items()}
    plan = {process: [asdict(point) for point in lives] for process, lives in points.items()}
    monkeypatch.setenv("FAULT_POINTS", json.dumps({"points": plan, "fired": str(fired)}))
    folders = [str(Path(__file__).with_name("points")), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    with RunningPipeline(tmp_path, "points", graph(tmp_path, policy)) as run:
        report = run.end(None, within_s=50)
    assert run.exit_code == 0, run.tail()
    for process, lives in points.items():
        died = (fired / process).stat().st_size
        assert died == len(lives), f"{process}: not reached: {lives[died].what}"
        assert report["nodes"][process.partition(".")[0]]["restarts"] == died, run.tail()
    assert report["unaccounted"] == 0
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert all(edge["queued"] == edge["in_flight"] == edge["dead_lettered"] == 0 for edge in edges.values()), edges
    taken = edges["camera", "buffer"]
    never_announced = taken["dropped"].pop("capture_died", 0)
    assert never_announced <= NEVER_ANNOUNCED_MAX * len(points.get("camera.0", ()))
    assert taken["delivered"] == taken["offered"] - never_announced
    allowed = set() if policy == "block" else {"queue_full"}
    assert all(set(edge["dropped"]) <= allowed for edge in edges.values()), edges
    for consumer in ("a", "b"):
        edge = edges["buffer", consumer]
        assert edge["offered"] == taken["delivered"], edge
        twice = doubled if f"{consumer}.0" in points else 0
        assert_worked(consumer, read_notes(tmp_path / consumer), edge["delivered"], twice)
    assert_written(tmp_path / "events.jsonl", edges["a", "events"])


def assert_worked(consumer: str, notes: list[Note], delivered: int, doubled: int) -> None:
    """Every frame was worked on with its own pixels, in order; as often as expected once more, and marked as such."""
    assert wrong_pixels(notes) == []
    seen = Counter(note.sequence for note in notes)
    assert len(seen) == delivered, f"{consumer}: {delivered} delivered, {len(seen)} worked on"
    again = {sequence for sequence, count in seen.items() if count > 1}
    marked = {note.sequence for note in notes if note.delivery > 1}
    assert again <= marked, f"{consumer}: worked on twice and not marked: {sorted(again - marked)}"
    attempts_more = {sequence: seen[sequence] - 1 for sequence in sorted(again)}  # two, if both die on one frame
    assert sum(attempts_more.values()) == doubled, f"{consumer}: worked on once more: {attempts_more}"
    last: dict[int, int] = {}
    for note in notes:
        before = last.get(note.pid, -1)
        assert note.delivery > 1 or note.sequence > before, f"{consumer}: {note.sequence} after {before}"
        last[note.pid] = max(note.sequence, before)


def assert_written(path: Path, edge: dict[str, Any]) -> None:
    """Every event was written, each once but for those that say so."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    again = [event for event in events if event["delivery"] > 1 or event.get("delivery_of_event", 1) > 1]
    assert len(events) - len(again) <= edge["delivered"] <= len(events), edge
