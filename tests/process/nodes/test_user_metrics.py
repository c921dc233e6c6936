"""Numbers of the user's own over HTTP, of real pipelines whose processes are killed; and drops by camera."""

from __future__ import annotations

import signal
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from detektr.memory.run_folder import RunFolder
from tests.harness.running import RunningPipeline

CODE = """
import os, threading
from detektr import Frame, Processor, Sink, Source, metrics
import numpy as np

seen = metrics.counter("seen", "Frames seen.", labels=["camera"])

class Look(Processor):
    def __init__(self) -> None:
        self.took = metrics.histogram("took_seconds", "Time of the model.", buckets=[0.1, 1])

    def open(self) -> None:
        self.level = metrics.gauge("level", "Mean of the picture.", labels=["camera"])

    def process(self, frame: Frame) -> dict:
        seen.inc(camera=frame.camera)
        self.took.observe(0.5)
        self.level.set(float(frame.gray.mean()), camera=frame.camera)
        metrics.counter("late", "Made when it is first needed.").inc()
        if frame.sequence == 5:
            child = os.fork()
            if not child:
                seen.inc(1000, camera=frame.camera)
                os._exit(0)
            os.waitpid(child, 0)
            thread = threading.Thread(target=lambda: seen.inc(camera="thread"))
            thread.start()
            thread.join()
        return {"n": frame.sequence}

class Count(Sink):
    def open(self) -> None:
        self.written = metrics.counter("written_total", "Events written.", labels=["camera"])

    def write(self, event: dict) -> None:
        self.written.inc(camera=event["camera"])

class Still(Source):
    def __iter__(self):
        made = metrics.counter("made", "Pictures made.")
        for number in range(8):
            made.inc()
            yield np.full((16, 16), number, np.uint8)
        threading.Event().wait()  # the node stays, to be scraped

class Slow(Processor):
    def process(self, frame: Frame) -> None:
        threading.Event().wait(0.02)
"""
SOURCE = "python:counting:Still"


def scrape(url: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text = answer.read().decode()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "pipeline"}
            found[sample.name, tuple(sorted(labels.items()))] = sample.value
    return found


def get(url: str, name: str, **labels: str) -> float | None:
    labels = {label.rstrip("_"): value for label, value in labels.items()}
    return scrape(url).get((f"detektr_{name}", tuple(sorted(labels.items()))))


def test_what_user_code_counts_stands_on_the_endpoint_and_a_kill_loses_none_of_it(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(CODE)
    nodes: dict[str, Any] = {
        "door": {"kind": "capture", "source": SOURCE, "drain": "500ms"},
        "look": {"kind": "processor", "input": "door", "use": "counting:Look"},
        "count": {"kind": "sink", "input": "look", "use": "counting:Count"},
    }
    with RunningPipeline(tmp_path, "counted", nodes, metrics={"port": 0}) as run:
        run.wait_delivered("look", "count", 8)
        url = run.status()["metrics"]
        of = {"node": "look", "replica": "0"}
        assert get(url, "user_seen_total", camera="door", **of) == 8, "what a forked child counts is its own"
        assert get(url, "user_seen_total", camera="thread", **of) == 1
        assert get(url, "user_late_total", **of) == 8
        assert get(url, "user_level", camera="door", **of) == 7
        assert get(url, "user_took_seconds_bucket", le="1.0", **of) == 8
        assert get(url, "user_took_seconds_count", **of) == 8
        assert get(url, "user_written_total", camera="door", node="count", replica="0") == 8
        assert get(url, "user_made_total", node="door", replica="0") == 8
        assert get(url, "node_user_metrics_overflowed_total", **of) == 0
        before = run.kill("look", signal.SIGKILL)
        run.wait(lambda: run.pids("look") not in ([], [before]), what="a successor")
        run.wait(lambda: run.status()["nodes"]["look"]["state"] == "running", what="that it works")
        assert get(url, "user_seen_total", camera="door", **of) == 8
        assert get(url, "user_took_seconds_sum", **of) == 4
        assert get(url, "user_level", camera="door", **of) is None, "a gauge of a dead process is shown"
        files = sorted(path.name for path in RunFolder(run.name).path.glob("*.metrics"))
        assert files == ["count.0.metrics", "door.0.metrics", "look.0.metrics"]
    assert run.exit_code in (0, 143)


def test_drops_of_a_buffer_say_of_which_camera_and_add_up(tmp_path: Path) -> None:
    (tmp_path / "counting.py").write_text(CODE)
    source = "lavfi:testsrc2=size=64x48:rate=50"
    nodes: dict[str, Any] = {
        "door": {"kind": "capture", "source": source, "realtime": True},
        "yard": {"kind": "capture", "source": source, "realtime": True},
        "buffer": {"kind": "buffer", "input": ["door", "yard"], "when_full": "drop-oldest", "high_water_mark": 2},
        "slow": {"kind": "processor", "input": {"from": "buffer", "cameras": ["yard"]}, "use": "counting:Slow"},
    }
    with RunningPipeline(tmp_path, "dropping", nodes, metrics={"port": 0}) as run:
        edge = run.wait(
            lambda: (one := run.edge("buffer", "slow")).get("dropped", {}).get("queue_full", 0) > 20 and one,
            what="drops",
        )
        assert edge["dropped_by_camera"]["door"] == {"filtered": edge["dropped"]["filtered"]}
        assert edge["dropped_by_camera"]["yard"] == {"queue_full": edge["dropped"]["queue_full"]}
        found = scrape(run.status()["metrics"])
        of = {"from": "buffer", "to": "slow"}
        dropped = {
            labels: count
            for (name, labels), count in found.items()
            if name == "detektr_edge_dropped_total" and of.items() <= dict(labels).items()
        }
        cameras = {dict(labels).get("camera") for labels, count in dropped.items() if count}
        assert cameras == {"door", "yard"}
        terms = ("delivered_total", "dead_lettered_total", "queued", "in_flight")
        others = sum(found[f"detektr_edge_{term}", tuple(sorted(of.items()))] for term in terms)
        assert found["detektr_edge_offered_total", tuple(sorted(of.items()))] == others + sum(dropped.values())
        assert not any(
            "camera" in dict(labels) for name, labels in found if dict(labels).get("from") in ("door", "yard")
        ), "a capture has one camera"
    report = run.end(None)
    assert report["unaccounted"] == 0
    [edge] = [edge for edge in report["edges"] if edge["from"] == "buffer"]
    counts = edge["dropped_by_camera"].values()
    assert {reason: sum(each.get(reason, 0) for each in counts) for reason in edge["dropped"]} == edge["dropped"]
