"""HTTP from a real server: files and playlists that are served, streams that go on, and what is not there."""

from __future__ import annotations

import functools
import http.server
import re
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
from tests.harness.effort import alike
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


@pytest.mark.parametrize(
    "name", ["cam.m3u8", "cam.mp4", "cam.ts", *map(alike, ("cam.mkv", "cam.avi", "cam.flv", "fragments.mp4"))]
)
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


def test_live_playlist_that_comes_to_its_end_is_over_and_not_played_again(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("ending")
    options = {"hls_time": "1", "hls_list_size": "0", "hls_flags": "omit_endlist"}
    remux(make_clip(folder / "made.mp4", seconds=SECONDS, fps=FPS), folder / "cam.m3u8", options)
    handler = functools.partial(Quiet, directory=str(folder))
    (tmp_path / "mine.py").write_text("def look(frame):\n    pass\n")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        nodes = {
            "cam": {"kind": "capture", "source": f"http://127.0.0.1:{server.server_port}/cam.m3u8"},
            "look": {"kind": "processor", "input": "cam", "use": "mine:look"},
        }
        try:
            with RunningPipeline(tmp_path, "ending", nodes) as run:
                run.wait_delivered("cam", "look", 1)
                with (folder / "cam.m3u8").open("a") as playlist:
                    playlist.write("#EXT-X-ENDLIST\n")
                report = run.end(None)
        finally:
            server.shutdown()
            thread.join()
    [edge] = report["edges"]
    assert 0 < edge["delivered"] <= 2 * FPS, run.tail()


def test_playlist_that_goes_on_is_a_live_stream(address: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/going_on.m3u8"), Path())
    next(source.pictures())
    source.close()
    assert source.is_live


@pytest.mark.parametrize(
    ("stream", "height", "name"),
    [
        ("best", 480, "high"),
        ("240p", 240, "middle"),
        ("400p", 240, "middle"),
        ("60p", 120, "low"),
        ("700k", 240, "middle"),
        ("#0", 120, "low"),
    ],
)
def test_of_a_master_playlist_the_best_or_the_one_asked_for_is_read_and_no_other(
    variants: tuple[str, list[str]], stream: str, height: int, name: str
) -> None:
    address, asked = variants
    asked.clear()
    source = open_source(CaptureOptions(source=f"{address}/master.m3u8", stream=stream), Path())
    heights = [picture.layout.height for picture in source.pictures()]
    assert heights == [height] * (FPS * 3)
    assert {re.sub(r"[0-9]*\.\w+$", "", Path(path).name) for path in asked} == {"master", name}


def test_variant_that_is_not_there_is_refused_with_those_there_are(variants: tuple[str, list[str]]) -> None:
    source = open_source(CaptureOptions(source=f"{variants[0]}/master.m3u8", stream="#7"), Path())
    with pytest.raises(SourceError, match=r"no video stream #7; it has #0 160x120 200k, #1 .*; write `stream: best`"):
        list(source.pictures())


@pytest.fixture(scope="module")
def variants(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    folder, asked = tmp_path_factory.mktemp("variants"), list[str]()
    lines = ["#EXTM3U"]
    for name, height, kbit in (("low", 120, 200), ("high", 480, 1500), ("middle", 240, 600)):
        clip = make_clip(folder / f"{name}.mp4", width=height * 4 // 3, height=height, seconds=3, fps=FPS)
        remux(clip, folder / f"{name}.m3u8", {"hls_time": "1", "hls_list_size": "0"})
        lines += [f"#EXT-X-STREAM-INF:BANDWIDTH={kbit}000,RESOLUTION={height * 4 // 3}x{height}", f"{name}.m3u8"]
    (folder / "master.m3u8").write_text("\n".join(lines))

    class Noting(Quiet):
        def do_GET(self) -> None:
            asked.append(self.path)
            super().do_GET()

    handler = functools.partial(Noting, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_playlist_that_is_not_there_is_not_found(address: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/other.m3u8"), Path())
    with pytest.raises(SourceError, match="404") as refused:
        list(source.pictures())
    assert refused.value.state == "not_found"
