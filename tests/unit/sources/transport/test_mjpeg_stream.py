"""JPEG pictures pushed over HTTP by cameras that FFmpeg's own reader takes too literally, and browsers do not."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detektr.options import CaptureOptions
from detektr.sources import open_source
from detektr.sources.transport.mjpeg_stream import PICTURE_BYTES_MAX, JpegScanner
from detektr.tooling.probe import probe

COUNT = 8


def jpeg(shade: int) -> bytes:
    encoder: Any = av.CodecContext.create("mjpeg", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, "yuvj420p", Fraction(1, 25)
    noise = np.random.default_rng(shade).integers(0, 16, (48, 64), dtype=np.uint8) + np.uint8(shade)
    picture = av.VideoFrame.from_ndarray(noise, "gray").reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*encoder.encode(picture), *encoder.encode()])


PICTURES = [jpeg(20 + 10 * number) for number in range(COUNT)]
TYPE = b"Content-Type: image/jpeg"


def part(picture: bytes, *, length: int | None = None, boundary: bytes = b"--frame\r\n", kind: bytes = TYPE) -> bytes:
    told = b"" if length is None else b"\r\nContent-Length: %d" % length
    return boundary + kind + told + b"\r\n\r\n" + picture + b"\r\n"


def whole(change: int = 0) -> bytes:
    return b"".join(part(picture, length=len(picture) + change) for picture in PICTURES)


FRAME = "multipart/x-mixed-replace; boundary=frame"
STREAMS = {
    "as it should be": (FRAME, whole()),
    "no first boundary": (FRAME, whole()[len(b"--frame\r\n") :]),
    "a picture first": (FRAME, PICTURES[0] + b"\r\n" + whole()[len(part(PICTURES[0], length=len(PICTURES[0]))) :]),
    "length too small": (FRAME, whole(-100)),
    "length too large": (FRAME, whole(100)),
    "length for ever": (FRAME, whole(10**9)),
    "no length": (FRAME, b"".join(part(picture) for picture in PICTURES)),
    "no type": (FRAME, b"".join(b"--frame\r\nX-Timestamp: 1\r\n\r\n" + picture + b"\r\n" for picture in PICTURES)),
    "another boundary": (FRAME.replace("frame", "other"), whole()),
    "no boundary told": ("multipart/x-mixed-replace", whole()),
    "sound between": (
        FRAME,
        b"".join(part(picture) + part(b"a" * 500, kind=b"Content-Type: audio/basic") for picture in PICTURES),
    ),
    "pictures alone": ("video/x-motion-jpeg", b"".join(PICTURES)),
}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, content = STREAMS[self.path.strip("/").replace("_", " ").partition("?")[0]]
            self.send_response(200)
            self.send_header("Content-Type", kind)
            if self.path.endswith("?limited"):
                self.send_header("Content-Length", "100")
            self.end_headers()
            try:
                self.wfile.write(content)
            except OSError:
                return  # whoever asked only wanted to know what it is

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("name", [*STREAMS, "as it should be?limited"])
def test_every_picture_of_a_camera_that_browsers_show_is_captured(address: str, name: str) -> None:
    source = open_source(CaptureOptions(source=f"{address}/{name.replace(' ', '_')}"), Path())
    shades = []
    for picture in islice(source.pictures(), COUNT):
        slot = np.zeros(picture.layout.nbytes, np.uint8)
        picture.write(slot)
        shades.append(round(float(slot[: 64 * 48].mean())))
    source.close()
    assert shades == pytest.approx([27 + 10 * number for number in range(COUNT)], abs=2)
    assert source.corrupt == 0 and source.mode == "mjpeg over http, software decoder"


def test_probe_reads_such_a_camera_too(address: str) -> None:
    survey = probe(f"{address}/no_first_boundary", 1).survey
    assert (survey.codec, survey.width, survey.height, survey.pictures) == ("mjpeg", 64, 48, COUNT)


@given(st.lists(st.integers(1, 3000), max_size=40), st.sampled_from(list(STREAMS)))
def test_pictures_are_the_same_in_whatever_pieces_they_come(sizes: list[int], name: str) -> None:
    content, scanner, found = STREAMS[name][1], JpegScanner(), []
    for size in sizes:
        found += scanner.feed(content[:size])
        content = content[size:]
    found += scanner.feed(content)
    assert found == PICTURES


@given(st.binary(max_size=300).map(lambda junk: b"\xff\xd8\xff" + junk))
def test_whatever_comes_no_picture_is_found_twice_and_none_without_bytes(junk: bytes) -> None:
    found = JpegScanner().feed(junk + PICTURES[0] + PICTURES[1])
    assert all(picture.startswith(b"\xff\xd8\xff") for picture in found)
    assert sum(map(len, found)) <= len(junk) + len(PICTURES[0]) + len(PICTURES[1]) + 2 * len(found)


def test_a_picture_that_breaks_off_is_handed_out_up_to_the_boundary_and_costs_no_other() -> None:
    broken = PICTURES[1][: len(PICTURES[1]) // 2]
    found = JpegScanner().feed(part(PICTURES[0]) + part(broken) + part(PICTURES[2]))
    assert found == [PICTURES[0], broken + b"\xff\xd9", PICTURES[2]]


def test_a_small_picture_within_a_picture_is_no_picture_of_its_own() -> None:
    thumbnail = b"\xff\xe1" + (2 + len(PICTURES[3])).to_bytes(2, "big") + PICTURES[3]
    outer = PICTURES[0][:2] + thumbnail + PICTURES[0][2:]
    assert JpegScanner().feed(outer + PICTURES[1]) == [outer, PICTURES[1]]


def test_a_picture_without_end_is_let_go_before_it_fills_the_memory() -> None:
    scanner = JpegScanner()
    begin = PICTURES[0][:-2]
    assert scanner.feed(begin + bytes(PICTURE_BYTES_MAX)) == []
    assert scanner.feed(PICTURES[1]) == [PICTURES[1]]
