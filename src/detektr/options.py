"""The options of nodes: one dataclass a kind, the single source of the file's keys, defaults and JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from detektr.picture import ALIASES, FORMATS
from detektr.plugins import REFERENCE, SHORT_NAME

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
SECOND_NS = 1_000_000_000
DURATION_NS_MAX = 366 * 24 * 3600 * SECOND_NS  # far below what a 64-bit word and the kernel's timers can hold
STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}
_UNIT_NS = {"ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS}
_DURATION_PATTERN = r"[0-9]{1,9}(?:\.[0-9]{1,9})? ?(?:ms|s|m|h)"
_DURATION = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)\s*")


@dataclass(frozen=True)
class Text:
    """What a text must look like: for the validator, for editors (a pattern) and for people (words)."""

    pattern: str
    words: str
    choices: tuple[str, ...] = ()
    """All texts that there are, where they are few."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the pattern to the schema of a text; pydantic asks for this by name, so it need not be imported."""
        return {**handler(source), "pattern": self.pattern}


WhenFull = Literal["drop-oldest", "drop-newest", "block"]
Lane = Literal["zmq", "shm"]
Name = Annotated[str, Text(NAME_PATTERN, "a name (a letter, then at most 31 letters, digits, _ or -)")]
Duration = Annotated[str, Text(rf"^{_DURATION_PATTERN}$", "a time such as 500ms, 10s, 2m or 1h")]
Pauses = Annotated[
    str, Text(rf"^{_DURATION_PATTERN}\.\.{_DURATION_PATTERN}$", "a first and a longest pause such as 1s..60s")
]
Rate = Annotated[str, Text(rf"^[0-9]{{1,4}} in {_DURATION_PATTERN}$", "a count and a time such as 5 in 10m")]
_FORMATS = (*FORMATS, *ALIASES)
PixelFormatName = Annotated[
    str,
    Text(f"^({'|'.join(_FORMATS)})$", "FFmpeg's name of a pixel format such as yuv420p or bgr24", choices=_FORMATS),
]
VideoStreamChoice = Annotated[
    str, Text(r"^(best|[1-9][0-9]{0,4}p|[1-9][0-9]{0,6}k|#[0-9]{1,3})$", "best, a height such as 720p, 1500k, or #1")
]
EnvName = Annotated[
    str, Text(r"^[A-Za-z_][A-Za-z0-9_]{0,254}$", "a name of A-Z, a-z, 0-9 and _ that begins with no digit")
]
CPU_MAX = 8191  # the most that Linux can be built for
Reference = Annotated[
    str,
    Text(
        rf"^({REFERENCE}|{SHORT_NAME})$",
        "a module and what is in it such as my.module:MyClass, or a short name such as motion",
    ),
]


class OptionError(ValueError):
    """A value that its kind allows, and the option does not."""

    def __init__(self, name: str, value: object, expected: str, example: str) -> None:
        """Say which option it is, its value, what is expected, and an example of that."""
        super().__init__(f"{name} {value!r} must be {expected}; e.g. {example}")
        self.name, self.expected = name, expected


def duration_ns(text: str) -> int:
    """Read a duration such as `500ms`, `10s`, `2m` or `1h`.

    Args:
        text: a number with a unit out of ms, s, m, h.
    Returns:
        Nanoseconds, 0 or more.
    Raises:
        ValueError: the text is not a number with a unit, or is longer than a year.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a number with a unit out of ms, s, m, h, e.g. 500ms")
    span_ns = round(float(match.group(1)) * _UNIT_NS[match.group(2)])
    if span_ns > DURATION_NS_MAX:
        raise ValueError(f"{text!r} is longer than a year; leave the key out, or write a shorter time, e.g. 24h")
    return span_ns


def _option_ns(name: str, text: str) -> int:
    """Read the duration that an option has, in nanoseconds.

    Raises:
        OptionError: it is longer than a year, or no duration.
    """
    try:
        return duration_ns(text)
    except ValueError:
        raise OptionError(name, text, "a duration of at most a year", "24h") from None


@dataclass(frozen=True, kw_only=True)
class RestartOptions:
    """When and how often a node is started again after it ended."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    when: Literal["on-failure", "always", "never"] = "on-failure"
    """on-failure: when it ends before its work is done, up to `limit`; always: the same, without a limit; never."""
    backoff: Pauses = "1s..60s"
    """First and longest pause between tries, doubling, with jitter."""
    limit: Rate = "5 in 10m"
    """More failures than this within that time and the node is `failed` for good."""

    def __post_init__(self) -> None:
        _ = (self.backoff_ns, self.limit_count_ns)

    @property
    def backoff_ns(self) -> tuple[int, int]:
        """First and longest pause, in nanoseconds."""
        first, dots, longest = self.backoff.partition("..")
        if not dots:
            raise OptionError("backoff", self.backoff, "first..longest", "1s..60s")
        pauses = _option_ns("backoff", first), _option_ns("backoff", longest)
        if not 0 < pauses[0] <= pauses[1]:
            raise OptionError("backoff", self.backoff, "a growing range above nothing", "1s..60s")
        return pauses

    @property
    def limit_count_ns(self) -> tuple[int, int]:
        """Failures allowed, and within how many nanoseconds."""
        count, word, within = self.limit.partition(" in ")
        if not word or not count.isdecimal() or _option_ns("limit", within) == 0:
            raise OptionError("limit", self.limit, "a count and a time longer than nothing", "5 in 10m")
        return int(count), _option_ns("limit", within)


@dataclass(frozen=True, kw_only=True)
class _NodeOptions:
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    restart: RestartOptions = field(default_factory=RestartOptions)
    """When and how often this node is started again."""
    optional: bool = False
    """True: nobody waits for this node. What it is too slow for is dropped as `consumer_slow`, the end of a run waits
    for it for its `drain` at most, and the pipeline goes on, and ends with 0, when it has failed for good."""
    start_timeout: Duration = "60s"
    """A node that is not ready by then is killed and counted as failed."""
    drain: Duration = "10s"
    """How long a stop may take to finish what is queued; the rest is dropped as `stopped`."""
    env: Mapping[EnvName, str] = field(default_factory=dict)
    """Environment variables of this node's processes, above those that detektr was started with."""
    cpus: list[Annotated[int, Ge(0), Le(CPU_MAX)]] | None = None
    """CPUs that its processes may run on, by number as in `lscpu -e`; else all that detektr itself may run on."""
    nice: Annotated[int, Ge(-20), Le(19)] | None = None
    """Priority of its processes: 19 gives way to all others; below that of detektr itself needs a right."""

    def __post_init__(self) -> None:
        for name in ("start_timeout", "drain", "timeout", "max_age", "open_timeout", "stall_timeout"):
            value = getattr(self, name, None)
            if value is not None and _option_ns(name, value) == 0 and name != "drain":
                raise OptionError(name, value, "longer than nothing", "10s")
        if self.cpus is not None and (not self.cpus or len(set(self.cpus)) < len(self.cpus)):
            raise OptionError("cpus", self.cpus, "a list of one CPU or more, each once", "[2, 3]")

    @property
    def drain_ns(self) -> int:
        """Longest time a stop may take, in nanoseconds."""
        return duration_ns(self.drain)

    @property
    def start_timeout_ns(self) -> int:
        """Longest time until the node is ready, in nanoseconds."""
        return duration_ns(self.start_timeout)


@dataclass(frozen=True, kw_only=True)
class CaptureOptions(_NodeOptions):
    """A camera, a file or a generator of pictures, decoded into a ring."""

    kind: Literal["capture"] = "capture"
    source: str
    """clip.mp4, a folder of images, rtsp://..., http(s)://..., /dev/video0, lavfi:..., or python:my.module:pictures."""
    camera: Name | None = None
    """The camera's name in frame ids; the node's own name unless told otherwise."""
    with_: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for a python: source (written `with` in the file)."""
    realtime: bool = False
    """A file at its own pace (a generator's pictures without a time: at `fps`); false: as fast as they are taken,
    and offered several at a time."""
    loop: bool = False
    """Start a file again when it ends."""
    transport: Literal["tcp", "udp", "auto"] = "tcp"
    """How an rtsp:// camera sends; auto: by udp where tcp is refused or brings nothing."""
    stream: VideoStreamChoice = "best"
    """Which of several video streams, or variants of a playlist (HLS, DASH): the best, by height (720p), by most
    kbit/s (1500k), each or the next below, or by its place (#1). The others are not fetched."""
    open_timeout: Duration = "10s"
    """Longest time until a live source answers; it is tried again."""
    stall_timeout: Duration = "10s"
    """A live source without a picture for this long is `stalled`, and opened again; key frames must come more often."""
    fps: Annotated[float, Ge(0.001), Le(1000)] | None = None
    """Thin out to this many frames a second, evenly; the others count as `thinned`. A folder of images has so many, and
    one picture at a URL is asked for so often (1 unless told otherwise)."""
    decode: Literal["all", "keyframes"] = "all"
    """keyframes: only pictures that stand alone, for cheap watching of many cameras; the others count as `thinned`."""
    hwaccel: Literal["auto", "cuda", "qsv", "none"] = "none"
    """Decode by hardware; where that fails it is done in software, and the status says why."""
    decoder_threads: Annotated[int, Ge(1), Le(64)] | None = None
    """Threads of the decoder; else 1 for a live source, and two to six more than cores for a file at full speed."""
    format: PixelFormatName | None = None
    """Pixel format in the ring (an FFmpeg name); the decoder's own unless told otherwise."""
    width: Annotated[int, Ge(2), Le(16384)] | None = None
    """Width in pixels, scaled while captured; the source's own unless told otherwise."""
    height: Annotated[int, Ge(2), Le(16384)] | None = None
    """Height in pixels."""
    slots: Annotated[int, Ge(2), Le(65536)] | None = None
    """Slots in the ring; follows from the graph unless told otherwise, and may not be fewer than it needs."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] = 8
    """Most frames queued for one consumer of this capture."""
    when_full: WhenFull | None = None
    """Policy at the mark; a file, served or not, blocks and a live source drops the oldest unless told otherwise."""
    guests: Annotated[int, Ge(0), Le(1024)] = 8
    """Slots kept for consumers that are not in the file (`detektr.attach`)."""

    @property
    def open_timeout_ns(self) -> int:
        """Longest time until a live source answers, in nanoseconds."""
        return duration_ns(self.open_timeout)

    @property
    def stall_timeout_ns(self) -> int:
        """Longest time without a picture of a live source, in nanoseconds."""
        return duration_ns(self.stall_timeout)


@dataclass(frozen=True, kw_only=True)
class EdgeInput:
    """One input, and what is agreed for the edge from it: what is left out is as its producer says for all edges."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    from_: Name
    """The node to read from (written `from` in the file); `cameras` is all cameras."""
    when_full: WhenFull | None = None
    """What happens at the mark of this edge: drop-oldest, drop-newest or block."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] | None = None
    """Most frames, or events, queued on this edge for one input of its producer; frames of a processor: 2 unless told
    otherwise."""
    max_age: Duration | None = None
    """Frames older than this, counted from their capture, are dropped as `too_old`: when their turn comes, and once
    more when the work on them is about to begin."""
    fps: Annotated[float, Ge(0.001), Le(1000)] | None = None
    """Thin each camera out to this many frames a second, evenly, by the frames' own times; the others count as
    `thinned`."""
    cameras: Name | list[Name] | None = None
    """Only frames of these cameras; the others count as `filtered`."""
    only: Literal["results"] | None = None
    """results: only frames for which the processor that is read returned something; the others count as `filtered`."""

    def __post_init__(self) -> None:
        if self.max_age is not None and _option_ns("max_age", self.max_age) == 0:
            raise OptionError("max_age", self.max_age, "longer than nothing", "10s")
        names = self.camera_names
        if self.cameras is not None and not names:
            raise OptionError("cameras", self.cameras, "at least one camera's name", "[door]")
        if len(set(names)) < len(names):
            raise OptionError("cameras", list(names), "names of cameras, each once", "[door]")

    @property
    def max_age_ns(self) -> int | None:
        """Oldest age of a frame on this edge, in nanoseconds; None: as its producer says."""
        return None if self.max_age is None else duration_ns(self.max_age)

    @property
    def camera_names(self) -> tuple[Name, ...]:
        """Cameras whose frames pass; empty: all."""
        return (self.cameras,) if isinstance(self.cameras, str) else tuple(self.cameras or ())


Input = Name | EdgeInput


@dataclass(frozen=True, kw_only=True)
class BufferOptions(_NodeOptions):
    """Holds announcements, never pixels, and applies the high-water mark."""

    kind: Literal["buffer"] = "buffer"
    input: Input | list[Input]
    """The capture, buffer or processor to read from (a name, or a mapping with `from` and what this edge has of its
    own), or a list of them; `cameras` is all cameras."""
    per_camera: bool = False
    """One of these for each of the file's `cameras` (NAME-CAMERA), reading what there is of that camera alone."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] = 64
    """Most frames queued for one consumer and one input."""
    low_water_mark: Annotated[int, Ge(0), Le(65535)] | None = None
    """After the mark was reached, frames are taken again below this; one under the mark unless told otherwise."""
    when_full: WhenFull = "drop-oldest"
    """What happens at the mark: drop-oldest, drop-newest or block."""
    max_age: Duration | None = None
    """Frames older than this, counted from their capture, are dropped as `too_old` instead of worked on."""
    announce: Lane | None = None
    """How this node is told of frames: zmq (messages) or shm (shared memory); else as `announce` of the pipeline."""
    guests: Annotated[int, Ge(0), Le(1024)] = 8
    """Frames that consumers outside the file (`detektr.attach`) may hold together."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low_water_mark is not None and self.low_water_mark >= self.high_water_mark:
            mark = self.high_water_mark
            raise OptionError("low_water_mark", self.low_water_mark, f"below high_water_mark {mark}", str(mark - 1))

    @property
    def max_age_ns(self) -> int | None:
        """Oldest age at which a frame is still delivered, in nanoseconds; None: any."""
        return None if self.max_age is None else duration_ns(self.max_age)


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(_NodeOptions):
    """What processors and sinks share."""

    input: Input | list[Input]
    """The node to read from (a name, or a mapping with `from` and what this edge has of its own), or a list of them;
    `cameras` is all cameras."""
    per_camera: bool = False
    """One of these for each of the file's `cameras` (NAME-CAMERA), reading what there is of that camera alone."""
    use: Reference
    """Class, object or function: module:Name, found on PYTHONPATH and beside the pipeline file, or a short name."""
    with_: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for it (written `with` in the file)."""
    window: Annotated[int, Ge(1), Le(1024)] = 4
    """Most leases one replica holds at once; with several inputs: of each."""
    max_deliveries: Annotated[int, Ge(1), Le(100)] = 3
    """Attempts at one frame before it is dead-lettered."""
    announce: Lane | None = None
    """How this node is told of its work: zmq (messages) or shm (shared memory); else as `announce` of the pipeline."""
    timeout: Duration = "30s"
    """How long one frame may take before its lease ends and it goes elsewhere; after thrice that, the kill."""

    @property
    def timeout_ns(self) -> int:
        """How long one frame may take, in nanoseconds."""
        return duration_ns(self.timeout)


@dataclass(frozen=True, kw_only=True)
class ProcessorOptions(WorkerOptions):
    """Your code, on every frame."""

    kind: Literal["processor"] = "processor"
    replicas: Annotated[int, Ge(1), Le(64)] = 1
    """Processes that share the work: each frame goes to exactly one of them."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] = 256
    """Most events queued for one sink; frames for a reader have a mark of their own, on its input."""
    when_full: WhenFull = "block"
    """What happens to events, and to frames for a reader, at the mark."""
    event_bytes: Annotated[int, Ge(256), Le(1 << 20)] = 8192
    """Largest event, packed, and most of one frame's results together, where others read the frames; more fails the
    frame."""


@dataclass(frozen=True, kw_only=True)
class SinkOptions(WorkerOptions):
    """Takes the events of processors."""

    kind: Literal["sink"] = "sink"


NodeOptions = CaptureOptions | BufferOptions | ProcessorOptions | SinkOptions


def inputs_of(options: NodeOptions) -> tuple[Name, ...]:
    """Names of the nodes that this one reads from, in the order of the file; empty for a capture."""
    if isinstance(options, CaptureOptions):
        return ()
    return tuple(edge.from_ for edge in edge_inputs(options))


def edge_inputs(options: NodeOptions) -> tuple[EdgeInput, ...]:
    """Inputs of a node, each with what is agreed for its edge, in the order of the file; none for a capture."""
    if isinstance(options, CaptureOptions):
        return ()
    inputs = options.input if isinstance(options.input, list) else [options.input]
    return tuple(EdgeInput(from_=one) if isinstance(one, str) else one for one in inputs)
