"""Sources as people write them: capitals, series, descriptions of streams, and what is none at all."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.sources import open_source
from detektr.sources.transport.ffmpeg_input import encoded
from detektr.tooling.probe import probe

if TYPE_CHECKING:
    from tests.conftest import MakeClip

AUDIO_SDP = (
    b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:*\r\n"
    b"m=audio 0 RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\na=control:trackID=1\r\n"
)


def write_picture(path: Path, value: int, width: int = 64, height: int = 48) -> None:
    with av.open(str(path), "w", format="image2", options={"update": "1"}) as container:
        stream: Any = container.add_stream("png", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        frame = av.VideoFrame.from_ndarray(np.full((height, width), value, np.uint8), format="gray")
        container.mux([*stream.encode(frame), *stream.encode()])


def grays(options: CaptureOptions, folder: Path) -> list[int]:
    source = open_source(options, folder)
    found = []
    for picture in source.pictures():
        slot = np.zeros(picture.layout.nbytes, np.uint8)
        picture.write(slot)
        found.append(int(slot[0]))
    return found


def refused(source: str, folder: Path, **more: Any) -> SourceError:
    opened = None
    with pytest.raises(SourceError) as fault:
        opened = open_source(CaptureOptions(source=source, **more), folder)
        next(opened.pictures())
    if opened is not None:
        opened.close()
    return fault.value


@contextmanager
def serving(folder: Path) -> Iterator[int]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, format: str, *arguments: Any) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def read_line(lines: IO[bytes]) -> bytes:
    """Return the next line; nothing where the other side is gone."""
    try:
        return lines.readline()
    except OSError:
        return b""


@contextmanager
def rtsp_of_sound() -> Iterator[int]:
    """A camera that offers sound alone."""

    def answer(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as lines:
            while first := read_line(lines):
                method, fields = first.split()[0], {}
                while line := read_line(lines).strip():
                    name, _, value = line.partition(b":")
                    fields[name.lower()] = value.strip()
                body = AUDIO_SDP if method == b"DESCRIBE" else b""
                head = (
                    b"RTSP/1.0 200 OK\r\nSession: 1\r\nPublic: DESCRIBE, SETUP, PLAY, TEARDOWN\r\nCSeq: "
                    + fields[b"cseq"]
                )
                head += b"\r\nTransport: " + fields.get(b"transport", b"-") + b"\r\nContent-Type: application/sdp"
                sound = b"".join(b"$\0\0\xac\x80\0" + bytes([0, n]) + bytes(8 + 160) for n in range(50))
                try:
                    connection.sendall(head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                    connection.sendall(sound if method == b"PLAY" else b"")
                except OSError:
                    return  # it has seen enough

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_scheme_in_capitals_is_read_as_in_small_letters(clip: Path) -> None:
    assert encoded("RTSP://Me:p@ss@Host/Path") == "rtsp://Me:p%40ss@Host/Path"
    with serving(clip.parent) as port:
        source = open_source(CaptureOptions(source=f"HTTP://127.0.0.1:{port}/{clip.name}"), clip.parent)
        assert len(list(source.pictures())) == 48


def test_a_series_may_begin_at_any_number_and_have_gaps(tmp_path: Path) -> None:
    for number in (15, 16, 20, 113):
        write_picture(tmp_path / f"img{number:02d}.png", number)
    write_picture(tmp_path / "other7.png", 7)
    assert grays(CaptureOptions(source="img%02d.png"), tmp_path) == [15, 16, 20, 113]
    text = str(refused("photo%d.png", tmp_path))
    assert "names a series, and no picture in" in text and "%04d stands for" in text


@pytest.mark.parametrize("source", [".", "img%d.png"])
def test_probe_looks_at_a_folder_and_at_a_series(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        write_picture(tmp_path / f"img{number}.png", number)
    monkeypatch.chdir(tmp_path)
    finding = probe(source, 1)
    assert (finding.survey.pictures, finding.survey.width, finding.survey.height) == (3, 64, 48)
    assert "25 declared" in finding.as_text() and f'source: "{source}", realtime: true' in finding.yaml


def test_a_picture_wider_than_a_ring_holds_is_told_and_scaled_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_picture(tmp_path / "wide.png", 9, width=17000, height=4)
    says = r"source wide\.png: picture width 17000 is out of range; expected 1 to 16384 pixels; .*`width` and `height`"
    with pytest.raises(SourceError, match=says):
        grays(CaptureOptions(source="wide.png"), tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=says):
        probe("wide.png", 1)
    assert grays(CaptureOptions(source="wide.png", width=8000, height=2), tmp_path) == [9]


def test_a_device_that_is_no_camera_is_told_so(tmp_path: Path) -> None:
    fault = refused("/dev/null", tmp_path)
    assert fault.state == "not_found" and "it is no camera; see ls /dev/video*" in str(fault)


def test_a_playlist_beside_the_file_may_name_segments_elsewhere(tmp_path: Path, make_clip: MakeClip) -> None:
    make_clip(tmp_path / "segment.ts", frames=24)
    with serving(tmp_path) as port:
        lines = [
            "#EXTM3U",
            "#EXT-X-TARGETDURATION:1",
            "#EXTINF:1,",
            f"http://127.0.0.1:{port}/segment.ts",
            "#EXT-X-ENDLIST",
        ]
        (tmp_path / "list.m3u8").write_text("\n".join(lines))
        assert len(grays(CaptureOptions(source="list.m3u8"), tmp_path)) == 24


def test_a_file_that_describes_a_stream_is_a_camera(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    head = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    (tmp_path / "cam.sdp").write_text(f"{head}m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n")
    stop = threading.Event()

    def send() -> None:
        with av.open(f"rtp://127.0.0.1:{port}", "w", format="rtp") as container:
            stream: Any = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
            stream.options = {"tune": "zerolatency", "x264-params": "keyint=5:repeat-headers=1"}
            number = 0
            while not stop.wait(0.04):
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number % 250, np.uint8), format="bgr24")
                frame.pts = number
                container.mux(stream.encode(frame))
                number += 1

    sender = threading.Thread(target=send)
    sender.start()
    source = open_source(CaptureOptions(source="cam.sdp"), tmp_path)
    try:
        pictures = source.pictures()
        assert [next(pictures).layout.width for _ in range(5)] == [64] * 5
        assert source.is_live and source.mode.startswith("h264 over rtp")
    finally:
        source.close()
        stop.set()
        sender.join()


def test_a_camera_of_sound_alone_is_told_what_it_has(tmp_path: Path) -> None:
    with rtsp_of_sound() as port:
        text = str(refused(f"rtsp://127.0.0.1:{port}/live", tmp_path))
    assert "has no video stream (found: audio); name a source that has pictures" in text


# Always the same bytes: now and then a random datagram looks enough like MPEG audio for FFmpeg to go on listening.
NO_VIDEO = b"sensor 7: 21.5 degrees\n" * 56


def test_what_comes_and_is_no_video_is_not_called_silence(tmp_path: Path) -> None:
    stop = threading.Event()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]

        def send() -> None:
            while not stop.wait(0.005):
                out.sendto(NO_VIDEO, ("127.0.0.1", port))

        sender = threading.Thread(target=send)
        sender.start()
        try:
            text = str(refused(f"udp://127.0.0.1:{port}", tmp_path))
        finally:
            stop.set()
            sender.join()
    assert "no answer" not in text and "no video came out of it" in text
