"""Pictures out of FFmpeg: files, network streams, devices and lavfi graphs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import av
from av import FFmpegError, VideoFrame
from av.container import InputContainer
from av.video.stream import VideoStream

from detektr.errors import SourceError
from detektr.nodes.options import CaptureOptions
from detektr.nodes.source.contract import Picture
from detektr.nodes.source.decoded import DecodedPicture, Fitting, exact
from detektr.nodes.source.pace import SECOND_NS, Pacer, Thinner
from detektr.nodes.source_kind import is_live, redact, scheme_of, source_kind, source_path

NETWORK_US_MAX = 5_000_000  # longest silence of a socket; RTSP may wait it twice, to read and to say good-bye
PICTURE_NS_MAX = 10 * SECOND_NS  # longest time without a picture while packets (of audio, say) still come
PROBE_US = 500_000  # longer probing hands over the seconds it took as old pictures
LIVE_THREADS = 2  # of a decoder; all cores for each camera would be too many
_OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT: damaged pictures come out, marked, and are counted here


class VideoSource:
    """A source that FFmpeg reads.

    A file decodes with all cores; a live one with few, over TCP, with FFmpeg's own time-outs, and begins with a key
    frame. The layout follows the picture: a size change in the middle of a stream is simply another layout.

    Raises:
        SourceError: it cannot be opened; says what, why and the cure, without secrets.
    """

    def __init__(self, options: CaptureOptions, folder: Path) -> None:
        self.is_live = is_live(options.source)
        self.thinned = 0
        self.corrupt = 0
        self._options = options
        self._folder = folder
        self._name = redact(options.source)
        self._fitting = Fitting(options)
        self._thinner = None if options.fps is None else Thinner(options.fps)
        self._pacer = Pacer() if options.realtime and not self.is_live else None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._is_started = False
        self._decoded = 0  # pictures out of the decoder in this pass
        self._shift = 0  # added to pts, so that they go on when a file is looped
        self._end: int | None = None
        self._container = self._open()
        self.description = self._describe()

    def pictures(self) -> Iterator[Picture]:
        """Yield pictures, waiting for each; ends with the source or soon after `close`; to be called once."""
        with self._lock:
            if self._closed.is_set():
                return
            self._is_started = True
        try:
            while not self._closed.is_set():
                self._decoded = 0
                yield from self._one_pass()
                if not self._options.loop or self.is_live or self._closed.is_set():
                    return
                self._container.close()
                self._container = self._open()
        finally:
            self._container.close()

    def close(self) -> None:
        """Make `pictures` end, from any thread; a wait for the network ends within twice `NETWORK_US_MAX`."""
        with self._lock:
            self._closed.set()
            # Once started, the iterating thread closes: FFmpeg must not lose its input in the middle of a read.
            if not self._is_started:
                self._container.close()

    def _one_pass(self) -> Iterator[Picture]:
        stream = self._stream()
        time_base, rate = exact(stream.time_base), exact(stream.average_rate)
        is_first = True
        for frame in self._frames(stream):
            pts, moment = frame.pts, None
            if pts is not None and time_base is not None:
                if is_first and self._end is not None:
                    self._shift = self._end - pts
                pts += self._shift
                length = frame.duration or (round(1 / (rate * time_base)) if rate else 1)
                self._end = pts + length
                moment = pts * time_base
            elif rate:
                moment = (self._decoded - 1) / rate
            is_first = False
            if self._thinner is not None and not self._thinner.takes(moment if moment is not None else _now()):
                self.thinned += 1
                continue
            if self._pacer is not None and moment is not None:
                wait_ns = self._pacer.wait_ns(moment, time.monotonic_ns())
                if self._closed.wait(wait_ns / SECOND_NS):
                    return
            fitted, layout = self._fitting.fit(frame)
            utc_ns = self._utc_ns(frame.pts, time_base) if self.is_live else None
            yield DecodedPicture(fitted, layout, pts, time_base if pts is not None else None, utc_ns)

    def _frames(self, stream: VideoStream) -> Iterator[VideoFrame]:
        """Yield whole frames until the end of the stream; damaged ones are counted."""
        is_begun = not self.is_live
        waiting_since_ns = time.monotonic_ns()
        try:
            # A live source hands over all streams' packets: sound that goes on must not hide a picture that does not.
            for packet in self._container.demux() if self.is_live else self._container.demux(stream):
                if self._closed.is_set():
                    return
                if self.is_live and time.monotonic_ns() - waiting_since_ns > PICTURE_NS_MAX:
                    raise self._fault(
                        f"packets come but no picture for {PICTURE_NS_MAX // SECOND_NS} s",
                        "see whether the camera's encoder hangs, or sends key frames this rarely",
                    )
                if packet.stream_index != stream.index:
                    continue
                try:
                    frames = stream.decode(packet)
                except (av.error.InvalidDataError, av.error.UndefinedError):
                    self.corrupt += 1  # one broken packet; the decoder goes on with the next
                    continue
                for frame in frames:
                    is_begun = is_begun or frame.key_frame
                    if frame.is_corrupt:
                        self.corrupt += 1
                    elif is_begun:
                        self._decoded += 1
                        yield frame
                        if self._closed.is_set():
                            return
                        waiting_since_ns = time.monotonic_ns()
        except FFmpegError as error:
            raise self._fault(*_why(error, "reading stopped")) from None
        if not self._decoded and not self.is_live:
            raise self._fault(
                f"not one picture could be decoded ({self.corrupt} damaged)", "see whether it plays elsewhere"
            )

    def _open(self) -> InputContainer:
        url, container_format, ffmpeg_options = self._input()
        try:
            container = av.open(url, "r", format=container_format, options=ffmpeg_options, metadata_errors="replace")
        except (FFmpegError, ValueError, OSError) as error:
            raise self._fault(*_why(error, "cannot be opened")) from None
        if not container.streams.video:
            found = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
            container.close()
            raise self._fault(f"has no video stream (found: {found})", "name a source that has pictures")
        return container

    def _input(self) -> tuple[str, str | None, dict[str, str]]:
        """Return what to open, FFmpeg's name of its container if it must be told, and FFmpeg's options."""
        source, options = self._options.source, self._options
        kind = source_kind(source)
        if kind == "lavfi":
            return source.partition(":")[2], "lavfi", {}
        path = source_path(source, self._folder)
        if path is None:
            return _encoded(source), None, _network_options(scheme_of(source) or "")
        if not path.exists() and "%" not in path.name:  # folder/%04d.png is FFmpeg's way to name a series
            cure = "see ls /dev/video*" if kind == "device" else f"relative paths start at {self._folder}"
            raise self._fault("does not exist", cure)
        if path.is_dir():
            raise self._fault("is a folder", "name one file, or a series of pictures as folder/%04d.png")
        if kind == "device":
            has_size = options.width is not None and options.height is not None
            return str(path), "v4l2", {"video_size": f"{options.width}x{options.height}"} if has_size else {}
        return str(path.absolute()), None, {}

    def _stream(self) -> VideoStream:
        best = self._container.streams.best("video")
        stream = best if isinstance(best, VideoStream) else self._container.streams.video[0]
        if stream.codec_context is None:
            raise self._fault("its codec is unknown to this FFmpeg", "have it encoded as H.264, for example")
        if self.is_live:
            stream.thread_type, stream.thread_count = "SLICE", LIVE_THREADS
        else:
            stream.thread_type = "AUTO"
        stream.codec_context.flags |= _OUTPUT_CORRUPT
        return stream

    def _describe(self) -> str:
        try:
            stream = self._stream()
        except SourceError:
            self._container.close()
            raise
        codec = stream.codec_context
        rate = f", {float(stream.average_rate):g}/s" if stream.average_rate else ""
        return f"{self._name} ({codec.name} {codec.width}x{codec.height} {codec.pix_fmt}{rate})"

    def _utc_ns(self, pts: int | None, time_base: Fraction | None) -> int | None:
        """Read the camera's clock, known once it has sent a sender report: the time at which pts was 0."""
        start_us = self._container.start_time_realtime
        if pts is None or time_base is None or not start_us or start_us < 0:
            return None
        return start_us * 1000 + round(pts * time_base * SECOND_NS)

    def _fault(self, why: str, cure: str) -> SourceError:
        return SourceError(f"source {self._name}: {why}; {cure}")


def _now() -> Fraction:
    return Fraction(time.monotonic_ns(), SECOND_NS)


def _encoded(url: str) -> str:
    """Percent-encode user info, so that FFmpeg finds the host behind a password with `@`, `/`, `?` or `#`."""
    scheme, _, rest = url.partition("://")
    if not redact(url).startswith(f"{scheme}://***@"):
        return url
    user_info, _, tail = rest.rpartition("@")
    return f"{scheme}://{quote(user_info, safe=':%!$&*+,;=()')}@{tail}"


def _network_options(scheme: str) -> dict[str, str]:
    options = {"analyzeduration": str(PROBE_US), "rw_timeout": str(NETWORK_US_MAX)}
    if scheme in ("rtsp", "rtsps"):
        # Sound is not asked for: its packets would keep the socket's timer from running out.
        options |= {"rtsp_transport": "tcp", "allowed_media_types": "video"}
    if not scheme.startswith("rtmp"):  # there, `timeout` makes FFmpeg a server
        options["timeout"] = str(NETWORK_US_MAX)
    return options


def _why(error: Exception, doing: str) -> tuple[str, str]:
    """Say why FFmpeg failed and what may help; never with its text of the URL, which holds the password."""
    said = error.strerror if isinstance(error, OSError | FFmpegError) and error.strerror else type(error).__name__
    seconds = NETWORK_US_MAX // 1_000_000
    cures: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
        (av.error.HTTPUnauthorizedError, "401: it refused the user or the password; put them as user:password@host"),
        (av.error.HTTPForbiddenError, "403: this user may not see it; some cameras also say so at too many viewers"),
        (av.error.HTTPNotFoundError, "404: it answers, but has no such path; look up the camera's stream path"),
        (ConnectionRefusedError, "nobody listens there; see whether it is on, and the port is right"),
        (TimeoutError, f"no answer within {seconds} s; see whether it is on and reachable"),
        (PermissionError, "allow this user to read it (a camera device: group video)"),
        (FileNotFoundError, "see whether it is plugged in and spelt right"),
        (av.error.InvalidDataError, "no video came out of it; see whether it is whole, and plays elsewhere"),
        ((av.error.ProtocolNotFoundError, av.error.DemuxerNotFoundError), "FFmpeg cannot read this kind of source"),
        ((av.error.DecoderNotFoundError, av.error.PatchWelcomeError), "have it encoded as H.264, for example"),
        ((av.error.FilterNotFoundError, av.error.OptionNotFoundError), "see FFmpeg's list of filters and options"),
        (
            (av.error.ArgumentError, ValueError),
            "see whether it is spelt as FFmpeg expects, e.g. lavfi:testsrc2=rate=30",
        ),
    )
    cure = next(
        (text for kind, text in cures if isinstance(error, kind)), "see whether it plays elsewhere, e.g. ffplay"
    )
    return f"{doing} ({said})", cure
