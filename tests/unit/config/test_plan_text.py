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


def plan(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    return describe_plan(load_pipeline(path, {})).splitlines()


def test_each_camera_is_told_with_slots_seconds_bytes_and_what_they_follow_from(tmp_path: Path) -> None:
    assert plan(tmp_path, FILE.replace("clip.mp4", "clip.mp4, fps: 10"))[1] == (
        "  cam: 20 slots (2.0 s at 10 frames/s), 59.5 MiB with its journals if its pictures are 1920x1080 yuv420p"
        "; which they are shows when it is opened: with `width` and `height` the plan is exact"
    )
    over = plan(tmp_path, f"memory: 16MiB\n{FILE}")[1]
    assert "although `memory` says 16.0 MiB: with less, frames would not flow" in over
    declared = plan(tmp_path, FILE.replace("clip.mp4", "clip.mp4, width: 64, height: 48, format: gray"))[1]
    assert declared.startswith("  cam: 28 slots (0.9 s at 30 frames/s), 0.") and declared.endswith("its journals")
    written = plan(tmp_path, FILE.replace("clip.mp4", "clip.mp4, high_water_mark: 90"))[1]
    assert "above the 64.0 MiB that a camera has where nothing is said" in written


def test_an_edge_with_terms_of_its_own_is_told_and_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE)
    told = describe_plan(load_pipeline(path, {})).splitlines()
    assert told[-1] == "  few from cam: block at 3, at most 0.5 s old, 3 fps"
    assert not any("all from" in line for line in told)


def test_replicas_that_keep_state_and_have_no_camera_are_told(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE.replace("input: cam, use: motion}", "input: cam, use: motion, replicas: 3}"))
    told = describe_plan(load_pipeline(path, {})).splitlines()
    words = "each camera's frames go to one of its 3 replicas; it has 1 camera, so 2 of them wait in reserve"
    assert f"  all: {words}" in told
