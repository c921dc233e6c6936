"""From a real file to processors: every frame, in order, bit for bit, in place; and the shipped pipeline."""

from __future__ import annotations

import json
import os
import sqlite3
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml

from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import MakeClip, RunDetektr

HERE = Path(__file__).parent
SHIPPED = HERE.parents[1] / "pipeline.yaml"
FRAMES = 192


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the nodes find `eyes`."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]))


def processor(path: Path, use: str = "eyes:Sums", **more: Any) -> dict[str, Any]:
    """Describe a processor that writes to `path`."""
    return {"kind": "processor", "input": "buffer", "use": use, "with": {"path": str(path)}, **more}


def lines(path: Path) -> list[Any]:
    """Return the JSON lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_clip_through_three_processors_every_frame_once_in_order_bit_for_bit(
    tmp_path: Path, make_clip: MakeClip, eyes: None
) -> None:
    import av

    clip = make_clip(tmp_path / "clip.mp4", frames=FRAMES, width=642, height=362)
    with av.open(str(clip)) as container:
        sums = []
        for frame in container.decode(video=0):
            padded = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(-1, frame.planes[0].line_size)
            sums.append(int(padded[: frame.height, : frame.width].sum(dtype=np.int64)))
    assert len(sums) == FRAMES
    nodes = {
        "camera": {"kind": "capture", "source": str(clip)},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 16, "when_full": "block"},
        "one": processor(tmp_path / "one"),
        "two": processor(tmp_path / "two", replicas=2),
        "three": processor(tmp_path / "three"),
    }
    with RunningPipeline(tmp_path, "clip", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert all((edge["offered"], edge["delivered"]) == (FRAMES, FRAMES) for edge in report["edges"])
    for name in ("one", "three"):
        noted = lines(tmp_path / name)
        assert [note[0] for note in noted] == list(range(FRAMES))
        assert [note[1] for note in noted] == sums
    noted = lines(tmp_path / "two")
    assert [note[1] for note in sorted(noted)] == sums
    for pid in {note[2] for note in noted}:
        own = [note[0] for note in noted if note[2] == pid]
        assert own == sorted(own), "a replica sees sequences in increasing order"


def test_file_that_pauses_keeps_nothing_back_meanwhile(tmp_path: Path, eyes: None) -> None:
    # 20 pictures in 40 ms, and the next one an hour later.
    times = "settb=1/1000,setpts=if(lt(N\\,20)\\,N*2\\,3600000),realtime=limit=7200"
    nodes = {
        "camera": {"kind": "capture", "source": f"lavfi:testsrc2=size=64x48:rate=500,{times}"},
        "buffer": {"kind": "buffer", "input": "camera", "when_full": "block"},
        "sums": processor(tmp_path / "sums"),
    }
    with RunningPipeline(tmp_path, "pauses", nodes) as run:
        run.wait_delivered("buffer", "sums", 20)
        report = run.end()
    assert report["unaccounted"] == 0
    assert [note[0] for note in lines(tmp_path / "sums")] == list(range(20))


def test_pixels_are_a_read_only_view_of_shared_memory(tmp_path: Path, clip: Path, eyes: None) -> None:
    nodes = {
        "camera": {"kind": "capture", "source": str(clip)},
        "buffer": {"kind": "buffer", "input": "camera", "when_full": "block"},
        "eyes": processor(tmp_path / "facts", "eyes:Whereabouts"),
    }
    with RunningPipeline(tmp_path, "view", nodes) as run:
        run.end(None)
    facts = lines(tmp_path / "facts")
    assert facts
    for one in facts:
        assert one["mapping"].startswith("/dev/shm/") and one["mapping"].endswith(".ring")
        assert not one["is_writeable"] and not one["owns_data"] and one["gray_is_view"]
        assert "read-only" in one["refusal"]


def test_shipped_pipeline_runs_for_its_time_and_accounts_for_every_frame(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    text = SHIPPED.read_text()
    shipped = yaml.safe_load(text)
    shipped["metrics"]["port"] = 0
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump(shipped, sort_keys=False))
    done = run_detektr("pipeline", "up", "--for", "2s", "--report", "report.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "unaccounted: 0" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    edges = {(edge["from"], edge["to"]): edge for edge in report["edges"]}
    assert edges["camera", "buffer"]["offered"] >= 30
    assert edges["buffer", "motion"]["offered"] == edges["camera", "buffer"]["delivered"]
    events = lines(tmp_path / "events.jsonl")
    assert edges["motion", "events"]["delivered"] == len(events) > 0
    assert events[0]["data"]["state"] == "began"
    with sqlite3.connect(tmp_path / "audit.db") as audit:
        kinds = {row[0] for row in audit.execute("select event from records")}
    assert "NodeStateChanged" in kinds


def test_scrape_of_a_running_pipeline_adds_up_on_every_edge(tmp_path: Path, clip: Path, eyes: None) -> None:
    nodes = {
        "camera": {"kind": "capture", "source": str(clip), "loop": True},
        "buffer": {"kind": "buffer", "input": "camera", "high_water_mark": 4, "when_full": "drop-oldest"},
        "sums": processor(tmp_path / "sums"),
    }
    with RunningPipeline(tmp_path, "scraped", nodes, metrics={"port": 0}) as run:
        run.wait_delivered("buffer", "sums", 50)
        address = run.status()["metrics"]
        for _ in range(20):
            with urllib.request.urlopen(address, timeout=5) as answer:
                text = answer.read().decode()
            for edge in (("camera", "buffer"), ("buffer", "sums")):
                offered, others = terms(text, *edge)
                assert offered == others > 0
        report = run.end()
    assert report["unaccounted"] == 0


def terms(text: str, producer: str, consumer: str) -> tuple[float, float]:
    """Return what a scrape says was offered on an edge, and the sum of what became of it."""
    offered, others = 0.0, 0.0
    accounted = ("delivered", "dropped", "dead_lettered", "queued", "in_flight")
    for line in text.splitlines():
        if line.startswith("detektr_edge_") and f'from="{producer}"' in line and f'to="{consumer}"' in line:
            name, value = line.split("{")[0].removeprefix("detektr_edge_"), float(line.rsplit(" ", 1)[1])
            if name.startswith("offered"):
                offered += value
            elif name.startswith(accounted) and "created" not in name:
                others += value
    return offered, others
