"""The thread that opens a live source and reads its packets; FFmpeg may keep it as long as it likes.

FFmpeg cannot be interrupted from another thread. So nobody waits for this one: it is let go, and closes what it opened
when FFmpeg comes back.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import cast

from av import FFmpegError, Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from detektr.errors import SourceError
from detektr.options import SECOND_NS, CaptureOptions
from detektr.source_uri import scheme_of
from detektr.sources.timeline import exact
from detektr.sources.transport.ffmpeg_input import (
    encoded,
    fault,
    has_end,
    input_fault,
    is_single_picture,
    open_input,
    video_stream,
)
from detektr.sources.transport.http_client import HttpClient, HttpError
from detektr.sources.transport.packet_queue import PacketQueue

HANGING_MAX = 4  # connections that were let go and in which FFmpeg still waits
SNAPSHOTS_A_SECOND = 1.0  # of one picture at a URL, unless `fps` says otherwise
_BURSTY_FORMATS = ("hls", "dash")
_let_go: list[Connection] = []


class Connection(threading.Thread):
    """One try at a live source; all that is public is shared under `changed`."""

    def __init__(
        self, options: CaptureOptions, folder: Path, transport: str | None, changed: threading.Condition
    ) -> None:
        """Prepare; `start` begins to open.

        Args:
            options: see `open_input`.
            folder: see `open_input`.
            transport: tcp or udp, for RTSP.
            changed: notified after each change of the below.
        """
        super().__init__(name="connection", daemon=True)
        self.changed = changed
        self.stream: VideoStream | None = None
        """Once it is open; good until `let_go`."""
        self.packet_queue = PacketQueue(None)
        self.is_file = False
        """It has an end, and waits for us: whoever needs it takes it, see `take`."""
        self.snapshot_ns: int | None = None
        """It is one picture, asked for again after this long; None: it is a stream or file."""
        self.is_bursty = False
        """Whole segments come at once, not pictures as they are taken."""
        self.others = 0
        """Packets of other streams, such as sound."""
        self.camera_start_ns: int | None = None
        """UTC at which the camera's pts were 0, by its own clock; None: it has not told yet."""
        self.fault: Exception | None = None
        self.is_over = False
        self._options, self._folder, self._transport = options, folder, transport
        self._is_let_go = False
        self._container: InputContainer | None = None

    def run(self) -> None:
        """Open, read to the end, and close when nobody needs it any more."""
        try:
            self._container = container = open_input(self._options, self._folder, self._transport)
            if has_end(self._options, container):
                with self.changed:
                    self.stream, self.is_file = video_stream(self._options, container), True
            elif is_single_picture(container) and scheme_of(self._options.source) in ("http", "https"):
                self._poll(container)
            else:
                self._read(container)
        except FFmpegError as error:
            self.fault = input_fault(self._options, error, "reading stopped")
        except SourceError as error:
            self.fault = error
        except Exception as error:  # a defect of ours: to be raised where it is seen
            self.fault = error
        with self.changed:
            self.is_over = True
            self.changed.notify_all()
            self.changed.wait_for(lambda: self._is_let_go)
            left, self._container = self._container, None
        if left is not None:
            left.close()

    def take(self) -> InputContainer:
        """Return what was opened and `is_file`; who takes it closes it."""
        with self.changed:
            taken, self._container = self._container, None
        assert taken is not None, "a file is taken once, before it is let go"
        return taken

    def let_go(self) -> None:
        """Need it no more, without waiting for it."""
        with self.changed:
            self._is_let_go = True
            self.changed.notify_all()
        _let_go.append(self)

    def _poll(self, container: InputContainer) -> None:
        """Ask for one picture again and again, as often as `fps` says; the first one is there already."""
        interval_ns = round(SECOND_NS / (self._options.fps or SNAPSHOTS_A_SECOND))
        client = HttpClient(encoded(self._options.source), self._options.stall_timeout_ns / SECOND_NS)
        with self.changed:
            self.stream, self.snapshot_ns = video_stream(self._options, container), interval_ns
            self.changed.notify_all()
        pictures = b"".join(bytes(packet) for packet in container.demux(video=0) if packet.size)
        due_ns = time.monotonic_ns()
        try:
            while True:
                packet = Packet(pictures)
                packet.is_keyframe = True
                now_ns = time.monotonic_ns()
                due_ns = max(due_ns + interval_ns, now_ns)
                with self.changed:
                    self.packet_queue.put(cast("Packet[VideoStream]", packet), now_ns)
                    self.changed.notify_all()
                    if self.changed.wait_for(lambda: self._is_let_go, (due_ns - now_ns) / SECOND_NS):
                        return
                pictures = client.fetch()
        except HttpError as error:
            raise fault(self._options, str(error), "see whether it is on and reachable") from None
        finally:
            client.close()

    def _read(self, container: InputContainer) -> None:
        stream = video_stream(self._options, container)
        is_bursty = container.format.name in _BURSTY_FORMATS
        with self.changed:
            self.packet_queue = packet_queue = PacketQueue(exact(stream.time_base), is_bursty=is_bursty)
            self.stream, self.is_bursty = stream, is_bursty
            self.changed.notify_all()
        for packet in container.demux():
            received_ns = time.monotonic_ns()
            start_us = container.start_time_realtime
            with self.changed:
                if self._is_let_go:
                    return
                self.camera_start_ns = start_us * 1000 if start_us and start_us > 0 else None
                if packet.stream_index == stream.index and packet.size:
                    packet_queue.put(cast("Packet[VideoStream]", packet), received_ns)
                else:
                    self.others += 1
                self.changed.notify_all()
                self.changed.wait_for(lambda: packet_queue.has_room or self._is_let_go)


def hanging() -> int:
    """Return how many connections were let go and have not come back from FFmpeg."""
    _let_go[:] = [connection for connection in _let_go if connection.is_alive()]
    return len(_let_go)
