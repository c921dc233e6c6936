"""SIGKILL at named points: each pipeline goes on and ends by itself, and every promise is held against what it did."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from detektr.testing.checked import Note, read_notes, wrong_pixels
from detektr.testing.running import RunningPipeline

FRAMES = 240
QUICK = {"restart": {"backoff": "10ms..50ms", "limit": "99 in 1m"}, "drain": "20s"}
OFFERED_TO_B = "self.consumer == 'b'"


@dataclass(frozen=True, kw_only=True)
class Kill:
    """Where a process dies; `lost` says how many frames a killed capture may count as never announced."""

    process: str
    target: str
    when: str = "before"
    call: int = 60
    condition: str = "True"
    times: int = 2
    lost: tuple[int, int] = (0, 0)
    policy: str = "block"
    doubles: str = "may"
    """Whether a frame is worked on again: may, must, or never."""


EDGE, FANOUT, JOURNAL = "detektr.nodes.edge:Edge", "detektr.nodes.fanout:Fanout", "detektr.memory.journal:Journal"
INTAKE, OUTLET = "detektr.nodes.intake:Intake", "detektr.nodes.outlet:Outlet"
POINTS = {
    "capture, between claim and publish": Kill(
        process="camera.0", target="detektr.memory.ring:RingWriter.publish", doubles="never"
    ),
    "capture, between publish and the page": Kill(
        process="camera.0", target="detektr.memory.ring:RingWriter.publish", when="after", doubles="never"
    ),
    "capture, between publish and announce": Kill(
        process="camera.0", target=f"{FANOUT}.offer", times=1, lost=(1, 5), doubles="never"
    ),
    "capture, in mid-attach": Kill(process="camera.0", target=f"{EDGE}.attach", when="after", call=1),
    "capture, between grant and send": Kill(
        process="camera.0", target=f"{EDGE}.grant", when="after", condition="result", lost=(0, 5)
    ),
    "capture, a return heard and not taken": Kill(process="camera.0", target=f"{EDGE}.finish", lost=(0, 5)),
    "buffer, in mid-attach upstream": Kill(process="buffer.0", target=f"{INTAKE}._attach", when="after", call=1),
    "buffer, in mid-attach downstream": Kill(process="buffer.0", target=f"{EDGE}.attach", when="after", call=2),
    "buffer, between accepting into its first and its second edge": Kill(
        process="buffer.0", target=f"{EDGE}.offer", condition=OFFERED_TO_B
    ),
    "buffer, after accepting and before returning": Kill(process="buffer.0", target=f"{INTAKE}.finish"),
    "buffer, between grant and send": Kill(
        process="buffer.0", target=f"{EDGE}.grant", when="after", condition="result"
    ),
    "buffer, between grants to two replicas": Kill(
        process="buffer.0",
        target="detektr.wire.link:Outbox.try_send",
        when="after",
        condition="type(arguments[0]).__name__ == 'Grant'",
    ),
    "buffer, its queue full and its producer waiting": Kill(
        process="buffer.0", target=f"{FANOUT}.has_room", when="after", condition="not result", call=3
    ),
    "buffer, its queue full and about to drop": Kill(
        process="buffer.0", target=f"{EDGE}._drop", call=5, policy="drop-oldest"
    ),
    "buffer, its queue full and just dropped": Kill(
        process="buffer.0", target=f"{EDGE}._drop", when="after", call=5, policy="drop-oldest"
    ),
    "journal, a change not yet declared": Kill(
        process="buffer.0", target=f"{JOURNAL}.apply", when="inside", condition="result == -1"
    ),
    "journal, a change declared and not begun": Kill(
        process="buffer.0", target=f"{JOURNAL}.apply", when="inside", condition="result == 0"
    ),
    "journal, in the middle of a change": Kill(
        process="buffer.0", target=f"{JOURNAL}.apply", when="inside", condition="result == 2", times=4
    ),
    "journal of a capture, in the middle of a change": Kill(
        process="camera.0", target=f"{JOURNAL}.apply", when="inside", condition="result == 2", lost=(0, 5)
    ),
    "processor, a lease granted and not begun": Kill(process="a.0", target=f"{INTAKE}.take", when="before", call=20),
    "processor, holding a lease": Kill(
        process="a.0", target="detektr.nodes.processor:ProcessorNode.work", call=20, doubles="never"
    ),
    "processor, between result and page": Kill(process="a.0", target=f"{INTAKE}.finish", call=20, doubles="must"),
    "processor, between page and return": Kill(
        process="a.0", target=f"{INTAKE}.flush", call=5, condition="self.untold", doubles="never"
    ),
    "processor, its events half journaled": Kill(
        process="b.0", target=f"{JOURNAL}.apply", when="inside", condition="result == 2", call=3
    ),
    "sink, between write and return": Kill(process="events.0", target=f"{INTAKE}.finish", call=2),
}


def graph(tmp_path: Path, kill: Kill) -> dict[str, Any]:
    """A numbered source, a buffer, a processor in two replicas, another one beside it, and a sink."""

    def check(name: str, **more: Any) -> dict[str, Any]:
        # Under `block` slow enough for the queue to fill; where the buffer drops, slower than the source.
        arguments = {"path": str(tmp_path / name), "busy_s": 0.003 if kill.policy == "drop-oldest" else 0.0005}
        use = "detektr.testing.checked:Check"
        return {
            "kind": "processor", "input": "buffer", "use": use, "with": arguments, "max_deliveries": 9, **QUICK, **more
        }  # fmt: skip

    source = "python:detektr.testing.checked:numbered"
    return {
        "camera": {"kind": "capture", "source": source, "with": {"count": FRAMES}, **QUICK},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 8, "when_full": kill.policy, **QUICK},
        "a": check("a", replicas=2),
        "b": check("b"),
        "events": {
            "kind": "sink", "input": "b", "use": "detektr.sinks.jsonl:JsonLines", "max_deliveries": 9,
            "with": {"path": str(tmp_path / "events.jsonl")}, **QUICK,
        },
    }  # fmt: skip


@pytest.mark.parametrize("name", POINTS)
def test_killed_at_a_point_the_pipeline_goes_on_and_every_promise_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    kill = POINTS[name]
    fired = tmp_path / "fired"
    told = {key: getattr(kill, key) for key in ("process", "target", "when", "call", "condition", "times")}
    monkeypatch.setenv("FAULT_POINT", json.dumps({**told, "fired": str(fired)}))
    folders = [str(Path(__file__).with_name("points")), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    with RunningPipeline(tmp_path, "point", graph(tmp_path, kill)) as run:
        report = run.end(None, within_s=30)
    assert run.exit_code == 0, run.tail()
    assert fired.stat().st_size == kill.times, "the point was not reached"
    node = kill.process.partition(".")[0]
    assert report["nodes"][node]["restarts"] == kill.times, run.tail()
    assert report["unaccounted"] == 0
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    for edge in edges.values():
        assert edge["queued"] == edge["in_flight"] == edge["dead_lettered"] == 0, edge
    never_announced = edges["camera", "buffer"]["dropped"].pop("capture_died", 0)
    assert kill.lost[0] <= never_announced <= kill.lost[1] * kill.times
    allowed = {"queue_full"} if kill.policy == "drop-oldest" else set()
    assert all(set(edge["dropped"]) <= allowed for edge in edges.values()), run.tail()
    assert edges["camera", "buffer"]["delivered"] == edges["camera", "buffer"]["offered"] - never_announced
    for consumer in ("a", "b"):
        edge = edges["buffer", consumer]
        assert edge["offered"] == edges["camera", "buffer"]["delivered"], edge
        assert_worked(consumer, read_notes(tmp_path / consumer), edge["delivered"], kill)
    assert_written(tmp_path / "events.jsonl", edges["b", "events"])


def assert_worked(consumer: str, notes: list[Note], delivered: int, kill: Kill) -> None:
    """Every frame was worked on with its own pixels, in order; who saw one again was told so."""
    assert wrong_pixels(notes) == []
    seen = Counter(note.sequence for note in notes)
    assert len(seen) == delivered, f"{consumer}: {delivered} delivered, {len(seen)} worked on"
    doubled = {sequence for sequence, count in seen.items() if count > 1}
    marked = {note.sequence for note in notes if note.delivery > 1}
    assert doubled <= marked, f"{consumer}: worked on twice and not marked: {sorted(doubled - marked)}"
    if kill.doubles == "never":
        assert not doubled, f"{consumer}: worked on twice: {sorted(doubled)}"
    elif kill.doubles == "must" and kill.process.startswith(consumer):
        assert len(doubled) == kill.times, sorted(doubled)
    last: dict[int, int] = {}
    for note in notes:
        before = last.get(note.pid, -1)
        assert note.delivery > 1 or note.sequence > before, f"{consumer}: {note.sequence} after {before}"
        last[note.pid] = max(note.sequence, before)


def assert_written(path: Path, edge: dict[str, Any]) -> None:
    """Every event was written; one that was written again says so."""
    events = [json.loads(line) for line in path.read_text().splitlines()]
    again = [event for event in events if event.get("delivery", 1) > 1 or event.get("delivery_of_event", 1) > 1]
    assert len(events) - len(again) <= edge["delivered"] <= len(events), edge
