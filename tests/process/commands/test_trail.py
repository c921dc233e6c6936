"""The trail of a run with kills and poison frames says of each frame what the user's code wrote down itself."""

from __future__ import annotations

import datetime
import json
import sqlite3
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detektr.errors import DetektrError
from detektr.observe.trail.trace import query, trace
from detektr.telemetry.trail.segments import segment_paths
from tests.harness.effort import alike
from tests.harness.redis_server import run_redis
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from detektr.options import Lane
    from tests.conftest import RunDetektr, WaitUntil

FRAMES = 400
QUICK = {"restart": {"backoff": "10ms..50ms", "limit": "20 in 10m"}}
CODE = """
import json, os, time
import numpy as np


def pictures(count=400, rate=100):
    begun = time.monotonic()
    for number in range(count):
        time.sleep(max(0.0, begun + number / rate - time.monotonic()))
        yield np.zeros((16, 16, 3), np.uint8)


def note(where, **what):
    fd = os.open(where, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(fd, (json.dumps(what) + "\\n").encode())
    os.close(fd)


class Notes:
    def __init__(self, where, busy_s=0.001):
        self.where, self.busy_s = where, busy_s

    def process(self, frame):
        begun = time.time()
        time.sleep(self.busy_s)
        is_bad = frame.sequence % 40 == 7
        note(self.where, frame=frame.id, sequence=frame.sequence, begun=begun, ended=time.time(),
             delivery=frame.delivery, ok=not is_bad)
        if is_bad:
            raise ValueError("no such track")
        return {"n": frame.sequence} if frame.sequence % 4 == 0 else None

    def write(self, event):
        note(self.where, frame=event["frame"], begun=time.time(), ended=time.time())
"""


def graph(folder: Path, **cam: Any) -> dict[str, Any]:
    def notes(name: str, **more: Any) -> dict[str, Any]:
        return {"where": str(folder / name), **more}

    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "when_full": "block", **QUICK, **cam},
        "buf": {"kind": "buffer", "input": "cam", "high_water_mark": 8, "when_full": "block", **QUICK},
        "eye": {
            "kind": "processor", "input": "buf", "use": "mine:Notes", "with": notes("eye", busy_s=0.004),
            "replicas": 2, "max_deliveries": 2, **QUICK,
        },
        "hook": {"kind": "sink", "input": "eye", "use": "mine:Notes", "with": notes("hook")},
    }  # fmt: skip


def noted(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def seconds(step: dict[str, Any]) -> float:
    return datetime.datetime.fromisoformat(step["time"]).timestamp()


@pytest.mark.parametrize(
    ("frames", "rate", "announce"),
    [
        (FRAMES, 100, "zmq"),
        alike(FRAMES, 100, "shm"),
        pytest.param(10_000, 200, "zmq", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_each_frame_of_a_run_with_kills_is_told_as_its_code_wrote_it_down(
    tmp_path: Path, run_detektr: RunDetektr, frames: int, rate: int, announce: Lane
) -> None:
    audit = {"to": "sqlite:audit.db", "frames": "all"}
    nodes = graph(tmp_path, **{"with": {"count": frames, "rate": rate}})
    with RunningPipeline(tmp_path, "told", nodes, announce=announce, audit=audit) as run:
        for node, share in (("eye", 0.15), ("buf", 0.3), ("eye", 0.45), ("cam", 0.6)):
            run.wait_delivered("buf", "eye", int(share * frames), within_s=40)
            run.kill(node)
        report = run.end(None, within_s=300)
    assert report["unaccounted"] == 0, run.tail()
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    attempts = defaultdict(list)
    for note in noted(tmp_path / "eye"):
        attempts[note["frame"]].append(note)
    assert len(attempts) > frames // 2
    events = {note["frame"] for note in noted(tmp_path / "hook")}
    for frame, notes in attempts.items():
        answer = trace(frame)
        steps = answer["steps"]
        times = [step["time"] for step in steps]
        assert times == sorted(times) and (answer["pipeline"], answer["sequence"]) == ("told", notes[0]["sequence"])
        check_work(steps, notes)
        told = [step["what"] for step in steps if step.get("edge") == "buf->eye"]
        ends = [what for what in told if what in ("delivered", "dead_lettered") or what == "dropped"]
        assert ends == ["delivered" if notes[-1]["ok"] else "dead_lettered"], steps
        assert any(step["what"] == "ended" and step["node"] == "hook.0" for step in steps) == (frame in events)
    counts = stored(tmp_path)
    for edge in (("cam", "buf"), ("buf", "eye"), ("eye", "hook")):
        assert counts[edge] == edges[edge]["delivered"] + edges[edge]["dead_lettered"], (edge, edges[edge])
    poison = next(frame for frame, notes in attempts.items() if not notes[-1]["ok"])
    done = run_detektr("trace", poison, "--json")
    answer = json.loads(done.stdout)
    assert "no such track" in json.dumps(answer) and answer["steps"][0]["what"] == "captured"
    by_number = {step["time"] for step in trace(f"cam/{answer['sequence']}")["steps"]}
    assert len(by_number) > 3 and by_number <= {step["time"] for step in answer["steps"]}
    rows = run_detektr("audit", "query", "told", "--outcome", "dead_lettered", "--json").stdout.splitlines()
    lost = json.loads(rows[0])
    assert (lost["from"].rpartition(".")[0], lost["to"], lost["delivery"]) == ("buf", "eye", 2)
    assert "audit sqlite:" in run_detektr("status", "told", "--run", "last").stdout


def check_work(steps: list[dict[str, Any]], notes: list[dict[str, Any]]) -> None:
    """Each attempt that the code wrote down lies within one that the trail has."""
    mine = [step for step in steps if step.get("edge") == "buf->eye" and step["node"].startswith("eye.")]
    began = [seconds(step) for step in mine if step["what"] == "began"]
    ended = [seconds(step) for step in mine if step["what"] == "ended"]
    for note in notes:
        around = [
            (begin, end)
            for begin, end in zip(began, ended, strict=True)
            if begin - 0.005 <= note["begun"] and note["ended"] <= end + 0.005
        ]
        # The replica of an earlier one may have died. Two attempts may both be so near, as each takes 4 ms.
        assert note is not notes[-1] or (began[-1], ended[-1]) in around, (note, steps)


def stored(folder: Path) -> dict[tuple[str, str], int]:
    """Return how many frames or events each edge has told the end of, each once."""
    found = defaultdict(set)
    for path in segment_paths(folder / "audit.db", "told"):
        with closing(sqlite3.connect(path)) as database:
            query = (
                "SELECT edges.producer, edges.consumer, stream, seq, event FROM life JOIN edges ON edge = edges.id"
                " JOIN outcomes ON outcome = outcomes.id WHERE outcomes.name != 'failed'"
            )
            for producer, consumer, *frame in database.execute(query):
                name = (producer, *frame) if frame[-1] is not None else tuple(frame)
                found[producer.rpartition(".")[0], consumer].add(name)
    return {edge: len(names) for edge, names in found.items()}


def test_what_a_slow_reader_lost_is_told_while_the_run_goes_on_and_nothing_of_what_went_well(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    nodes = graph(tmp_path)
    nodes["cam"]["when_full"] = "drop-oldest"
    nodes["buf"] |= {"when_full": "drop-newest", "high_water_mark": 1}
    nodes["eye"]["with"]["busy_s"] = 0.05
    with RunningPipeline(tmp_path, "told", nodes, audit="sqlite:audit.db") as run:
        run.wait_delivered("buf", "eye", 10)

        def drops() -> list[dict[str, Any]]:
            try:
                return query("told", outcome="dropped")
            except DetektrError:
                return []

        wait_until(drops, 20, "drops in the trail")
        report = run.end()
    edges = {edge["to"]: edge for edge in report["edges"]}
    told = query("told", outcome="queue_full")
    assert sum(row["frames"] for row in told if row["to"] == "eye") == edges["eye"]["dropped"]["queue_full"]
    assert not query("told", outcome="delivered")
    row = next(row for row in told if row["to"] == "eye")
    steps = trace(f"cam/{row['sequence']}")["steps"]
    assert [(step["what"], step["reason"]) for step in steps] == [("dropped", "queue_full")]


def test_a_pipeline_into_redis_fills_the_streams_of_the_old_runbook_and_loses_nothing_while_redis_is_away(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    folder = tmp_path / "redis"
    folder.mkdir()
    with run_redis(folder) as server:
        audit = {"to": server.url, "frames": "all", "prefix": "shop:"}
        with RunningPipeline(tmp_path, "told", graph(tmp_path), audit=audit) as run:
            run.wait_delivered("buf", "eye", 50, within_s=40)
            server.kill()
            run.wait_delivered("buf", "eye", 250, within_s=40)
            server.start()
            with server.client() as client:
                wait_until(lambda: client.xlen("shop:frames:metadata") > 100, 40, "rows in Redis again")
                report = run.end(None, within_s=60)
                assert report["unaccounted"] == 0
                edges = {edge["to"]: edge for edge in report["edges"]}
                lengths = {name: client.xlen(f"shop:frames:{name}") for name in ("metadata", "buffered", "results")}
                outcomes = [fields["outcome"] for _, fields in client.xrange("shop:frames:buffered")]
                assert client.xlen("shop:ops:events") > 10
        assert lengths["metadata"] == edges["buf"]["delivered"] == FRAMES
        assert lengths["results"] == edges["hook"]["delivered"]
        assert outcomes.count("delivered") == edges["eye"]["delivered"]
        assert outcomes.count("dead_lettered") == edges["eye"]["dead_lettered"] > 0
        frame = noted(tmp_path / "eye")[200]["frame"]
        steps = trace(frame)["steps"]
        assert [step["what"] for step in steps if step.get("edge") == "cam->buf"] == ["queued", "leased", "delivered"]
        assert len(query("told", outcome="dead_lettered")) == edges["eye"]["dead_lettered"]
