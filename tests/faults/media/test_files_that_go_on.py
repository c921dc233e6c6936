"""A capture that died in the middle of a file: its successor goes on behind the last picture, and repeats none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import MakeClip

FRAMES = 600
NOTE = """
import time

def note(frame, path):
    with open(path, "a") as file:
        file.write(f"{frame.pts}\\n")
    time.sleep(0.003)
"""


@pytest.mark.thorough
def test_pictures_of_a_file_whose_capture_was_killed_come_once(make_clip: MakeClip, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", frames=FRAMES, width=64, height=48)
    (tmp_path / "mine.py").write_text(NOTE)
    nodes = {
        "cam": {"kind": "capture", "source": "clip.mp4", "restart": {"backoff": "10ms..20ms"}},
        "note": {"kind": "processor", "input": "cam", "use": "mine:note", "with": {"path": str(tmp_path / "pts")}},
    }
    with RunningPipeline(tmp_path, "once", nodes) as run:
        run.wait_delivered("cam", "note", 100)
        run.kill("cam")
        report = run.end(None)
    shown = [int(line) for line in (tmp_path / "pts").read_text().split()]
    [edge] = report["edges"]
    assert len(shown) == len(set(shown)), "none twice"
    assert shown == sorted(shown)
    assert len(shown) == edge["delivered"] == FRAMES - sum(edge["dropped"].values()), run.tail()
    assert sum(edge["dropped"].values()) == edge["dropped"].get("capture_died", 0) < 20
