"""Pictures out of files and FFmpeg's lavfi graphs: what waits for us, may end, and can be read again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from av import FFmpegError
from av.video.stream import VideoStream

from detektr.errors import SourceError
from detektr.nodes.options import CaptureOptions
from detektr.nodes.source.contract import Picture
from detektr.nodes.source.decoded import DecodedPicture, Fitting
from detektr.nodes.source.decoding import DecodedFrame, PictureDecoder
from detektr.nodes.source.input import describe_stream, fault, input_fault, open_input, video_stream
from detektr.nodes.source.pace import SECOND_NS, STEP_BACK_S_MAX, Pacer
from detektr.nodes.source.timeline import exact
from detektr.nodes.source_kind import redact


class VideoSource:
    """A file or a graph that FFmpeg reads.

    The layout follows the picture: a size change in the middle of a stream is simply another layout. Interlaced
    pictures come as they are stored, both fields woven into one.

    Raises:
        SourceError: it cannot be opened; says what, why and the cure, without secrets.
    """

    is_live = False
    stale = 0

    def __init__(self, options: CaptureOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._fitting = Fitting(options)
        self._decoder = PictureDecoder(redact(options.source), options, is_live=False)
        self._pacer = Pacer() if options.realtime else None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._is_started = False
        self._shift = 0  # added to pts, so that they go on when a file is looped
        self._end: int | None = None
        self._container = open_input(self._options, self._folder)
        try:
            self._stream = self._begin()
        except SourceError:
            self._container.close()
            raise
        self.description = describe_stream(options, self._stream)

    @property
    def mode(self) -> str:
        """How it is read, in short words for status."""
        return f"{self._stream.codec_context.name}, {self._decoder.mode}"

    @property
    def thinned(self) -> int:
        """Pictures left out by `fps` or `decode: keyframes`."""
        return self._decoder.thinned

    @property
    def corrupt(self) -> int:
        """Pictures and packets left out because they were damaged or could not be decoded."""
        return self._decoder.corrupt

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends with the source or soon after `close`; to be called once."""
        with self._lock:
            if self._closed.is_set():
                return
            self._is_started = True
        try:
            while not self._closed.is_set():
                yield from self._one_round()
                if not self._options.loop or self._closed.is_set():
                    return
                self._container.close()
                self._container = open_input(self._options, self._folder)
                self._stream = self._begin()
        finally:
            self._container.close()

    def close(self) -> None:
        """Make `pictures` end, from any thread, as soon as the picture that is decoded is there."""
        with self._lock:
            self._closed.set()
            # Once started, the iterating thread closes: FFmpeg must not lose its input in the middle of a read.
            if not self._is_started:
                self._container.close()

    def _one_round(self) -> Iterator[Picture]:
        time_base, rate = exact(self._stream.time_base), exact(self._stream.average_rate)
        before: Fraction | None = None  # the picture before, in seconds; the first one of a round goes on from the last
        for frame, moment, _ in self._frames():
            pts, is_break = frame.pts, False
            if pts is not None and time_base is not None:
                if before is None and self._end is not None:
                    self._shift = self._end - pts
                pts += self._shift
                length = frame.duration or (round(1 / (rate * time_base)) if rate else 1)
                self._end = pts + length
                moment = pts * time_base
                is_break = before is not None and moment < before - STEP_BACK_S_MAX
                before = moment
            if self._pacer is not None and moment is not None:
                wait_ns = self._pacer.wait_ns(moment, time.monotonic_ns())
                if self._closed.wait(wait_ns / SECOND_NS):
                    return
            fitted, layout = self._fitting.fit(frame)
            yield DecodedPicture(fitted, layout, pts, time_base if pts is not None else None, is_break=is_break)

    def _frames(self) -> Iterator[DecodedFrame]:
        """Yield whole frames until the end of the stream; those left out are counted."""
        try:
            for packet in self._container.demux(self._stream):
                if self._closed.is_set():
                    return
                for decoded in self._decoder.decode(packet):
                    yield decoded
                    if self._closed.is_set():
                        return
        except FFmpegError as error:
            raise input_fault(self._options, error, "reading stopped") from None
        if not self._decoder.decoded:
            why = f"not one picture could be decoded ({self.corrupt} damaged)"
            raise fault(self._options, why, "see whether it plays elsewhere")

    def _begin(self) -> VideoStream:
        stream = video_stream(self._container)
        self._decoder.begin(stream)
        return stream
