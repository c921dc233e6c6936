"""The thread that opens a live source and reads its packets; FFmpeg may keep it as long as it likes.

FFmpeg cannot be interrupted from another thread. So nobody waits for this one: it is let go, and closes what it opened
when FFmpeg comes back.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from av import FFmpegError
from av.container import InputContainer
from av.video.stream import VideoStream

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.sources.ffmpeg_input import has_end, input_fault, open_input, video_stream
from detektr.sources.packet_queue import PacketQueue
from detektr.sources.timeline import exact

if TYPE_CHECKING:
    from av import Packet

HANGING_MAX = 4  # connections that were let go and in which FFmpeg still waits
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
                    self.stream, self.is_file = video_stream(container), True
            else:
                self._read(container)
        except FFmpegError as error:
            self.fault = input_fault(self._options, error, "reading stopped")
        except SourceError as fault:
            self.fault = fault
        except Exception as fault:  # a defect of ours: to be raised where it is seen
            self.fault = fault
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

    def _read(self, container: InputContainer) -> None:
        stream = video_stream(container)
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
