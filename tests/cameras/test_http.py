"""HTTP from a real server: files and playlists that are served, streams that go on, and what is not there."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import av
import pytest

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.sources import open_source
from tests.cameras.rtsp_servers import make_clip
from tests.harness.running import RunningPipeline

FPS, SECONDS = 10, 14  # longer than what a live stream's segments may be behind


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def remux(clip: Path, path: Path, options: dict[str, str] | None = None) -> None:
    with av.open(str(clip)) as source, av.open(str(path), "w", options=options or {}) as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    clip = make_clip(folder / "made.mp4", seconds=SECONDS, fps=FPS)
    remux(clip, folder / "cam.mp4", {"movflags": "+faststart"})
    all_segments = {"hls_time": "1", "hls_list_size": "0"}
    remux(clip, folder / "cam.m3u8", all_segments)
    remux(clip, folder / "going_on.m3u8", {**all_segments, "hls_flags": "omit_endlist"})
    make_clip(folder / "cam.avi", "mpeg4", seconds=SECONDS, fps=FPS)
    for container in ("mkv", "ts", "flv"):
        remux(clip, folder / f"cam.{container}")
    remux(clip, folder / "fragments.mp4", {"movflags": "+frag_keyframe+empty_moov+default_base_moof"})
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["cam.m3u8", "cam.mp4", "cam.mkv", "cam.ts", "cam.avi", "cam.flv", "fragments.mp4"])
def test_served_file_longer_than_a_live_stream_may_be_late_loses_none_of_its_pictures(address: str, name: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/{name}"), Path())
    assert source.is_live, "nothing is opened yet"
    times = [picture.pts for picture in source.pictures()]
    assert len(times) == FPS * SECONDS
    assert all(later > earlier for earlier, later in pairwise(filter(None, times)))
    assert (source.is_live, source.is_batch, source.stale, source.corrupt) == (False, True, 0, 0)
    assert source.mode.endswith(", a file over http")


def test_served_file_is_looped_where_that_is_asked_for(address: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/cam.mp4", loop=True), Path())
    times = [picture.pts for picture in islice(source.pictures(), 2 * FPS * SECONDS + 5)]
    source.close()
    assert len({later - earlier for earlier, later in pairwise(filter(None, times))}) == 1


def test_served_file_is_delivered_whole_to_who_is_slow_and_the_run_ends(address: str, tmp_path: Path) -> None:
    nodes = {
        "cam": {"kind": "capture", "source": f"{address}/cam.mp4"},
        "slow": {"kind": "processor", "input": "cam", "use": "mine:slow", "window": 1},
    }
    (tmp_path / "mine.py").write_text("import time\n\ndef slow(frame):\n    time.sleep(0.005)\n")
    with RunningPipeline(tmp_path, "served", nodes) as run:
        report = run.end(None)
    [edge] = report["edges"]
    assert (edge["delivered"], sum(edge["dropped"].values()), report["unaccounted"]) == (FPS * SECONDS, 0, 0), (
        run.tail()
    )


def test_playlist_that_goes_on_is_a_live_stream(address: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/going_on.m3u8"), Path())
    next(source.pictures())
    source.close()
    assert source.is_live


def test_a_playlist_that_is_not_there_is_not_found(address: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/other.m3u8"), Path())
    with pytest.raises(SourceError, match="404") as refused:
        list(source.pictures())
    assert refused.value.state == "not_found"
