"""Live sources (cameras, streams): never wait for FFmpeg, and know at any moment how old their last picture is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from av import FFmpegError

from detektr.errors import SourceError
from detektr.options import SECOND_NS, CaptureOptions
from detektr.process.seen_time import SeenClock
from detektr.redaction import redact
from detektr.source_uri import is_session, scheme_of, source_kind
from detektr.sources.contract import Picture
from detektr.sources.decoding.decoded_picture import DecodedPicture, FormatConverter
from detektr.sources.decoding.picture_decoder import DecodedFrame, PictureDecoder
from detektr.sources.pacing import Pacer, Steps
from detektr.sources.timeline import Timeline, exact
from detektr.sources.transport.connection import HANGING_MAX, Connection, hanging
from detektr.sources.transport.ffmpeg_input import RTSP_SCHEMES, TransportError, describe_stream, fault, input_fault
from detektr.sources.transport.packet_queue import Arrival
from detektr.sources.video import VideoSource

SHOWN_NS_MIN = SECOND_NS  # who cannot keep up shows an old picture this often rather than none


_log = logging.getLogger(__name__)


class LiveSource:
    """A camera or stream, whose end is a disconnect; or what turns out, once it is open, to be a file that is served.

    A thread beside the iterating one opens and reads (see `Connection`), so `close` ends the iteration at once, and a
    source that does not answer, or from which no picture comes, is a SourceError within `open_timeout` or
    `stall_timeout` whatever FFmpeg does. Nothing is opened before the first picture is asked for. A file is handed on
    to a `VideoSource`: nothing of it is old, it waits for whoever reads it, and its end is the end.
    """

    def __init__(self, options: CaptureOptions, folder: Path, begin_at: int = 0) -> None:
        self.description = redact(options.source)
        self._options, self._folder, self._begin_at = options, folder, begin_at
        self._converter = FormatConverter(options)
        self._decoder = PictureDecoder(redact(options.source), options, is_live=True)
        self._changed = threading.Condition()
        self._closed = threading.Event()
        self._stale_before = 0  # left out by connections before this one, and by us
        self._connection: Connection | None = None
        self._file: VideoSource | None = None
        self._carrier = ""
        self._picture_ns = 0  # when the last picture was decoded, or when that was last too much to ask
        self._shown_ns = 0
        self._clock = SeenClock(time.monotonic_ns())

    @property
    def is_live(self) -> bool:
        """False: it was opened, and is a file."""
        return self._file is None

    @property
    def is_batch(self) -> bool:
        """True: a file at full speed."""
        return self._file is not None and self._file.is_batch

    @property
    def mode(self) -> str:
        """How it is read, in short words; empty before it is open."""
        if self._file is not None:
            return f"{self._file.mode}, a file over {self._carrier}"
        note = self._converter.note
        return f"{self._carrier}, {self._decoder.mode}{note and f', {note}'}" if self._carrier else ""

    @property
    def thinned(self) -> int:
        """Pictures left out by `fps` or `decode: keyframes`."""
        return self._decoder.thinned if self._file is None else self._file.thinned

    @property
    def corrupt(self) -> int:
        """Pictures and packets left out because they were damaged or could not be decoded."""
        return self._decoder.corrupt if self._file is None else self._file.corrupt

    @property
    def stale(self) -> int:
        """Pictures and packets left out because they were an old backlog."""
        connection = self._connection
        return self._stale_before + (0 if connection is None else connection.packet_queue.stale)

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends when the stream does or soon after `close`; to be called once."""
        scheme = scheme_of(self._options.source)
        if scheme not in RTSP_SCHEMES:
            carrier = "rtp" if is_session(self._options.source) else scheme or source_kind(self._options.source)
            yield from self._connected(None, carrier)
        elif self._options.transport == "auto":
            try:
                yield from self._connected("tcp", "tcp")
            except TransportError:
                if self._decoder.decoded:
                    raise
                yield from self._connected("udp", "udp")
        else:
            yield from self._connected(self._options.transport, self._options.transport)

    def close(self) -> None:
        """Make `pictures` end at once, from any thread."""
        with self._changed:
            self._closed.set()
            self._changed.notify_all()
            served = self._file
        if served is not None:
            served.close()

    def _connected(self, transport: str | None, carrier: str) -> Iterator[Picture]:
        """Yield the pictures of one connection."""
        if hanging() >= HANGING_MAX:
            raise fault(
                self._options,
                f"FFmpeg still waits for its answer to {HANGING_MAX} earlier tries",
                "see whether its name can be resolved, and the network be reached",
            )
        connection = self._connection = Connection(self._options, self._folder, transport, self._changed)
        connection.start()
        try:
            is_open = self._wait_open(connection)
            if is_open and connection.is_file:
                yield from self._served(connection, carrier)
            elif is_open:
                yield from self._decoded(connection, carrier)
        finally:
            connection.let_go()
            self._stale_before += connection.packet_queue.stale
            self._connection = None

    def _served(self, connection: Connection, carrier: str) -> Iterator[Picture]:
        """Yield the pictures of a file, and of its next rounds where it is looped."""
        served = VideoSource(self._options, self._folder, connection.take(), self._begin_at)
        self.description, self._carrier = served.description, carrier
        with self._changed:
            self._file = served
            if self._closed.is_set():
                served.close()
        yield from served.pictures()

    def _wait_open(self, connection: Connection) -> bool:
        """Wait until the connection is open; False: closed meanwhile."""
        with self._changed:
            self._changed.wait_for(
                lambda: connection.stream is not None or connection.is_over or self._closed.is_set(),
                self._options.open_timeout_ns / SECOND_NS,
            )
            if self._closed.is_set():
                return False
            if connection.stream is None:
                if connection.fault is not None:
                    raise connection.fault
                why = f"no answer within {self._options.open_timeout}, or none that FFmpeg understands"
                hint = "see whether it is on and reachable, and plays elsewhere"
                raise TransportError(str(fault(self._options, why, hint)))
        return True

    def _decoded(self, connection: Connection, carrier: str) -> Iterator[Picture]:
        stream, decoder = connection.stream, self._decoder
        assert stream is not None
        self.description = describe_stream(self._options, stream)
        if connection.snapshot_ns is not None:  # it is asked for as often as `fps` says: none of them is too many
            options = replace(self._options, fps=None)
            decoder = self._decoder = PictureDecoder(redact(options.source), options, is_live=True)
        decoder.begin(stream)
        what = " snapshots" if connection.snapshot_ns is not None else ""
        self._carrier = f"{stream.codec_context.name}{what} over {carrier}"
        time_base = exact(stream.time_base)
        timeline = Timeline(time_base)
        pacer, steps, skipped = Pacer(), Steps(), 0
        self._picture_ns = self._shown_ns = time.monotonic_ns()
        self._clock.expect(self._picture_ns, self._picture_ns)
        is_ended = False
        while not is_ended and not self._closed.is_set():
            arrival = self._next(connection)
            is_ended = arrival is None
            if self._closed.is_set():
                return
            for frame in self._decode(connection, arrival):
                if arrival is not None and arrival.is_late and not self._may_show():
                    self._stale_before += 1
                    continue
                if connection.is_bursty:
                    if skipped != connection.packet_queue.stale:
                        pacer, skipped = Pacer(), connection.packet_queue.stale
                    if not self._wait_due(pacer, steps, decoder.moment(frame.frame.pts, frame.place)):
                        return
                yield self._picture(frame, timeline, time_base, connection.camera_start_ns)
                self._shown_ns = self._picture_ns = time.monotonic_ns()  # who takes pictures may take its time
                if self._closed.is_set():
                    return

    def _next(self, connection: Connection) -> Arrival | None:
        """Wait for a packet; None: the stream has ended, or was closed."""
        with self._changed:
            while not self._closed.is_set():
                now_ns = time.monotonic_ns()
                self._picture_ns += self._clock.look(now_ns)  # what we did not see is no camera's fault
                arrival = connection.packet_queue.take(now_ns)
                if arrival is not None:
                    self._changed.notify_all()  # there is room again
                    return arrival
                wait_ns = connection.packet_queue.wait_ns(now_ns)
                if connection.is_over and not wait_ns:
                    if connection.fault is not None:
                        raise connection.fault
                    return None
                allowed_ns = self._options.stall_timeout_ns + (connection.snapshot_ns or 0)
                left_ns = self._picture_ns + allowed_ns - now_ns
                if left_ns <= 0:
                    self._go_on_or_stall(connection, now_ns)
                    continue
                left_ns = min(left_ns, wait_ns or left_ns)
                self._clock.expect(now_ns, now_ns + left_ns)
                self._changed.wait(left_ns / SECOND_NS)
        return None

    def _decode(self, connection: Connection, arrival: Arrival | None) -> list[DecodedFrame]:
        """Decode a packet, or what is held back where there is none, and see how old the last picture is."""
        decoder = self._decoder
        before = decoder.decoded + decoder.thinned
        try:
            if arrival is None:
                return decoder.decode(None)
            frames = decoder.decode(arrival.packet, arrival.received_ns)
        except FFmpegError as error:
            raise input_fault(self._options, error, "decoding stopped") from None
        now_ns = time.monotonic_ns()
        self._picture_ns += self._clock.look(now_ns)
        if decoder.decoded + decoder.thinned > before:
            self._picture_ns = now_ns
        elif now_ns - self._picture_ns > self._options.stall_timeout_ns:
            self._go_on_or_stall(connection, now_ns)
        return frames

    def _go_on_or_stall(self, connection: Connection, now_ns: int) -> None:
        """Do without a key frame where none comes and that is all that is missing.

        Raises:
            SourceError: pictures are missing; the source is stalled.
        """
        if not self._decoder.try_begin_without_key(now_ns):
            raise self._stalled(connection)
        name = redact(self._options.source)
        _log.warning("source %s: no key frame comes: its pictures are shown without one", name)
        self._picture_ns = now_ns

    def _picture(
        self, frame: DecodedFrame, timeline: Timeline, time_base: Fraction | None, camera_start_ns: int | None
    ) -> Picture:
        fitted, layout = self._converter.fit(frame.frame)
        now_ns = time.monotonic_ns()
        received_ns = frame.received_ns or now_ns
        placed = timeline.place(frame.frame.pts, received_ns, time.time_ns() - now_ns, camera_start_ns)
        return DecodedPicture(
            fitted, layout, placed.pts, time_base, placed.utc_ns, received_ns, is_break=placed.is_break
        )

    def _may_show(self) -> bool:
        """Tell whether an old picture is better than none: who cannot keep up would else show nothing."""
        return time.monotonic_ns() - self._shown_ns > SHOWN_NS_MIN

    def _wait_due(self, pacer: Pacer, steps: Steps, moment: Fraction | None) -> bool:
        """Wait until a picture that came with its whole segment is due; False: closed meanwhile."""
        wait_ns = 0
        if moment is not None:
            wait_ns = pacer.wait_ns(moment, time.monotonic_ns(), is_jump=steps.is_jump(moment))
        with self._changed:
            return not self._changed.wait_for(self._closed.is_set, wait_ns / SECOND_NS)

    def _stalled(self, connection: Connection) -> SourceError:
        count, others = connection.packet_queue.count, connection.others
        came = f"{count} packets of it and {others} of sound or other data" if count or others else "nothing"
        why = f"no picture for {self._options.stall_timeout} ({came} came, {self._decoder.corrupt} damaged)"
        hint = "see whether the camera hangs, or sends key frames more rarely than stall_timeout"
        text = str(fault(self._options, why, hint))
        return SourceError(text, "stalled") if self._decoder.decoded else TransportError(text, "stalled")
