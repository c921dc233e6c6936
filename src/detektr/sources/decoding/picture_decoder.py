"""Decodes the packets of one stream into whole pictures: codec threads, hardware, key frame first, skipped packets."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, cast

import av
from av import Codec, CodecContext, FFmpegError, Packet, VideoFrame
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from detektr.errors import SourceError
from detektr.options import SECOND_NS, CaptureOptions
from detektr.selection.rate_limiter import RateLimiter
from detektr.sources.decoding.auto_rotate import UPRIGHT, orientation_of
from detektr.sources.decoding.packet_history import PacketHistory, SentPacket
from detektr.sources.timeline import exact, rate_of

LIVE_THREADS = 1  # of a decoder: cameras share the cores with each other and with who looks at the pictures
FILE_THREADS_MAX = 16
# More than cores, as they wait for each other's rows and work on while we copy; but each holds two pictures.
FILE_THREADS_MORE, FILE_THREADS_MORE_LEAST = 6, 2
FILE_AHEAD_PIXELS = 17_000_000  # of all that those beyond the cores hold
EVEN_PACKETS_MIN = 16  # in even steps, before it is foretold which pictures `fps` will leave out
SENT_MAX = 256  # packets remembered until their picture comes out; decoders hold back far fewer
HARDWARE_ERRORS_MAX = 8  # packets refused one after the other until a hardware decoder is given up
_DAMAGE = (  # what software says of a packet; a decoder that has given pictures may say anything
    *(av.error.InvalidDataError, av.error.UndefinedError, av.error.ExternalError, av.error.UnknownError),
    av.error.BugError,
)
# A packet of a file without a time is given a name in its place, by which its picture is known until it comes out.
_FIRST_NAME, _LAST_NAME = -(1 << 41), -(1 << 40)
_RECOVERING = ("h264", "hevc")
CLEAN_NS_MIN = 5 * SECOND_NS  # in which a stream that shows no key frame is decoded without a fault
_HARDWARE = {"cuda": "", "qsv": "_qsv"}  # what FFmpeg adds to a codec's name for that decoder
_OUTPUT_CORRUPT = 1 << 3  # AV_CODEC_FLAG_OUTPUT_CORRUPT: damaged pictures come out, marked, and are counted here
_STRICT = {"err_detect": "explode"}  # damage that a decoder would paint over is an error
_PAINTED_OVER = frozenset(("amv", "jpegls", "mjpeg", "mjpegb", "sp5x", "thp"))  # by these, and nothing refers to it


_log = logging.getLogger(__name__)


@dataclass
class DecodedFrame:
    """A whole picture out of the decoder, in the order in which pictures are shown."""

    frame: VideoFrame
    place: int
    """How many pictures of the stream came before it."""
    received_ns: int | None
    """What was said of its packet."""


class _Sent(NamedTuple):
    received_ns: int | None
    is_skippable: bool


class PictureDecoder:
    """Decodes one source, over all its connections or rounds; belongs to the thread that calls `decode`.

    Pictures that `fps` leaves out are not even decoded where the codec allows that: any of a codec whose pictures are
    all key frames, else those that no other picture refers to. What comes out is the same as without that.

    Several threads lose whole pictures around damage, and do not mark all that is damaged. So at its first sign one
    thread goes over the packets again whose pictures have not come out, and goes on alone.

    Args:
        name: the source, without secrets, for errors.
        options: fps, decode, hwaccel and decoder_threads are heeded.
        is_live: True: few threads, no delay, and nothing before the first key frame of each connection.
    """

    def __init__(self, name: str, options: CaptureOptions, *, is_live: bool) -> None:
        self.thinned = 0
        """Pictures left out by `fps` or `decode: keyframes`, decoded or not."""
        self.corrupt = 0
        """Pictures and packets left out because they were damaged, or lacked the key frame that they refer to."""
        self.decoded = 0
        """Pictures handed out or thinned out since `begin`."""
        self._name, self._options, self._is_live = name, options, is_live
        self._is_keys_only = options.decode == "keyframes"
        self._why_software = ""

    @property
    def mode(self) -> str:
        """Say in short words how it decodes, and why not by hardware where that was asked for."""
        what = f"{self._hardware or 'software'} decoder"
        why = f" ({self._why_software})" if self._why_software else ""
        return f"{what}{why}{', key frames only' if self._is_keys_only else ''}"

    def begin(self, stream: VideoStream, opened_again: Callable[[], VideoStream] | None = None) -> None:
        """Decode another stream from now on: the first one, that of a new connection, or a file's next round.

        Args:
            stream: of an open input.
            opened_again: returns the same stream out of an input of its own, of which nothing is read; None: it cannot
                be opened twice.
        Raises:
            SourceError: this FFmpeg has no decoder for it.
        """
        software = cast("VideoCodecContext | None", stream.codec_context)
        if software is None:
            raise SourceError(
                f"source {self._name}: its codec is unknown to this FFmpeg; have it encoded as H.264, for example"
            )
        self._time_base, self._rate = exact(stream.time_base), rate_of(stream)
        self._rate_limiter = None if self._options.fps is None else RateLimiter(self._options.fps)
        self._step = 1 / self._rate if self._rate else None
        self._is_thinned_by_packet = software.codec.intra_only or self._is_keys_only
        self._sent: dict[int, _Sent] = {}
        self._dts: int | None = None
        self._named = 0  # packets without a time
        self._packets = self._even_packets = self.decoded = self._errors = 0
        self._is_begun = not self._is_live
        self._is_keyless, self._is_lenient = True, False
        self._clean_since_ns: int | None = None
        self._is_turn_known = self._is_live  # streams do not say that they are turned
        self._opened_again, self._history, self._gone_back = opened_again, PacketHistory(), frozenset[int | None]()
        self._software = self._prepared(software)
        self._hardware, self._context = "", self._software
        if self._software.thread_count == 1 or self._options.hwaccel != "none" or self._is_keys_only:
            self._opened_again = None
        be_strict(self._software, is_more=self._opened_again is not None)
        if self._options.hwaccel != "none":
            self._begin_hardware()

    def decode(self, packet: Packet[VideoStream] | None, received_ns: int | None = None) -> list[DecodedFrame]:
        """Return the pictures that come out after this packet: none, one, or several.

        Args:
            packet: the next one of the stream; None: the stream has ended, what is held back comes out.
            received_ns: monotonic time at which it was read; None: it does not matter.
        Raises:
            FFmpegError: the decoder failed for good, which no damaged packet makes it do.
        """
        is_end = packet is None or not packet.size
        if packet is not None and not is_end:
            if not self._shall_decode(packet, received_ns):
                self.thinned += 1
                return []
            if packet.pts is None and self._opened_again is not None:
                self._named += 1
                packet.pts = _FIRST_NAME + self._named
            self._remember(packet, received_ns)
            if self._hardware and not self._is_turn_known:
                self._look_for_turn(packet)
        return self._decoded_by(None if is_end else packet, received_ns)

    def _decoded_by(self, packet: Packet[VideoStream] | None, received_ns: int | None) -> list[DecodedFrame]:
        """Let the decoder have a packet, or give what it holds back where there is none."""
        is_end = packet is None
        try:
            frames = self._context.decode(packet)
            if self._is_keys_only and not is_end:
                # Alone, a key frame would wait for the next one: the decoder cannot know that nothing comes between.
                frames += self._context.decode(None)
                self._context.flush_buffers()
        except FFmpegError as error:
            if self._may_go_back:
                return self._went_back(is_end=is_end)
            return self._failed(error, packet, received_ns)
        if frames:
            self._errors = 0
            if self._clean_since_ns is None:
                self._clean_since_ns = received_ns
        whole: list[DecodedFrame] = []
        for frame in frames:
            if frame.is_corrupt and self._may_go_back:
                return whole + self._went_back(is_end=is_end)
            kept = self._kept(frame, received_ns)
            if kept is not None:
                whole.append(kept)
        if is_end and self._may_go_back and not all(sent.is_skippable for sent in self._sent.values()):
            return whole + self._went_back(is_end=True)  # threads end without a word at a picture that is cut off
        if is_end:
            self.thinned += sum(sent.is_skippable for sent in self._sent.values())
            self._sent.clear()
        return whole

    @property
    def _may_go_back(self) -> bool:
        return self._opened_again is not None and any(True for _ in self._history)

    def _went_back(self, *, is_end: bool) -> list[DecodedFrame]:
        """Decode with one thread from now on, beginning with the packets whose pictures have not come out."""
        assert self._opened_again is not None
        _log.info("source %s: damage behind picture %d: one thread decodes from here on", self._name, self.decoded)
        history, self._history = list(self._history), PacketHistory()
        # What has come out, or was left out, does so once.
        self._gone_back = frozenset({one.packet.pts for one in history} - set(self._sent))
        stream = self._opened_again()
        self._opened_again = None
        self._software = self._context = stream.codec_context
        self._software.thread_type, self._software.thread_count = "SLICE", 1
        self._software.flags |= _OUTPUT_CORRUPT
        be_strict(self._software)
        whole = []
        for packet, received_ns, skip_frame in history:
            self._context.skip_frame = skip_frame
            whole += self._decoded_by(packet, received_ns)
        return whole + (self._decoded_by(None, None) if is_end else [])

    def try_begin_without_key(self, now_ns: int) -> bool:
        """Show pictures from now on that do not go back to a key frame, where none has come and nothing was refused.

        That is what a stream with intra refresh comes to whose recovery points are not marked or not found; all
        pictures are shown then, until one comes that the decoder holds to be whole.

        Args:
            now_ns: now, monotonic; there must have been pictures without a fault for `CLEAN_NS_MIN`.
        """
        is_clean = self._clean_since_ns is not None and now_ns - self._clean_since_ns >= CLEAN_NS_MIN
        if self._is_begun or not self._is_keyless or not is_clean:
            return False
        self._is_begun = self._is_lenient = True
        return True

    def _shall_decode(self, packet: Packet[VideoStream], received_ns: int | None) -> bool:
        """Tell whether the decoder must see the packet; if so, it is told whether it may skip it."""
        if self._is_keys_only and not packet.is_keyframe:
            return False
        if self._rate_limiter is None:
            return True
        if self._is_thinned_by_packet:
            self._packets += 1
            moment = self.moment(packet.pts, self._packets - 1)
            return self._rate_limiter.takes(_told(moment, received_ns))
        is_needed = True
        if packet.pts is not None and self._time_base is not None and self._step is not None:
            is_even = self._count_even(packet.dts, self._time_base, self._step) > EVEN_PACKETS_MIN
            is_needed = not is_even or self._rate_limiter.may_take(packet.pts * self._time_base, self._step)
        self._context.skip_frame = "DEFAULT" if is_needed else "NONREF"
        return True

    def _count_even(self, dts: int | None, time_base: Fraction, step: Fraction) -> int:
        """Count the packets since time last went on in other steps than the stream's rate says."""
        is_even = dts is not None and self._dts is not None and 8 * abs((dts - self._dts) * time_base - step) < step
        self._dts, self._even_packets = dts, self._even_packets + 1 if is_even else 0
        return self._even_packets

    def _remember(self, packet: Packet[VideoStream], received_ns: int | None) -> None:
        if packet.pts is not None:
            is_skippable = self._context.skip_frame == "NONREF"
            self._sent[packet.pts] = _Sent(received_ns, is_skippable)
            if len(self._sent) > SENT_MAX:
                self.thinned += self._sent.pop(next(iter(self._sent))).is_skippable
        if self._opened_again is not None:
            self._history.add(SentPacket(packet, received_ns, self._context.skip_frame), self._sent)

    def _kept(self, frame: VideoFrame, received_ns: int | None) -> DecodedFrame | None:
        """Return the picture unless it is damaged, without its key frame, or left out by `fps`; and count."""
        pts = frame.pts
        if pts in self._gone_back:
            return None
        if pts is not None and pts < _LAST_NAME:
            self._sent.pop(pts, None)
            frame.pts = pts = None
        if pts is not None:
            sent = self._sent.pop(pts, None)
            received_ns = received_ns if sent is None else sent.received_ns
            for earlier in [
                earlier for earlier in self._sent if _LAST_NAME < earlier < pts
            ]:  # they did not come out: skipped
                self.thinned += self._sent.pop(earlier).is_skippable
        # With intra refresh no key frame ever comes: these codecs mark what was decoded before a recovery point.
        if not frame.is_corrupt:
            self._is_begun |= self._is_keyless and self._context.codec.canonical_name in _RECOVERING
            self._is_lenient = False
        if frame.key_frame:  # a damaged one is no beginning: what refers to it would come out smeared, and unmarked
            self._is_begun = not frame.is_corrupt or (self._is_begun and not self._is_live)
            self._is_keyless = False
        if not self._is_begun or (frame.is_corrupt and not self._is_lenient):
            self.corrupt += 1
            return None
        place, self.decoded = self.decoded, self.decoded + 1
        if self._rate_limiter is not None and not self._is_thinned_by_packet:
            # Those that were skipped make the time since the one before longer than it is in the stream.
            step = self._step if self._even_packets > EVEN_PACKETS_MIN else None
            if not self._rate_limiter.takes(_told(self.moment(pts, place), received_ns), step):
                self.thinned += 1
                return None
        return DecodedFrame(frame, place, received_ns)

    def moment(self, pts: int | None, place: int) -> Fraction | None:
        """Return a picture's time in seconds on its stream's own line; None: it has none, and the stream no rate.

        Args:
            pts: its own, in units of the time base; None: it goes by the stream's rate, where it is no live one.
            place: how many pictures of the stream came before it.
        """
        if pts is not None and self._time_base is not None:
            return pts * self._time_base
        return place / self._rate if self._rate and not self._is_live else None

    def _failed(
        self, error: FFmpegError, packet: Packet[VideoStream] | None, received_ns: int | None
    ) -> list[DecodedFrame]:
        """Count a broken packet, with which the decoder goes on; leave a hardware decoder that takes none."""
        is_damage = isinstance(error, _DAMAGE)
        self._errors += 1
        self._clean_since_ns = None
        if self._hardware and (not is_damage or not self.decoded or self._errors > HARDWARE_ERRORS_MAX):
            self._why_software = f"{self._hardware}: {error.strerror}"
            self._hardware, self._context = "", self._software
            self._is_begun = False  # the pictures that the next ones refer to went with the other decoder
            return self.decode(packet, received_ns)
        if isinstance(error, MemoryError) or not (is_damage or self.decoded):
            raise error
        self.corrupt += 1
        if packet is not None and packet.pts is not None:
            self._sent.pop(packet.pts, None)
        return []

    def _look_for_turn(self, packet: Packet[VideoStream]) -> None:
        """Leave the hardware decoder where a file's pictures are stored turned: only the stream's own says so."""
        self._is_turn_known = True
        try:
            frames = [*self._software.decode(packet), *self._software.decode(None)]
        except FFmpegError:
            return  # a damaged packet, which the hardware decoder will say too
        finally:
            self._software.flush_buffers()
        if any(orientation_of(frame) != UPRIGHT for frame in frames):
            self._why_software = f"{self._hardware}: cannot tell how pictures are turned"
            self._hardware, self._context = "", self._software

    def _prepared(self, context: VideoCodecContext) -> VideoCodecContext:
        threads = self._options.decoder_threads
        context.thread_type = "SLICE" if self._is_live else "AUTO"
        if not threads and self._is_live:
            threads = LIVE_THREADS
        elif not threads and not self._options.realtime:  # a file at its own pace waits anyway: FFmpeg's own choice
            threads = file_threads(context.width * context.height, len(os.sched_getaffinity(0)))
        context.thread_count = threads or 0
        context.flags |= _OUTPUT_CORRUPT
        return context

    def _begin_hardware(self) -> None:
        """Take the first hardware decoder that opens, or say of each why it did not."""
        asked = self._options.hwaccel
        reasons = []
        for name in _HARDWARE if asked == "auto" else (asked,):
            try:
                codec = Codec(self._software.codec.canonical_name + _HARDWARE[name], "r")
                HWAccel(name).create(codec)  # a codec that the device lacks would go unnoticed below
                context = cast(VideoCodecContext, CodecContext.create(codec, "r", HWAccel(name)))
                context.extradata = self._software.extradata
            except (FFmpegError, NotImplementedError, ValueError) as error:
                said = error.strerror if isinstance(error, FFmpegError) else None
                reasons.append(f"{name}: {said or error}")
                continue
            self._hardware, self._context = name, self._prepared(context)
            self._why_software = ""
            return
        self._why_software = "; ".join(reasons)


def be_strict(context: VideoCodecContext, *, is_more: bool = False) -> None:
    """Let a decoder that has not begun refuse damage which it would paint over without marking it; `is_more`: all."""
    if is_more or context.codec.name in _PAINTED_OVER:
        context.options = _STRICT


def file_threads(pixels: int, cores: int) -> int:
    """Return how many threads decode a file at full speed, by the size of its pictures."""
    more = max(FILE_THREADS_MORE_LEAST, min(FILE_THREADS_MORE, FILE_AHEAD_PIXELS // max(2 * pixels, 1)))
    return min(cores + more, FILE_THREADS_MAX)


def _told(moment: Fraction | None, received_ns: int | None) -> Fraction:
    """Return when a picture was taken, or else when it came."""
    return Fraction(received_ns or 0, SECOND_NS) if moment is None else moment
