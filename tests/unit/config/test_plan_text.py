from __future__ import annotations

from pathlib import Path

from detektr.config.load import load_pipeline
from detektr.config.plan_text import describe_plan

FILE = """name: demo
nodes:
  cam: {kind: capture, source: clip.mp4}
  all: {kind: processor, input: cam, use: motion}
  few: {kind: processor, input: [{from: cam, fps: 3, max_age: 500ms}], use: motion}
"""


def test_an_edge_with_terms_of_its_own_is_told_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE)
    told = describe_plan(load_pipeline(path, {})).splitlines()
    assert told[-1] == "  few from cam: block at 8, at most 0.5 s old, 3 fps"
    assert not any("all from" in line for line in told)


def test_replicas_that_keep_state_and_have_no_camera_are_told(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE.replace("input: cam, use: motion}", "input: cam, use: motion, replicas: 3}"))
    told = describe_plan(load_pipeline(path, {})).splitlines()
    words = "each camera's frames go to one of its 3 replicas; it has 1 camera, so 2 of them wait in reserve"
    assert f"  all: {words}" in told
