"""Streams over HTTP from a real server: a playlist of segments (HLS), a plain file, and what is not there."""

from __future__ import annotations

import functools
import http.server
import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import pytest

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.sources import open_source
from tests.cameras.rtsp_servers import make_clip

FPS, SECONDS = 10, 4


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    clip = make_clip(folder / "cam.mp4", seconds=SECONDS, fps=FPS)
    with av.open(str(clip)) as source, av.open(str(folder / "cam.m3u8"), "w", options={"hls_time": "1"}) as playlist:
        stream = playlist.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                playlist.mux(packet)
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", ["cam.m3u8", "cam.mp4"])
def test_every_picture_of_a_stream_over_http_comes_in_order_and_none_is_called_old(address: str, name: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/{name}"), Path())
    times = [picture.pts for picture in source.pictures()]
    assert len(times) == FPS * SECONDS
    assert all(later > earlier for earlier, later in pairwise(filter(None, times)))
    assert (source.is_live, source.stale, source.corrupt) == (True, 0, 0)


def test_a_playlist_that_is_not_there_is_not_found(address: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/other.m3u8"), Path())
    with pytest.raises(SourceError, match="404") as refused:
        list(source.pictures())
    assert refused.value.state == "not_found"
