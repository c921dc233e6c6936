"""Opens inputs of FFmpeg with the right options, and turns its errors into words and a state."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import cast
from urllib.parse import quote, urljoin, urlsplit

import av
from av import FFmpegError
from av.container import InputContainer
from av.stream import Discard
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from detektr.errors import SourceError
from detektr.options import SECOND_NS, CaptureOptions
from detektr.redaction import redact
from detektr.source_uri import is_live, scheme_of, source_kind, source_path
from detektr.sources.timeline import rate_of
from detektr.sources.transport.http_client import HttpClient, HttpError
from detektr.sources.transport.mjpeg_stream import open_pushed
from detektr.sources.transport.variant import Variant, choose_variant, variants_of

PROBE_US = 500_000  # longer probing hands over the seconds it took as old pictures
FORMAT_PROBE_BYTES = 128 << 10
RTSP_SCHEMES = ("rtsp", "rtsps")
_TLS_SCHEMES = ("rtsps", "https", "rtmps", "tls")
_PLAYLISTS = ("hls", "dash")
_PLAYLIST_SUFFIXES = (".m3u8", ".m3u")
_MEDIA_LISTS = (".sdp", ".m3u8", ".m3u", ".mpd")  # files that name where the media are, often on other machines
_LISTED_PROTOCOLS = "file,crypto,data,http,https,httpproxy,tcp,tls,udp,rtp,srtp"
_FILE_SUFFIXES = (
    *(".m3u8", ".m3u", ".mpd", ".sdp", ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".flv", ".ogv"),
    *(".h264", ".h265"),
)
_PUSHED = ("rtsp", "rtp", "sdp", "mpjpeg")  # what these bring has no end, whatever the server says of its length
_SINGLE_PICTURES = ("image2", "image2pipe")
_NO_CAMERA = (errno.ENOTTY, errno.ENODEV, errno.EINVAL)
_SPARE_NS = 1_000_000_000  # FFmpeg's own time-outs come this much after ours, which know more


class TransportError(SourceError):
    """The server refuses the transport, or nothing came by it: another one may work."""


def open_input(options: CaptureOptions, folder: Path, transport: str | None = None) -> InputContainer:
    """Open a source; whoever calls closes it.

    FFmpeg may wait longer than `open_timeout`, since that is a limit of each of its reads.

    Args:
        options: source, width, height (of a device), open_timeout and stall_timeout are heeded.
        folder: where relative files are looked for.
        transport: tcp or udp, for RTSP.
    Raises:
        SourceError: it cannot be opened, or has no video; says what, why and what to do, without secrets.
    """
    url, container_format, ffmpeg_options = _asked(options, folder, transport)
    pushing = None
    if url.startswith(("http://", "https://")) and not _names_a_file(url):
        pushing = open_pushed(url, max(options.open_timeout_ns // 2, options.stall_timeout_ns) / SECOND_NS)
    try:
        if pushing is not None:
            return av.open(pushing, "r", format="mpjpeg")
        container = av.open(url, "r", format=container_format, options=ffmpeg_options, metadata_errors="replace")
    except (FFmpegError, ValueError, OSError) as error:
        raise input_fault(options, error, "cannot be opened") from None
    if not container.streams.video:
        found: set[str] = {stream.type for stream in container.streams}
        container.close()
        if not found and "allowed_media_types" in ffmpeg_options:
            found = _types_of_all(url, ffmpeg_options)
        words = ", ".join(sorted(found)) or "nothing"
        raise fault(options, f"has no video stream (found: {words})", "name a source that has pictures")
    return container


def _names_a_file(url: str) -> bool:
    """Tell whether a URL says itself that a container is there: then it is not asked for what it is."""
    return urlsplit(url).path.lower().endswith(_FILE_SUFFIXES)


def _types_of_all(url: str, ffmpeg_options: dict[str, str]) -> set[str]:
    """Return what a camera has that was not asked for, such as sound; it is not read."""
    asked = {name: text for name, text in ffmpeg_options.items() if name != "allowed_media_types"}
    try:
        with av.open(url, "r", options=asked, metadata_errors="replace") as container:
            return {stream.type for stream in container.streams}
    except (FFmpegError, ValueError, OSError):
        return set()  # it does not answer a second time: what is known of it is said


def video_stream(options: CaptureOptions, container: InputContainer) -> VideoStream:
    """Return the stream with the pictures that is asked for; the others are not read, nor fetched where that is apart.

    Raises:
        SourceError: there is none such; says which there are.
    """
    streams = container.streams.video
    best = container.streams.best("video")
    is_playlist = container.format.name in _PLAYLISTS
    if is_playlist and len(streams) == 1:  # chosen already, where it came from a master playlist
        chosen = streams[0]
    elif options.stream == "best" and isinstance(best, VideoStream) and not is_playlist:
        chosen = best
    else:
        try:
            chosen = streams[choose_variant([_variant(stream) for stream in streams], options.stream)]
        except LookupError as error:
            raise fault(options, str(error), "write `stream: best`, or one of these") from None
    for stream in container.streams:
        if stream.type == "video" and stream is not chosen:
            stream.discard = Discard.all
    return chosen


def _variant(stream: VideoStream) -> Variant:
    context = cast("VideoCodecContext | None", stream.codec_context)
    told = stream.metadata.get("variant_bitrate", "")
    bits_per_s = int(told) if told.isdecimal() else (context.bit_rate or 0 if context is not None else 0)
    return Variant(0, 0, bits_per_s) if context is None else Variant(context.width, context.height, bits_per_s)


def has_end(options: CaptureOptions, container: InputContainer) -> bool:
    """Tell whether what was opened is a file, wherever it lies: it has a length or an end, and can be read again.

    A playlist has an end when it says so, anything else when its server tells its length. Where that is not told, the
    container's own duration counts, except for fragments of mp4, which give that of the first one. One picture at a
    URL is a camera's newest, and no file.
    """
    if not is_live(options.source):
        return True
    name = container.format.name
    if source_kind(options.source) == "device" or name in _PUSHED or is_single_picture(container):
        return False
    if name in _PLAYLISTS:
        return bool(container.duration)
    if container.size > 0:
        return True
    is_fragmented = "mp4" in name.split(",") and not container.streams.video[0].frames
    return bool(container.duration) and not is_fragmented


def is_single_picture(container: InputContainer) -> bool:
    """Tell whether what was opened is one picture, such as a JPEG, and no more."""
    name = container.format.name
    return name in _SINGLE_PICTURES or name.endswith("_pipe")


def describe_stream(options: CaptureOptions, stream: VideoStream) -> str:
    """Say what a source is: its name without secrets, codec, size, pixel format and rate."""
    name, codec = redact(options.source), cast("VideoCodecContext | None", stream.codec_context)
    if codec is None:  # this FFmpeg has no decoder for it
        return name
    told = rate_of(stream)
    rate = "" if told is None else f", {float(told):g}/s"
    return f"{name} ({codec.name} {codec.width}x{codec.height} {codec.pix_fmt}{rate})"


def fault(options: CaptureOptions, why: str, hint: str, state: str = "connecting") -> SourceError:
    """Return the error that says of this source what, why and what to do."""
    return SourceError(f"source {redact(options.source)}: {why}; {hint}", state)


def input_fault(options: CaptureOptions, error: Exception, doing: str) -> SourceError:
    """Return FFmpeg's error in words; never with its text of the URL, which holds the password.

    Args:
        options: whose source it is.
        error: what FFmpeg or PyAV raised.
        doing: what failed, such as `cannot be opened`.
    """
    state, hint = _meaning(error, scheme_of(options.source) or "", options, doing)
    said = error.strerror if isinstance(error, OSError | FFmpegError) and error.strerror else type(error).__name__
    text = f"source {redact(options.source)}: {doing} ({said}); {hint}"
    is_transport = isinstance(error, TimeoutError) or getattr(error, "errno", None) == errno.EPROTONOSUPPORT
    return TransportError(text, state) if is_transport else SourceError(text, state)


def _asked(options: CaptureOptions, folder: Path, transport: str | None) -> tuple[str, str | None, dict[str, str]]:
    """Return what to open, FFmpeg's name of its container if it must be told, and FFmpeg's options."""
    source = options.source
    kind = source_kind(source)
    if kind == "lavfi":
        return source.partition(":")[2], "lavfi", {}
    path = source_path(source, folder)
    if path is None:
        return _variant_url(options), None, _network_options(options, transport)
    if not path.exists():
        hint = "see ls /dev/video*" if kind == "device" else f"relative paths start at {folder}"
        raise fault(options, "does not exist", hint, "not_found" if kind == "device" else "connecting")
    if path.is_dir():
        raise fault(options, "is a folder", "name one file")
    if kind == "device":
        has_size = options.width is not None and options.height is not None
        return str(path), "v4l2", {"video_size": f"{options.width}x{options.height}"} if has_size else {}
    if path.suffix.lower() in _MEDIA_LISTS:  # of a file by another name FFmpeg goes nowhere but to other files
        return str(path.absolute()), None, _network_options(options, None) | {"protocol_whitelist": _LISTED_PROTOCOLS}
    return str(path.absolute()), None, {}


def _variant_url(options: CaptureOptions) -> str:
    """Return where to read: of a master playlist, the variant that is asked for, so that no other is even opened."""
    url = encoded(options.source)
    if not urlsplit(url).path.lower().endswith(_PLAYLIST_SUFFIXES) or not url.lower().startswith("http"):
        return url
    client = HttpClient(url, options.open_timeout_ns / SECOND_NS)
    try:
        variants = variants_of(client.fetch().decode("utf-8", "replace"))
    except HttpError:
        return url  # FFmpeg will meet the same, and its errors have states
    finally:
        client.close()
    if not variants:
        return url
    try:
        return urljoin(client.answered_url, variants[choose_variant(variants, options.stream)].uri)
    except LookupError as error:
        raise fault(options, str(error), "write `stream: best`, or one of these") from None


def encoded(url: str) -> str:
    """Write a URL as FFmpeg reads it.

    Its scheme in small letters; user info percent-encoded, so that FFmpeg finds the host behind a password with `@`,
    `/`, `?` or `#`.
    """
    scheme, _, rest = url.partition("://")
    has_login = redact(url).startswith(f"{scheme}://***@")
    scheme = scheme.lower()
    if not has_login:
        return f"{scheme}://{rest}"
    user_info, _, tail = rest.rpartition("@")
    return f"{scheme}://{quote(user_info, safe=':%!$&*+,;=()')}@{tail}"


def _network_options(options: CaptureOptions, transport: str | None) -> dict[str, str]:
    scheme = scheme_of(options.source) or ""
    silence_us = str((max(options.open_timeout_ns, options.stall_timeout_ns) + _SPARE_NS) // 1000)
    # What FFmpeg has not recognised by then is nothing that it knows: it would go on looking, as if nobody answered.
    asked = {"analyzeduration": str(PROBE_US), "formatprobesize": str(FORMAT_PROBE_BYTES), "rw_timeout": silence_us}
    if scheme in RTSP_SCHEMES:
        asked |= {"rtsp_transport": transport or "tcp", "allowed_media_types": "video"}
    if not scheme.startswith("rtmp"):  # there, `timeout` makes FFmpeg a server
        asked["timeout"] = silence_us
    if scheme.startswith("http"):
        asked["live_start_index"] = "-1"  # of HLS: begin with the newest segment, not with the third newest
        # A file whose server breaks off goes on at the same byte; what has no length is not asked for again.
        asked |= {"reconnect": "1", "reconnect_delay_total_max": str(options.stall_timeout_ns // SECOND_NS)}
    return asked


def _meaning(error: Exception, scheme: str, options: CaptureOptions, doing: str) -> tuple[str, str]:
    """Return the state that an error stands for, and what may help."""
    number = getattr(error, "errno", None)
    if scheme in _TLS_SCHEMES and number == errno.EIO and doing == "cannot be opened":
        return "tls_failed", "the encryption could not be agreed on; see whether it speaks TLS at this port"
    if source_kind(options.source) == "device" and number in _NO_CAMERA:
        return "not_found", "it is no camera; see ls /dev/video*, and v4l2-ctl --list-devices for what each one is"
    if number == errno.EPROTONOSUPPORT and scheme in RTSP_SCHEMES:
        return "connecting", "it does not send this way; write `transport: udp`, or `transport: auto`"
    return next(
        (words for kind, words in _meanings(options) if isinstance(error, kind)),
        ("connecting", "see whether it plays elsewhere, e.g. ffplay"),
    )


def _meanings(
    options: CaptureOptions,
) -> tuple[tuple[type[Exception] | tuple[type[Exception], ...], tuple[str, str]], ...]:
    errors = av.error
    return (
        (
            errors.HTTPUnauthorizedError,
            ("unauthorized", "401: it refused the user or the password; put them as user:password@host"),
        ),
        (
            errors.HTTPForbiddenError,
            ("forbidden", "403: this user is not allowed to see it; some cameras also answer this to too many viewers"),
        ),
        (
            errors.HTTPNotFoundError,
            ("not_found", "404: it answers, but has no such path; look up the camera's stream path"),
        ),
        (ConnectionRefusedError, ("connecting", "nobody listens there; see whether it is on, and the port is right")),
        (TimeoutError, ("stalled", f"nothing came for {options.stall_timeout}; see whether it is on and reachable")),
        (PermissionError, ("connecting", "allow this user to read it (a camera device: group video)")),
        (FileNotFoundError, ("connecting", "see whether it is plugged in and spelt right")),
        (
            errors.InvalidDataError,
            ("connecting", "no video came out of it; see whether it is whole, and plays elsewhere"),
        ),
        (
            (errors.ProtocolNotFoundError, errors.DemuxerNotFoundError),
            ("connecting", "FFmpeg cannot read this kind of source"),
        ),
        (
            (errors.DecoderNotFoundError, errors.PatchWelcomeError),
            ("connecting", "have it encoded as H.264, for example"),
        ),
        (
            (errors.FilterNotFoundError, errors.OptionNotFoundError),
            ("connecting", "see FFmpeg's list of filters and options"),
        ),
        (
            (errors.ArgumentError, ValueError),
            ("connecting", "see whether it is spelt as FFmpeg expects, e.g. lavfi:testsrc2=rate=30"),
        ),
    )
