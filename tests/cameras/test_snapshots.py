"""One picture at a URL, as many cameras have it: asked for at `fps` over one connection, with a password or not."""

from __future__ import annotations

import base64
import http.server
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.sources import open_source

CHALLENGE = 'Digest realm="cam", nonce="0a4f113b", qop="auth", algorithm=MD5'


def jpeg(shade: int) -> bytes:
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    picture = av.VideoFrame.from_ndarray(np.full((48, 64), shade, np.uint8), "gray").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode()])


class Camera:
    """A picture that is lighter each time, and how it was asked for."""

    def __init__(self) -> None:
        self.connections = 0
        self.asked = itertools.count()
        self.answers: Callable[[Any], bool] = lambda handler: True


@contextmanager
def served(camera: Camera) -> Iterator[str]:
    pictures = [jpeg(20 + 8 * number) for number in range(25)]

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            camera.connections += 1

        def do_GET(self) -> None:
            if self.path != "/cgi-bin/snapshot.cgi?channel=1":
                self.send_error(404)
                return
            if not camera.answers(self):
                return
            content = pictures[min(next(camera.asked), len(pictures) - 1)]
            self.send_response(200)
            self.send_header("Content-Type", "image/jpeg")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}/cgi-bin/snapshot.cgi?channel=1"
        finally:
            server.shutdown()
            thread.join()


def shades(url: str, count: int, **options: Any) -> tuple[list[int], Any]:
    source = open_source(CaptureOptions(source=url, **options), Path())
    seen = []
    for picture in islice(source.pictures(), count):
        slot = np.zeros(picture.layout.nbytes, np.uint8)
        picture.write(slot)
        seen.append(int(slot[0]))
    source.close()
    return seen, source


def test_picture_at_a_url_is_asked_for_again_over_one_connection() -> None:
    camera = Camera()
    with served(camera) as place:
        seen, source = shades(f"http://{place}", 8, fps=50)
    assert seen == sorted(set(seen)), "each of them is another one"
    assert (source.is_live, source.thinned, source.corrupt) == (True, 0, 0)
    assert source.mode.startswith("mjpeg snapshots over http")
    assert camera.connections == 3, "one that asks whether pictures are pushed, FFmpeg's, and that of the snapshots"


def test_camera_that_closes_after_each_picture_is_asked_again() -> None:
    camera = Camera()

    def close(handler: Any) -> bool:
        handler.close_connection = True
        return True

    camera.answers = close
    with served(camera) as place:
        seen, _ = shades(f"http://{place}", 4, fps=50)
    assert len(set(seen)) == 4


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_snapshots_of_a_camera_with_a_password(scheme: str) -> None:
    camera = Camera()

    def knows(handler: Any) -> bool:
        told = handler.headers.get("Authorization", "")
        if scheme == "Basic":
            is_known: bool = told == f"Basic {base64.b64encode(b'me:p@ss').decode()}"
        else:
            is_known = told.startswith("Digest ") and 'username="me"' in told and "response=" in told
        if not is_known:
            handler.send_response(401)
            handler.send_header("WWW-Authenticate", 'Basic realm="cam"' if scheme == "Basic" else CHALLENGE)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        return is_known

    camera.answers = knows
    with served(camera) as place:
        seen, _ = shades(f"http://me:p%40ss@{place}", 4, fps=50)
        assert len(set(seen)) == 4
        with pytest.raises(SourceError) as refused:
            shades(f"http://{place}", 1, fps=50)
    assert refused.value.state == "unauthorized"


def test_camera_that_stops_giving_pictures_is_a_disconnect_in_words() -> None:
    camera = Camera()

    def three(handler: Any) -> bool:
        is_well = next(asked) < 3
        if not is_well:
            handler.send_error(503)
        return is_well

    asked = itertools.count()
    camera.answers = three
    with served(camera) as place, pytest.raises(SourceError, match="the server answered 503"):
        shades(f"http://{place}", 9, fps=50)
