from __future__ import annotations

from pathlib import Path

import pytest

from detektr.config.load import load_pipeline
from detektr.config.plan_text import describe_outages

FILE = """name: demo
nodes:
  door: {kind: capture, source: clip.mp4, fps: 10}
  yard: {kind: capture, source: clip.mp4, RATE}
  queue: {kind: buffer, input: [door, yard]}
  see: {kind: processor, input: {from: queue, FILTER}, use: motion, replicas: REPLICAS}
  hook: {kind: sink, input: see, use: jsonl, with: {path: x.jsonl}, retry: {backoff: 1s..60s, for: 1h}}
  log: {kind: sink, input: see, use: jsonl, with: {path: y.jsonl}}
"""


def told(tmp_path: Path, rate: str, wanted: str = "max_age: 10s", replicas: int = 1) -> str:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE.replace("RATE", rate).replace("FILTER", wanted).replace("REPLICAS", str(replicas)))
    pipeline = load_pipeline(path, {})
    (line,) = describe_outages(pipeline.graph, pipeline.options.nodes)
    return line


@pytest.mark.parametrize(
    ("rate", "wanted", "span"),
    [
        ("fps: 6", "max_age: 10s", "16 s at 16 frames/s"),
        ("fps: 6", "fps: 8", "18 s at 14 frames/s"),
        ("fps: 6", "cameras: yard", "43 s at 6 frames/s"),
        ("loop: false", "fps: 2", "64 s at 4 frames/s"),
        ("loop: false", "cameras: door", "26 s at 10 frames/s"),
    ],
)
def test_validate_says_how_long_an_outage_fits(tmp_path: Path, rate: str, wanted: str, span: str) -> None:
    line = told(tmp_path, rate, wanted)
    assert line.startswith(f"  hook can be down while 256 events of see wait ({span} with one event each), in 2.0 MiB")
    assert line.endswith("; then see waits (block)")


def test_each_replica_has_a_mark_of_its_own(tmp_path: Path) -> None:
    assert "while 512 events of see wait (32 s at 16 frames/s with one event each), in 4.1 MiB" in told(
        tmp_path, "fps: 6", replicas=2
    )


def test_a_rate_that_nobody_says_is_not_guessed(tmp_path: Path) -> None:
    assert "(for how long is not known, as no `fps` of a capture says the rate)" in told(tmp_path, "loop: false")
