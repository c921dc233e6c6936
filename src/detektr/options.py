"""The options of nodes: one dataclass a kind, the single source of the file's keys, defaults and JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from detektr.option_text import CPU_MAX as CPU_MAX
from detektr.option_text import NAME_PATTERN as NAME_PATTERN
from detektr.option_text import STRICT as STRICT
from detektr.option_text import Duration as Duration
from detektr.option_text import EnvName as EnvName
from detektr.option_text import Lane as Lane
from detektr.option_text import Name as Name
from detektr.option_text import OptionError as OptionError
from detektr.option_text import Pauses as Pauses
from detektr.option_text import PixelFormatName as PixelFormatName
from detektr.option_text import Rate as Rate
from detektr.option_text import Reference as Reference
from detektr.option_text import Size as Size
from detektr.option_text import Text as Text
from detektr.option_text import VideoStreamChoice as VideoStreamChoice
from detektr.option_text import WhenFull as WhenFull
from detektr.option_text import option_ns as option_ns
from detektr.option_text import pauses_ns as pauses_ns
from detektr.option_text import size_of as size_of
from detektr.quantity import DURATION_NS_MAX as DURATION_NS_MAX
from detektr.quantity import SECOND_NS as SECOND_NS
from detektr.quantity import duration_ns as duration_ns

DEAD_LETTER_BYTES = 256 << 20
WINDOW = 4  # leases of a replica unless told otherwise: fast work never waits for the next one
PULL_WINDOW = 16  # frames that wait for clients that pull, or are out at them, unless told otherwise
PULL_DELIVERIES = 5  # how often a frame is given out to clients unless told otherwise


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
        return pauses_ns("backoff", self.backoff)

    @property
    def limit_count_ns(self) -> tuple[int, int]:
        """Failures allowed, and within how many nanoseconds."""
        count, word, within = self.limit.partition(" in ")
        if not word or not count.isdecimal() or option_ns("limit", within) == 0:
            raise OptionError("limit", self.limit, "a count and a time longer than nothing", "5 in 10m")
        return int(count), option_ns("limit", within)


@dataclass(frozen=True, kw_only=True)
class RetryOptions:
    """How a sink tries an event again that it could not write."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    backoff: Pauses = "1s..60s"
    """First and longest pause between tries, doubling, with jitter."""
    for_: Duration = "1h"
    """How long an event may wait for a sink that fails; then it is dead-lettered (written `for` in the file)."""

    def __post_init__(self) -> None:
        _ = self.backoff_ns
        if self.for_ns == 0:
            raise OptionError("for_", self.for_, "longer than nothing", "1h")

    @property
    def backoff_ns(self) -> tuple[int, int]:
        """First and longest pause, in nanoseconds."""
        return pauses_ns("backoff", self.backoff)

    @property
    def for_ns(self) -> int:
        """How long an event may wait, in nanoseconds."""
        return option_ns("for_", self.for_)


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """How frames come together for one call of `process_batch`."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    size: Annotated[int, Ge(1), Le(256)]
    """Most frames of one call, of all inputs and cameras; a batch that is full begins at once."""
    wait: Duration = "20ms"
    """How long a frame waits for others at most; 0ms: whatever is there is a batch. Nobody waits for frames that cannot
    come, as when the run ends."""

    def __post_init__(self) -> None:
        _ = self.wait_ns

    @property
    def wait_ns(self) -> int:
        """How long a frame waits for others at most, in nanoseconds."""
        return option_ns("wait", self.wait)


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
            if value is not None and option_ns(name, value) == 0 and name != "drain":
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
    memory: Size | None = None
    """Shared memory for this camera's frames, ring and journals together, from which follow the marks and `guests` that
    nobody wrote; else as `memory` of the pipeline."""
    slots: Annotated[int, Ge(2), Le(65536)] | None = None
    """Slots in the ring; follows from the graph unless told otherwise, and may not be fewer than it needs."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] | None = None
    """Most frames queued for one consumer of this capture; follows from `memory` unless told otherwise."""
    when_full: WhenFull | None = None
    """Policy at the mark; a file, served or not, blocks and a live source drops the oldest unless told otherwise."""
    guests: Annotated[int, Ge(0), Le(1024)] | None = None
    """Slots kept for consumers that are not in the file (`detektr.attach`), beyond the frames that are queued for those
    of the file; follows from `memory` unless told otherwise."""

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
    fresh: bool = False
    """True: nothing is kept here but the newest frame of each input, and each replica holds one frame at a time."""
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
        if self.max_age is not None and option_ns("max_age", self.max_age) == 0:
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
    high_water_mark: Annotated[int, Ge(1), Le(65536)] | None = None
    """Most frames queued for one consumer and one input; follows from `memory` of the cameras unless told otherwise."""
    low_water_mark: Annotated[int, Ge(0), Le(65535)] | None = None
    """After the mark was reached, frames are taken again below this; one under the mark unless told otherwise."""
    when_full: WhenFull = "drop-oldest"
    """What happens at the mark: drop-oldest, drop-newest or block."""
    max_age: Duration | None = None
    """Frames older than this, counted from their capture, are dropped as `too_old` instead of worked on."""
    announce: Lane | None = None
    """How this node is told of frames: zmq (messages) or shm (shared memory); else as `announce` of the pipeline."""
    guests: Annotated[int, Ge(0), Le(1024)] | None = None
    """Frames that consumers outside the file (`detektr.attach`) may hold together, beyond those that are queued for
    consumers of the file; follows from `memory` of the cameras unless told otherwise."""

    def __post_init__(self) -> None:
        super().__post_init__()
        mark = self.high_water_mark
        if mark is not None and self.low_water_mark is not None and self.low_water_mark >= mark:
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
    window: Annotated[int, Ge(1), Le(1024)] | None = None
    """Most leases one replica holds at once, 4 unless told otherwise; with several inputs: of each. With `batch`: what
    two batches need, if that is more."""
    max_deliveries: Annotated[int, Ge(1), Le(100)] = 3
    """Attempts at one frame before it is dead-lettered."""
    announce: Lane | None = None
    """How this node is told of its work: zmq (messages) or shm (shared memory); else as `announce` of the pipeline."""
    timeout: Duration = "30s"
    """How long one frame, or one batch, may take before its leases end and it goes elsewhere; after thrice that, the
    kill."""

    @property
    def timeout_ns(self) -> int:
        """How long one frame may take, in nanoseconds."""
        return duration_ns(self.timeout)


@dataclass(frozen=True, kw_only=True)
class ProcessorOptions(WorkerOptions):
    """Your code, on every frame."""

    kind: Literal["processor"] = "processor"
    fresh: bool = False
    """True: the newest frame of each camera first, and none waits longer than the work on one frame takes. A camera's
    older frames are dropped; a file at full speed waits instead. As `fresh` at each `input`."""
    replicas: Annotated[int, Ge(1), Le(64)] = 1
    """Processes that share the work: each frame goes to exactly one of them."""
    max_replicas: Annotated[int, Ge(1), Le(64)] | None = None
    """Most of them that `detektr scale` may ask for while the pipeline runs; `memory` and queues are reckoned with so
    many, running or not. Unless you write it, as many as `replicas`."""
    partition_by: Literal["camera"] | None = None
    """camera: each camera's frames go to one replica, in order, as they do without asking where the class says
    `stateful = True`; else each frame goes to the replica with the least work. Below a processor it is `order` too."""
    order: Literal["camera"] | None = None
    """camera: each camera's frames come in the order of their capture, also from replicas that finish them in another:
    a frame waits as long as an earlier one may still come, never longer. Its cameras are partitioned as well."""
    join: Literal["frame"] | None = None
    """frame: the inputs are branches of the same cameras; each frame comes once, when every branch has settled it and
    at least one has passed it on, with all their `results`, and `frame.missing` where a branch has none."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] = 256
    """Most events queued for one sink; frames for a reader have a mark of their own, on its input."""
    when_full: WhenFull = "block"
    """What happens to events, and to frames for a reader, at the mark."""
    event_bytes: Annotated[int, Ge(256), Le(1 << 20)] = 8192
    """Largest event, packed, and most of one frame's results together, where others read the frames; more fails the
    frame."""
    batch: BatchOptions | None = None
    """Frames of all inputs in lists: `process_batch(frames)` is called with up to `size` of them, in place of `process`
    with one, and returns a list with a result for each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.replicas_max < self.replicas:
            expected = f"at least the {self.replicas} that the node begins with (`replicas`)"
            raise OptionError("max_replicas", self.max_replicas, expected, str(self.replicas))
        if self.batch is not None and self.batch.wait_ns >= self.timeout_ns:
            expected = f"one whose `wait` ({self.batch.wait}) is shorter than `timeout` ({self.timeout})"
            raise OptionError("batch", {"wait": self.batch.wait}, expected, "{size: 8, wait: 20ms}")

    @property
    def replicas_max(self) -> int:
        """Most processes that it ever has at once."""
        return self.replicas if self.max_replicas is None else self.max_replicas


@dataclass(frozen=True, kw_only=True)
class SinkOptions(WorkerOptions):
    """Takes the events of processors."""

    kind: Literal["sink"] = "sink"
    retry: RetryOptions | None = None
    """An event that cannot be written is tried again, in order, after pauses, while the events behind it wait in the
    journal: {backoff: 1s..60s, for: 1h}; neither `timeout` nor `max_deliveries` ends its lease meanwhile."""


@dataclass(frozen=True, kw_only=True)
class PullOptions(_NodeOptions):
    """Gives frames out to clients that ask for them over HTTP (`/frames/dequeue`), and keeps what is out over kills."""

    kind: Literal["pull"] = "pull"
    input: Input | list[Input]
    """The capture, buffer or processor to read from (a name, or a mapping with `from` and what this edge has of its
    own), or a list of them; `cameras` is all cameras."""
    per_camera: bool = False
    """One of these for each of the file's `cameras` (NAME-CAMERA), reading what there is of that camera alone."""
    window: Annotated[int, Ge(1), Le(1024)] = PULL_WINDOW
    """Most frames that wait here or are out at clients; with several inputs: of each."""
    max_deliveries: Annotated[int, Ge(1), Le(100)] = PULL_DELIVERIES
    """How often a frame is given out, as its lease expired or its work failed, before it is dead-lettered."""
    announce: Lane | None = None
    """How this node is told of frames: zmq (messages) or shm (shared memory); else as `announce` of the pipeline."""


NodeOptions = CaptureOptions | BufferOptions | ProcessorOptions | SinkOptions | PullOptions


def worker_window(options: WorkerOptions | PullOptions) -> int:
    """Return the most leases that one replica holds at once on one input; with `batch`, all inputs fill two batches."""
    if options.window is not None:
        return options.window
    batch = options.batch if isinstance(options, ProcessorOptions) else None
    inputs = len(options.input) if isinstance(options.input, list) else 1
    return WINDOW if batch is None else max(WINDOW, -(-2 * batch.size // max(1, inputs)))


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


def wants_newest(options: ProcessorOptions) -> bool:
    """Whether a processor wants the newest frames of some input only (`fresh`), and so waits for no earlier one."""
    return options.fresh or any([edge.fresh for edge in edge_inputs(options)])
