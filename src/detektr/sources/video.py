"""Video files and FFmpeg's lavfi graphs: sources that wait for us, may end, and can be read again."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av import FFmpegError, Packet
from av.container import InputContainer
from av.video.stream import VideoStream

from detektr.errors import SourceError
from detektr.options import SECOND_NS, CaptureOptions
from detektr.redaction import redact
from detektr.selection.rate_limiter import STEP_BACK_S_MAX
from detektr.source_uri import source_kind, source_path
from detektr.sources.contract import Picture
from detektr.sources.decoding.decoded_picture import DecodedPicture, FormatConverter
from detektr.sources.decoding.picture_decoder import DecodedFrame, PictureDecoder
from detektr.sources.pacing import Pacer, Steps
from detektr.sources.timeline import exact, rate_of
from detektr.sources.transport.ffmpeg_input import describe_stream, fault, input_fault, open_input, video_stream

_log = logging.getLogger(__name__)


class VideoSource:
    """A file, here or at a URL, or a graph that FFmpeg reads.

    The layout follows the picture: a size change in the middle of a stream is simply another layout. Interlaced
    pictures come as they are stored, both fields woven into one.

    Raises:
        SourceError: it cannot be opened; says what, why and what to do, without secrets.
    """

    is_live = False
    stale = 0

    def __init__(
        self, options: CaptureOptions, folder: Path, container: InputContainer | None = None, begin_at: int = 0
    ) -> None:
        """Open it, or go on with a `container` that was opened as it should be, and close that."""
        path = source_path(options.source, folder)
        self._is_graph = source_kind(options.source) == "lavfi"
        self._can_open_again = not self._is_graph and (path is None or path.is_file())
        # Who writes into a pipe may be a camera.
        self.is_batch = not options.realtime and (path is None or path.is_file())
        self._options, self._name = options, redact(options.source)
        self._folder = folder
        self._converter = FormatConverter(options, is_steady=self._is_graph)
        self._decoder = PictureDecoder(self._name, options, is_live=False)
        self._pacer = Pacer() if options.realtime else None
        self._closed = threading.Event()
        self._at_work = threading.Lock()  # whoever holds it reads or closes
        self._shown = begin_at  # pictures at the start of the first round that were shown before
        self._left_out_before = 0, 0  # thinned and damaged ones among those
        self._shift = 0  # added to pts, so that they go on when a file is looped
        self._end: int | None = None
        self._decoded: deque[DecodedFrame] = deque()
        self._container = container or open_input(self._options, self._folder)
        try:
            self._round = self._begin()
        except SourceError:
            self._container.close()
            raise
        self.description = describe_stream(options, self._round.stream)

    @property
    def mode(self) -> str:
        """How it is read, in short words for status."""
        note = self._converter.note
        return f"{self._round.stream.codec_context.name}, {self._decoder.mode}{note and f', {note}'}"

    @property
    def thinned(self) -> int:
        """Pictures left out by `fps` or `decode: keyframes`."""
        return self._decoder.thinned - self._left_out_before[0]

    @property
    def corrupt(self) -> int:
        """Pictures and packets left out because they were damaged or could not be decoded."""
        return self._decoder.corrupt - self._left_out_before[1]

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends with the source or soon after `close`; to be called once."""
        return iter(self._next, None)

    def close(self) -> None:
        """Make `pictures` end, from any thread, as soon as the picture that is decoded is there."""
        self._closed.set()
        self._let_go()

    def _let_go(self) -> None:
        """Close the input if nobody reads it: FFmpeg must not lose it in the middle. Else who reads does it then."""
        if self._at_work.acquire(blocking=False):
            try:
                self._container.close()
            finally:
                self._at_work.release()

    def _next(self) -> Picture | None:
        """Wait for the next picture; None: the source has ended, or is closed."""
        try:
            with self._at_work:
                return self._next_due()
        finally:
            if self._closed.is_set():
                self._let_go()

    def _next_due(self) -> Picture | None:
        """Decode and wait until a picture is due, while `_at_work` is held; None: there is none any more."""
        while not self._closed.is_set():
            if self._decoded:
                picture = self._picture(self._decoded.popleft())
                if picture is not None:
                    return picture
            elif not self._read():
                self._closed.set()
        return None

    def _read(self) -> bool:
        """Decode a packet more, of the next round where one has ended; False: that was the last."""
        try:
            packet = next(self._round.packets, None)
            if packet is not None:
                self._decoded.extend(self._decoder.decode(packet))
                return True
        except FFmpegError as error:
            raise input_fault(self._options, error, "reading stopped") from None
        if not self._decoder.decoded:
            why = f"not one picture could be decoded ({self.corrupt} damaged)"
            raise fault(self._options, why, "see whether it plays elsewhere")
        if not self._options.loop:
            return False
        self._container.close()
        self._container = open_input(self._options, self._folder)
        self._round, self._shown = self._begin(), 0
        return True

    def _picture(self, decoded: DecodedFrame) -> Picture | None:
        """Return a picture when it is due; None: it was shown before, or we are closed meanwhile."""
        frame, this, is_break, is_jump = decoded.frame, self._round, False, False
        pts, time_base = frame.pts, this.time_base
        if pts is not None and time_base is not None:
            if this.before is None and self._end is not None:
                self._shift = self._end - pts
            pts += self._shift
            self._end = pts + (frame.duration or this.step)
            is_jump = this.steps.is_jump(pts)
            is_break = is_jump or (this.before is not None and this.before - pts > this.step_back_max)
            if is_jump and this.before is not None:
                ahead_s = float((pts - this.before) * time_base)
                _log.info("source %s: its time jumps ahead by %.1f s: going on at once", self._name, ahead_s)
            this.before = pts
        place, this.given = this.given, this.given + 1
        if place < self._shown:
            self._left_out_before = self._decoder.thinned, self._decoder.corrupt
            return None
        if self._pacer is not None:
            moment = self._decoder.moment(pts, decoded.place)
            wait_ns = 0 if moment is None else self._pacer.wait_ns(moment, time.monotonic_ns(), is_jump=is_jump)
            if self._closed.wait(wait_ns / SECOND_NS):
                return None
        fitted, layout = self._converter.fit(frame)
        return DecodedPicture(
            fitted,
            layout,
            pts,
            None if pts is None else time_base,
            is_break=is_break,
            place=None if self._is_graph else place,
        )

    def _begin(self) -> _Round:
        """Begin a round, in an input that has just been opened."""
        stream = video_stream(self._options, self._container)
        self._decoder.begin(stream, self._opened_again if self._can_open_again else None)
        return _Round(stream, self._container.demux(stream), self._usual_step(rate_of(stream)))

    def _usual_step(self, rate: Fraction | None) -> Fraction | None:
        """Return the seconds between two pictures of those that are shown, as far as that is known before."""
        if not rate or self._options.decode == "keyframes":
            return None
        return max(1 / rate, 1 / Fraction(str(self._options.fps)) if self._options.fps else Fraction(0))

    def _opened_again(self) -> VideoStream:
        container = open_input(self._options, self._folder)
        try:
            return video_stream(self._options, container)
        finally:
            container.close()


class _Round:
    """Once through a file: what comes out of it, and its time in units of pts."""

    def __init__(
        self, stream: VideoStream, packets: Iterator[Packet[VideoStream]], usual_step: Fraction | None
    ) -> None:
        self.stream, self.packets = stream, packets
        self.time_base = exact(stream.time_base)
        unit_s = self.time_base or Fraction(1)
        self.steps = Steps(None if usual_step is None else math.ceil(usual_step / unit_s), unit_s)
        rate = rate_of(stream)
        self.step, self.step_back_max = 1, 0
        if self.time_base is not None:
            self.step = round(1 / (rate * self.time_base)) if rate else 1
            self.step_back_max = math.floor(STEP_BACK_S_MAX / self.time_base)
        self.given = 0  # pictures handed out
        self.before: int | None = None  # of the picture before; the first one goes on from the last of another round
