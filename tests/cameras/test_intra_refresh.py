"""A camera with intra refresh, which sends one key frame and never another, and is joined later than that."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import av
import pytest

from detektr.options import CaptureOptions
from detektr.sources import open_source

FPS, KEY_INTERVAL, JOINED_AT, SECONDS = 25, 25, 5, 12
ENCODERS = {
    "libx264": {"preset": "ultrafast", "tune": "zerolatency", "x264-params": f"intra-refresh=1:keyint={KEY_INTERVAL}"},
    "libx265": {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "x265-params": f"intra-refresh=1:keyint={KEY_INTERVAL}:log-level=none",
    },
}


def transport_stream(codec: str) -> list[bytes]:
    """Return what a camera sends for each picture after the first ones."""
    file, sent = io.BytesIO(), []
    with av.open(file, "w", format="mpegts", options={"flush_packets": "1", "pat_period": "0.2"}) as container:
        stream: Any = container.add_stream(codec, rate=FPS, options=ENCODERS[codec])
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        with av.open(f"testsrc2=size=160x96:rate={FPS}", format="lavfi") as drawn:
            for number, picture in enumerate(islice(drawn.decode(video=0), FPS * SECONDS)):
                frame = picture.reformat(format="yuv420p")
                frame.pict_type, frame.pts = 0, number
                begin = file.tell()
                for packet in stream.encode(frame):
                    if number >= JOINED_AT:
                        container.mux(packet)
                sent.append(file.getvalue()[begin:])
    return [part for part in sent if part]


@contextlib.contextmanager
def camera(parts: list[bytes]) -> Iterator[str]:
    """Send one part a picture's time to who connects."""
    is_over = threading.Event()

    def send() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(ConnectionError):
            for part in parts:
                connection.sendall(part)
                if is_over.wait(1 / FPS):
                    return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=send)
        thread.start()
        try:
            yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            is_over.set()
            thread.join()


@pytest.mark.parametrize(("codec", "is_warned"), [("libx264", False), ("libx265", True)])
def test_stream_with_intra_refresh_is_shown_though_no_key_frame_comes(
    codec: str, is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    with camera(transport_stream(codec)) as url:
        source = open_source(CaptureOptions(source=url, stall_timeout="5.5s"), Path())
        pictures = list(islice(source.pictures(), FPS))
        source.close()
    assert len(pictures) == FPS
    assert ("no key frame comes" in caplog.text) is is_warned
