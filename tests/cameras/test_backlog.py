"""Old pictures are not shown as new ones: after opening, after a stall, and to who is slow. Against real servers."""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from detektr.options import CaptureOptions
from detektr.sources import OpenedSource, open_source
from detektr.sources.transport.packet_queue import LATE_NS_MAX
from tests.cameras.rtsp_servers import RtspServer, make_clip, stream_camera
from tests.harness.running import RunningPipeline

FPS = 10
SLACK_S = 0.25  # how unpunctual a busy machine is
LATE_S_MAX = LATE_NS_MAX / 1e9 + SLACK_S


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_clip(folder / "cam.mp4", seconds=20, fps=FPS)
    make_clip(folder / "unkeyed.mp4", seconds=20, fps=FPS, gop=1000)
    return folder


def camera(url: str, **options: Any) -> OpenedSource:
    return open_source(CaptureOptions(source=url, **options), Path())


def lateness_s(times: list[tuple[float, float]]) -> list[float]:
    """Return how much later each picture came than the most punctual one.

    Args:
        times: (moment in the stream, monotonic time at which it was handed over), in seconds.
    """
    offsets = [handed_s - moment_s for moment_s, handed_s in times]
    return [offset - min(offsets) for offset in offsets]


def watch(source: OpenedSource, limit: int, at: int = 0, then: Any = None) -> list[tuple[float, float]]:
    """Take pictures, doing something at one of them."""
    times = []
    for count, picture in enumerate(source.pictures(), 1):
        if picture.pts is not None and picture.time_base is not None and picture.received_ns is not None:
            times.append((float(picture.pts * picture.time_base), picture.received_ns / 1e9))
        if count == at:
            then()
        if count == limit:
            source.close()
    return times


@pytest.mark.parametrize(("clip", "skipped"), [("cam.mp4", 20), ("unkeyed.mp4", 0)])
def test_pictures_that_a_server_kept_are_left_out_and_counted(clips: Path, clip: str, skipped: int) -> None:
    with stream_camera(clips / clip, at_once_s=3.0) as url:
        source = camera(url)
        times = watch(source, 25)
    assert max(lateness_s(times)) < LATE_S_MAX
    assert skipped <= source.stale <= 3 * FPS


def test_backlog_of_probing_is_left_out(server: RtspServer) -> None:
    source = camera(server.url("cam.mp4"))
    assert max(lateness_s(watch(source, 25))) < LATE_S_MAX
    assert source.stale > 0


def test_backlog_of_a_stall_is_left_out_and_the_stream_goes_on(server: RtspServer) -> None:
    thaw = threading.Timer(3.0, server.resume)

    def freeze() -> None:
        server.stop()
        thaw.start()

    source = camera(server.url("cam.mp4"), stall_timeout="20s")
    try:
        times = watch(source, 40, at=12, then=freeze)
    finally:
        thaw.join()
    assert max(after[1] - before[1] for before, after in pairwise(times)) > 2, "it did stall"
    assert max(lateness_s(times)) < LATE_S_MAX
    assert source.stale > FPS


def test_consumer_at_a_fifth_of_the_rate_sees_pictures_no_older_than_its_queue(clips: Path, tmp_path: Path) -> None:
    mark, window, busy_s = 4, 1, 5 / FPS
    with RtspServer(clips) as server:
        nodes = {
            "cam": {"kind": "capture", "source": server.url("cam.mp4"), "high_water_mark": mark},
            "slow": {
                "kind": "processor", "input": "cam", "use": "mine:slow", "window": window,
                "with": {"path": str(tmp_path / "ages"), "busy_s": busy_s},
            },
        }  # fmt: skip
        (tmp_path / "mine.py").write_text(SLOW)
        with RunningPipeline(tmp_path, "slow", nodes) as run:
            run.wait_delivered("cam", "slow", 12, within_s=40)
            report = run.end()
    assert report["unaccounted"] == 0, run.tail()
    ages_s = [float(line) for line in (tmp_path / "ages").read_text().split()][:12]  # the drain's are older
    assert len(ages_s) == 12
    assert max(ages_s) < (mark + 1) / FPS + 4 * SLACK_S, "not growing"
    [edge] = report["edges"]
    assert edge["dropped"]["queue_full"] > 12


SLOW = """
import time

def slow(frame, path, busy_s):
    with open(path, "a") as file:
        file.write(f"{frame.age_ns / 1e9}\\n")
    time.sleep(busy_s)
"""
