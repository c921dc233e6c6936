"""Cameras for the tests: real RTSP servers, each a process of its own that can be stopped, killed and started again."""

from __future__ import annotations

import contextlib
import io
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

INSTALL = "run scripts/install-test-tools (after scripts/environment dev)"
READY_S_MAX = 20.0
SYSTEM_PYTHON = Path("/usr/bin/python3")  # Debian's: GStreamer's bindings belong to it
GST_SERVER = Path(__file__).with_name("gst_server.py")

_FILE_SERVER = """
import asyncio, logging, sys
from aio_rtsp_toolkit import server

async def main(folder, port):
    listening = await server.RtspServer(directory=folder, host="127.0.0.1", port=port).start()
    print("ready", flush=True)
    await listening.serve_forever()

server.logger = logging.getLogger("server")  # its own writes every request into the pipe that "ready" comes through
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""

_UDP_SERVER = """
import sys, time
import av, rtsp

clip, port = sys.argv[1], int(sys.argv[2])
server = rtsp.Server(f"127.0.0.1:{port}")
server.start()
print("ready", flush=True)
begun = time.monotonic()
count = 0
while True:
    with av.open(clip) as container:  # an elementary stream: its packets are what goes over the wire
        stream = container.streams.video[0]
        fps = float(stream.average_rate)
        for packet in container.demux(stream):
            if packet.size:
                server.send_frame(bytes(packet), round(90000 / fps))
                count += 1
                time.sleep(max(0.0, begun + count / fps - time.monotonic()))
"""


def make_clip(
    path: Path,
    codec: str = "libx264",
    width: int = 320,
    height: int = 180,
    fps: int = 10,
    seconds: float = 2.0,
    gop: int = 10,
    audio: bool = False,
    audio_seconds: float | None = None,
) -> Path:
    """Write a moving picture, and a tone beside it if asked for; the path's ending chooses the container.

    Args:
        path: where to.
        codec: FFmpeg's name of the encoder.
        width: in pixels.
        height: in pixels.
        fps: pictures a second.
        seconds: length of the pictures.
        gop: pictures from one key frame to the next.
        audio: a tone as well.
        audio_seconds: length of the tone; that of the pictures unless told otherwise.
    """
    live = {"preset": "ultrafast", "tune": "zerolatency"}  # no B-frames: the server would send their times in disorder
    quick = {"libx264": live, "libx265": {**live, "x265-params": "log-level=none"}}
    with av.open(str(path), "w") as container:
        video: Any = container.add_stream(codec, rate=fps, options=quick.get(codec, {}))
        video.width, video.height, video.gop_size = width, height, gop
        video.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        tone: Any = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        rows, columns = np.mgrid[0:height, 0:width]
        for number in range(round(fps * seconds)):
            picture = ((rows + columns + 5 * number) % 256).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=video.pix_fmt)
            frame.pts = number
            container.mux(video.encode(frame))
        container.mux(video.encode())
        if tone is not None:
            samples = round(8000 * (audio_seconds or seconds))
            for begin in range(0, samples, 1024):
                wave = np.sin(np.arange(begin, begin + 1024) / 3)[np.newaxis].astype(np.float32)
                sound: Any = av.AudioFrame.from_ndarray(wave / 4, format="fltp", layout="mono")
                sound.sample_rate, sound.pts = 8000, begin
                container.mux(tone.encode(sound))
            container.mux(tone.encode())
    return path


def free_port() -> int:
    """Return a TCP port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class _Server:
    """A server process: started when made, killed at the end of its `with`."""

    def __init__(self, command: list[str], port: int) -> None:
        self.port = port
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """The server's process."""
        assert self._process is not None, "the server is not running; call start()"
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again on the same port, and wait until it listens."""
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._expect("ready")

    def stop(self) -> None:
        """Freeze it (SIGSTOP): its connections stay open, and nothing comes any more."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on (SIGCONT)."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """Kill it (SIGKILL): its connections end."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):
                        pipe.close()

    def order(self, line: str) -> None:
        """Tell it a line and wait until it is done."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        self._process.stdin.flush()
        self._expect("done")

    def _expect(self, word: str) -> None:
        assert self._process is not None and self._process.stdout is not None
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while word.encode() not in said:
                is_late = not selector.select(READY_S_MAX)
                fresh = b"" if is_late else os.read(self._process.stdout.fileno(), 4096)
                said += fresh
                if not fresh:
                    self.kill()
                    pytest.fail(
                        f"{type(self).__name__} did not say {word!r} but {said.decode(errors='replace')!r}; what it"
                        f" wrote is above. Is it installed? {INSTALL}"
                    )


class RtspServer(_Server):
    """Serves the clips of a folder over RTSP, interleaved in TCP, at their own pace, with sender reports."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        """Serve `folder` on a free port, or on this one."""
        port = port or free_port()
        super().__init__([sys.executable, "-c", _FILE_SERVER, str(folder), str(port)], port)

    def url(self, name: str, *, is_looped: bool = True, pre_fill_ms: int = 0, user_info: str = "") -> str:
        """Return the address of one clip.

        Args:
            name: its file name.
            is_looped: played again and again; else the stream ends with the clip.
            pre_fill_ms: so much of it comes at once, as from a server that keeps the last pictures.
            user_info: `user:password`, which this server ignores.
        """
        query = f"?play_count={0 if is_looped else 1}" + (f"&pre_fill_ms={pre_fill_ms}" if pre_fill_ms else "")
        return f"rtsp://{user_info and user_info + '@'}127.0.0.1:{self.port}/{name}{query}"


class UdpServer(_Server):
    """Serves one H.264 clip (an elementary stream: `.h264`) over RTSP, in a loop, by UDP only."""

    def __init__(self, clip: Path, port: int | None = None) -> None:
        """Serve `clip` on a free port, or on this one."""
        port = port or free_port()
        super().__init__([sys.executable, "-c", _UDP_SERVER, str(clip), str(port)], port)

    def url(self) -> str:
        """Return the address of the clip."""
        return f"rtsp://127.0.0.1:{self.port}/stream"


class GstServer(_Server):
    """A live camera by GStreamer; `order` takes `freeze` (sound goes on), `thaw` and `size 640x360`."""

    def __init__(
        self,
        *,
        user: str = "user",
        password: str = "",
        is_digest: bool = False,
        is_forbidden: bool = False,
        certificate: Path | None = None,
        audio: bool = False,
        width: int = 320,
        height: int = 240,
        fps: int = 10,
        gop: int = 10,
        transport: str = "",
        port: int | None = None,
    ) -> None:
        """Show a test picture at /live.

        Args:
            user: who may see it, where there is a password.
            password: asked for, as written here.
            is_digest: the password by digest, not in the clear.
            is_forbidden: who knows the password may not see it either: 403.
            certificate: a PEM file of certificate and key: it speaks TLS alone.
            audio: a tone as well.
            width: in pixels.
            height: in pixels.
            fps: pictures a second.
            gop: pictures from one key frame to the next.
            transport: `udp` or `tcp`, where it shall speak that alone.
            port: this one, not a free one.
        """
        if not SYSTEM_PYTHON.exists():
            pytest.fail(f"{SYSTEM_PYTHON} is missing, which GStreamer's bindings belong to; {INSTALL}")
        self.scheme = "rtsps" if certificate else "rtsp"
        told = {
            **{"user": user, "password": password, "is_digest": is_digest, "is_forbidden": is_forbidden},
            **{"certificate": certificate and str(certificate), "audio": audio, "transport": transport},
            **{"width": width, "height": height, "fps": fps, "gop": gop, "port": port or free_port()},
        }
        super().__init__([str(SYSTEM_PYTHON), "-I", str(GST_SERVER), json.dumps(told)], int(told["port"]))  # type: ignore[call-overload]

    def url(self, user_info: str = "", path: str = "live") -> str:
        """Return the address, with `user:password` (percent-encoded or not) where there is one."""
        return f"{self.scheme}://{user_info and user_info + '@'}127.0.0.1:{self.port}/{path}"


def make_certificate(folder: Path) -> Path:
    """Write a certificate for 127.0.0.1 that nobody has signed, with its key, as one PEM file; valid for a day."""
    key, certificate, both = (folder / name for name in ("key.pem", "certificate.pem", "both.pem"))
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=127.0.0.1"
    try:
        subprocess.run(
            [*command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
        )
    except FileNotFoundError:
        pytest.fail(f"openssl is missing; {INSTALL}")
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    return both


@contextlib.contextmanager
def silent_host() -> Iterator[int]:
    """Yield the port of a host that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listening:
        yield listening.getsockname()[1]


@contextlib.contextmanager
def stream_camera(clip: Path, at_once_s: float = 0.0) -> Iterator[str]:
    """Yield the address (tcp://) of a camera that sends a clip as an MPEG transport stream, once to each who connects.

    Args:
        clip: with or without sound; each packet goes out at its own time.
        at_once_s: so much of the beginning comes at once, as from a server that keeps the last pictures.
    """
    chunks = _as_transport_stream(clip)
    over = threading.Event()

    def send(peer: socket.socket) -> None:
        begun = time.monotonic() - at_once_s
        with peer, contextlib.suppress(OSError):  # the viewer has left
            for moment_s, chunk in chunks:
                if over.wait(max(0.0, begun + moment_s - time.monotonic())):
                    return
                peer.sendall(chunk)

    def accept() -> None:
        with contextlib.suppress(OSError):  # shut down: the test is over
            while True:
                peer = listening.accept()[0]
                threading.Thread(target=send, args=(peer,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield f"tcp://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            over.set()
            listening.shutdown(socket.SHUT_RDWR)


def _as_transport_stream(clip: Path) -> list[tuple[float, bytes]]:
    """Return a clip's packets in order of time, each as (seconds, bytes of the transport stream)."""
    with av.open(str(clip)) as source:
        packets = [packet for packet in source.demux() if packet.dts is not None and packet.time_base is not None]
        packets.sort(key=lambda packet: float(packet.dts * packet.time_base))  # type: ignore[operator]
        sink = io.BytesIO()
        chunks = []
        with av.open(sink, "w", format="mpegts", options={"flush_packets": "1", "max_interleave_delta": "1"}) as target:
            streams: dict[int, Any] = {
                stream.index: target.add_stream_from_template(stream) for stream in source.streams
            }
            for packet in packets:
                moment_s, packet.stream = float(packet.dts * packet.time_base), streams[packet.stream.index]  # type: ignore[operator]
                target.mux(packet)
                chunks.append((moment_s, sink.getvalue()))
                sink.seek(0)
                sink.truncate()
    return [(moment_s, chunk) for moment_s, chunk in chunks if chunk]
