"""`frame.time` in real runs: the same at every pace, and never back, whatever becomes of the capture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.following import of_camera, read_seen
from tests.harness.lane import LANES
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from detektr.options import Lane
    from tests.conftest import MakeClip


def graph(tmp_path: Path, source: str, **camera: Any) -> dict[str, Any]:
    follow = {"use": "tests.harness.following:Follow", "with": {"path": str(tmp_path / "seen")}}
    return {
        "camera": {"kind": "capture", "source": source, "when_full": "block", **camera},
        "follow": {"kind": "processor", "input": "camera", **follow},
    }


def test_a_file_has_the_same_times_at_its_own_pace_and_at_full_speed(tmp_path: Path, make_clip: MakeClip) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=30)
    times = []
    for is_realtime in (True, False):
        folder = tmp_path / str(is_realtime)
        folder.mkdir()
        with RunningPipeline(folder, "paced", graph(folder, str(clip), realtime=is_realtime)) as run:
            run.end(None)
        times.append([one.time for one in read_seen(folder / "seen")])
    assert len(times[0]) == 30 and times[0][0] == 0
    assert times[0] == times[1]


@pytest.mark.parametrize("announce", LANES)
def test_the_time_of_a_looped_file_goes_on_when_its_capture_is_killed(
    tmp_path: Path, make_clip: MakeClip, announce: Lane
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=30)
    nodes = graph(tmp_path, str(clip), loop=True, restart={"backoff": "50ms..200ms", "limit": "1000 in 1m"})
    nodes["follow"]["with"]["busy_s"] = 0.002
    with RunningPipeline(tmp_path, "looped", nodes, announce=announce) as run:
        for target in (100, 300):
            run.wait_delivered("camera", "follow", target)
            run.kill("camera")
        run.wait_delivered("camera", "follow", 500)
        report = run.end()
    assert report["unaccounted"] == 0
    seen = of_camera(read_seen(tmp_path / "seen"), "camera")
    times = [one.time for one in seen]
    assert times == sorted(times), "it went back"
    steps = [after - before for before, after in pairwise(times)]
    usual = sorted(steps)[len(steps) // 2]
    assert max(steps) < 5 + usual, "how long the capture was away is no part of a file"
    assert times[-1] > 0.8 * usual * len(times)
