"""Measures a source by reading it for a while, for `detektr probe`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from av import FFmpegError
from av.codec import Codec

from detektr.errors import SourceError
from detektr.options import CaptureOptions
from detektr.redaction import redact
from detektr.source_uri import is_series, scheme_of, source_path
from detektr.sources.decoding.auto_rotate import UPRIGHT, AutoRotate, orientation_of
from detektr.sources.decoding.picture_decoder import PictureDecoder
from detektr.sources.decoding.ring_format import ring_format
from detektr.sources.images import ImageFolderSource
from detektr.sources.timeline import exact, rate_of
from detektr.sources.transport.ffmpeg_input import (
    RTSP_SCHEMES,
    TransportError,
    has_end,
    input_fault,
    open_input,
    video_stream,
)

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

CONTENT_S_MAX = 60  # of what need not be waited for: so much of a file says what the rest is like


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was found; None where the source does not say, or did not send enough to tell."""

    is_live: bool
    codec: str
    profile: str | None
    width: int
    height: int
    format: str
    """FFmpeg's name of the pixel format that comes out of the decoder."""
    ring_format: str
    """That in which a ring holds it."""
    lost: str
    """What it loses by that, in words; empty: nothing."""
    is_interlaced: bool
    rotation_degrees: int
    """By which it is stored turned; width and height are as it is captured, upright."""
    is_mirrored: bool
    """Whether it is stored mirrored, left to right."""
    transport: str
    """tcp or udp, of what is RTSP; empty: the source has none."""
    has_camera_clock: bool | None
    """Whether the camera says what time it is (RTCP); None: this kind of source cannot."""
    other_streams: tuple[str, ...]
    fps_declared: float | None
    fps_measured: float | None
    bits_per_s: float | None
    key_frame_s: float | None
    """Longest time from one key frame to the next; None: there were not two."""
    has_b_frames: bool
    open_s: float
    """From the begin of opening until the stream was known."""
    first_frame_s: float
    """From the begin of opening to the first whole picture."""
    cpu_ms: float
    """CPU time of reading and decoding one picture."""
    pictures: int
    before_key: int
    """Pictures left out because the stream was come upon between two key frames."""
    corrupt: int
    """Packets and pictures that were damaged after that."""
    content_s: float
    """Length of what was read, by its own times."""


class _Packets:
    """Counts what is known without decoding."""

    def __init__(self, time_base: Fraction | None) -> None:
        self.time_base = time_base
        self.count = self.nbytes = 0
        self.moments_s: list[Fraction] = []
        self.last_s = Fraction(0)
        self.key_s: Fraction | None = None
        self.longest_key_s: Fraction | None = None
        self.has_reordered = False

    def add(self, pts: int | None, nbytes: int, *, is_key: bool) -> None:
        """Count one packet, in the order of decoding."""
        self.count += 1
        self.nbytes += nbytes
        if pts is None or self.time_base is None:
            return
        moment = pts * self.time_base
        self.has_reordered |= bool(self.moments_s) and moment < self.last_s
        self.last_s = max(self.last_s, moment) if self.moments_s else moment
        self.moments_s.append(moment)
        if is_key:
            if self.key_s is not None and moment > self.key_s:
                self.longest_key_s = max(self.longest_key_s or Fraction(0), moment - self.key_s)
            self.key_s = moment

    @property
    def span_s(self) -> Fraction:
        """Time from the first picture to the last."""
        return max(self.moments_s) - min(self.moments_s) if self.moments_s else Fraction(0)

    def fps(self) -> float | None:
        """Return the usual rate: times that are set right once, when the camera tells its clock, count for nothing."""
        moments_s = sorted(self.moments_s)
        steps_s = sorted(later - sooner for sooner, later in pairwise(moments_s) if later > sooner)
        few = len(steps_s) // 10
        usual_s = steps_s[few : len(steps_s) - few]
        return float(len(usual_s) / sum(usual_s)) if usual_s else None


class _StreamWatch:
    """Reads a stream for a while, and holds what was seen of it."""

    def __init__(self, options: CaptureOptions, container: InputContainer, begun_s: float) -> None:
        self.stream = video_stream(options, container)
        self.is_live = not has_end(options, container)
        self.begun_s, self.open_s = begun_s, time.monotonic() - begun_s
        self.packets = _Packets(exact(self.stream.time_base))
        self.first: VideoFrame | None = None  # upright
        self.orientation = UPRIGHT
        self.first_frame_s = self.cpu_s = 0.0
        self.pictures = self.before_key = 0
        self._container = container
        self._decoder = PictureDecoder(redact(options.source), options, is_live=self.is_live)
        self._decoder.begin(self.stream)

    @property
    def corrupt(self) -> int:
        """Packets and pictures that were damaged after the first whole picture."""
        return self._decoder.corrupt - self.before_key

    def read(self, seconds: float) -> None:
        """Read for so long; of what need not be waited for, `CONTENT_S_MAX` of its own time at most."""
        end_s, cpu_s = time.monotonic() + seconds, time.process_time()
        for packet in self._container.demux(self.stream):
            if packet.size:
                self.packets.add(packet.pts, packet.size, is_key=packet.is_keyframe)
            for decoded in self._decoder.decode(packet):
                self._see(decoded.frame)
            if time.monotonic() > end_s or (not self.is_live and self.packets.span_s > CONTENT_S_MAX):
                break
        self.cpu_s = time.process_time() - cpu_s

    def _see(self, frame: VideoFrame) -> None:
        self.pictures += 1
        if self.first is None:
            self.first_frame_s, self.orientation = time.monotonic() - self.begun_s, orientation_of(frame)
            self.first = AutoRotate().turn(frame)
            self.before_key = self._decoder.corrupt


def survey_source(options: CaptureOptions, folder: Path, seconds: float, opened: Callable[[], None]) -> Survey:
    """Open a source, read it for a while and say what it is; FFmpeg may wait longer than that.

    Args:
        options: source, transport, open_timeout and stall_timeout are heeded.
        folder: where relative files are looked for.
        seconds: how long to read; a file ends sooner, after `CONTENT_S_MAX` of its own time.
        opened: called when it has answered.
    Raises:
        SourceError: it cannot be opened or read, or sends no picture; says what, why and what to do, without secrets.
    """
    begun_s = time.monotonic()
    path = source_path(options.source, folder)
    if path is not None and (path.is_dir() or is_series(path)):
        opened()
        return _survey_images(options, path, seconds, begun_s)
    has_transport = scheme_of(options.source) in RTSP_SCHEMES
    transport = "tcp" if options.transport == "auto" else options.transport
    try:
        container = open_input(options, folder, transport)
    except TransportError:
        if not has_transport or options.transport != "auto":
            raise
        transport = "udp"
        container = open_input(options, folder, transport)
    opened()
    try:
        return _survey_stream(options, container, transport if has_transport else "", seconds, begun_s)
    except FFmpegError as error:
        raise input_fault(options, error, "reading stopped") from None
    finally:
        container.close()


def _survey_images(options: CaptureOptions, path: Path, seconds: float, begun_s: float) -> Survey:
    """Look at a folder or series of images, as far as the time reaches."""
    source = ImageFolderSource(replace(options, loop=False, realtime=False), path)
    open_s, first_frame_s = time.monotonic() - begun_s, 0.0
    end_s, cpu_s = time.monotonic() + seconds, time.process_time()
    first, count = None, 0
    for picture in source.pictures():
        if first is None:
            first, first_frame_s = picture.layout, time.monotonic() - begun_s
        count += 1
        if time.monotonic() > end_s:
            break
    cpu_s = time.process_time() - cpu_s
    assert first is not None, "a folder without a whole picture is a fault"
    return Survey(
        is_live=False,
        codec=source.mode,
        profile=None,
        width=first.width,
        height=first.height,
        format=first.format,
        ring_format=first.format,
        lost="",
        is_interlaced=False,
        rotation_degrees=0,
        is_mirrored=False,
        transport="",
        has_camera_clock=None,
        other_streams=(),
        fps_declared=float(source.rate),
        fps_measured=None,
        bits_per_s=None,
        key_frame_s=float(1 / source.rate),
        has_b_frames=False,
        open_s=open_s,
        first_frame_s=first_frame_s,
        cpu_ms=1000 * cpu_s / count,
        pictures=count,
        before_key=0,
        corrupt=source.corrupt,
        content_s=float(count / source.rate),
    )


def _survey_stream(
    options: CaptureOptions, container: InputContainer, transport: str, seconds: float, begun_s: float
) -> Survey:
    watch = _StreamWatch(options, container, begun_s)
    watch.read(seconds)
    stream, packets, first = watch.stream, watch.packets, watch.first
    if first is None:
        what = f"{packets.count} packets and not one whole picture within {seconds:g} s"
        hint = "its key frames may be rarer than that: try --for 30s" if packets.count else "see whether it plays"
        raise SourceError(f"source {redact(options.source)}: {what}; {hint}")
    held = ring_format(first)
    codec = stream.codec_context
    fps, rate = rate_of(stream), packets.fps()
    return Survey(
        is_live=watch.is_live,
        codec=codec.canonical_name if hasattr(codec, "canonical_name") else codec.name,
        profile=codec.profile or None,
        width=first.width,
        height=first.height,
        format=first.format.name,
        ring_format=held.name,
        lost=held.lost,
        is_interlaced=bool(first.interlaced_frame),
        rotation_degrees=watch.orientation.degrees,
        is_mirrored=watch.orientation.is_mirrored,
        transport=transport,
        has_camera_clock=bool(container.start_time_realtime) if transport else None,
        other_streams=tuple(sorted(other.type for other in container.streams if other is not stream)),
        fps_declared=None if fps is None else float(fps),
        fps_measured=rate,
        bits_per_s=None if rate is None else 8 * rate * packets.nbytes / packets.count,
        key_frame_s=None if packets.longest_key_s is None else float(packets.longest_key_s),
        has_b_frames=packets.has_reordered,
        open_s=watch.open_s,
        first_frame_s=watch.first_frame_s,
        cpu_ms=1000 * watch.cpu_s / watch.pictures,
        pictures=watch.pictures,
        before_key=watch.before_key,
        corrupt=watch.corrupt,
        content_s=float(packets.span_s),
    )


def decodable(codecs: Iterable[str]) -> tuple[str, ...]:
    """Return which of these codecs, by their FFmpeg names, can be decoded in software here."""
    found = []
    for name in codecs:
        with contextlib.suppress(FFmpegError, ValueError):
            Codec(name, "r")
            found.append(name)
    return tuple(found)
