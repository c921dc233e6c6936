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
PULL_LEASE_S = 30  # how long a frame is a client's unless it asks otherwise


@dataclass(frozen=True, kw_only=True)
class RestartOptions:
    """When and how often a node is started again after it ended."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    when: Literal["on-failure", "always", "never"] = "on-failure"
    """on-failure: the supervisor starts a process again that ends before its work is done, as often as `limit` allows;
    always: the same, without a limit; never: it starts none again."""
    backoff: Pauses = "1s..60s"
    """First and longest pause before a new start: each pause is twice the one before, with jitter."""
    limit: Rate = "5 in 10m"
    """If a process fails more often than this within that time, it is given up, and its node is `failed`."""

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
    """First and longest pause before a new attempt: each pause is twice the one before, with jitter."""
    for_: Duration = "1h"
    """How long an event may wait while the sink fails; after that it becomes a dead letter."""

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
    """Most frames in one call, over all inputs and cameras; a full batch begins at once."""
    wait: Duration = "20ms"
    """Longest time that a frame waits for others; 0ms: a batch is whatever is there. A batch never waits for frames
    that cannot come, for example at the end of a run."""

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
    """When and how often the supervisor starts this node again."""
    optional: bool = False
    """true: the pipeline does not wait for this node. Frames that come faster than the node takes them are dropped as
    `consumer_slow`. The end of a run waits for the node for its `drain` at most. If the node fails for good, the
    pipeline goes on and can still end with exit code 0."""
    start_timeout: Duration = "60s"
    """The supervisor kills a process that is not ready within this time, and counts it as a failure."""
    drain: Duration = "10s"
    """Longest time that the node may take to finish what is queued when it is stopped; the rest is dropped as
    `stopped`."""
    env: Mapping[EnvName, str] = field(default_factory=dict)
    """Environment variables of this node's processes; they override those that detektr was started with."""
    cpus: list[Annotated[int, Ge(0), Le(CPU_MAX)]] | None = None
    """CPUs on which the node's processes may run, by their number in `lscpu -e`. By default they may run on all CPUs
    that detektr itself may use."""
    nice: Annotated[int, Ge(-20), Le(19)] | None = None
    """Priority of the node's processes; 19 gives way to all others. A value below that of detektr itself needs a right
    (CAP_SYS_NICE, or a higher limit)."""

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
    """A capture reads a camera, a file or a generator of pictures, and writes the decoded pictures into a ring."""

    kind: Literal["capture"] = "capture"
    source: str
    """What to read: clip.mp4, a folder of images, rtsp://..., http(s)://..., /dev/video0, lavfi:... (an FFmpeg filter),
    or python:my.module:pictures (a generator of your own)."""
    camera: Name | None = None
    """The camera's name in frame ids; by default the name of the node."""
    with_: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for the code of a python: source."""
    realtime: bool = False
    """true: the capture plays a file at its own pace, and a generator's pictures without a time at `fps`. false: it
    reads as fast as consumers take frames, and offers several at a time."""
    loop: bool = False
    """true: the capture begins a file again when it has ended."""
    transport: Literal["tcp", "udp", "auto"] = "tcp"
    """How an rtsp:// camera sends: by tcp, by udp, or auto (by udp if tcp is refused or brings nothing)."""
    stream: VideoStreamChoice = "best"
    """Which video stream to read, if a source has several, or which variant of a playlist (HLS, DASH): best, of this
    height or the next below (720p), of at most so many kbit/s (1500k), or by its place, counted from 0 (#1 is the
    second). The capture does not fetch the others."""
    open_timeout: Duration = "10s"
    """Longest time that a live source may take to answer; after that the capture tries again."""
    stall_timeout: Duration = "10s"
    """A live source that brings no picture for this long is `stalled`, and the capture opens it again. The time must be
    longer than the interval between the camera's key frames."""
    fps: Annotated[float, Ge(0.001), Le(1000)] | None = None
    """Keep this many frames a second, evenly; the others count as `thinned`. A folder of images is read at this rate
    (25 by default), and a single picture at a URL is fetched at it (1 by default)."""
    decode: Literal["all", "keyframes"] = "all"
    """keyframes: decode only pictures that stand alone, which makes it cheap to watch many cameras; the others count as
    `thinned`."""
    hwaccel: Literal["auto", "cuda", "qsv", "none"] = "none"
    """Hardware that decodes: auto (the first that works), cuda, qsv or none. Where it fails, the capture decodes in
    software, and the status says why."""
    decoder_threads: Annotated[int, Ge(1), Le(64)] | None = None
    """Threads that decode. By default a live source has 1, and a file at full speed two to six more than there are
    cores."""
    format: PixelFormatName | None = None
    """Pixel format in the ring, by FFmpeg's name; by default that of the decoder."""
    width: Annotated[int, Ge(2), Le(16384)] | None = None
    """Width in pixels, to which the capture scales each picture; by default the source's own."""
    height: Annotated[int, Ge(2), Le(16384)] | None = None
    """Height in pixels, to which the capture scales each picture; by default the source's own."""
    memory: Size | None = None
    """Shared memory that this camera's ring and its share of the journals may take. The marks and `guests` that the
    file leaves out follow from it. By default it is `memory` of the pipeline."""
    slots: Annotated[int, Ge(2), Le(65536)] | None = None
    """Slots in the ring. By default it has as many as the graph needs; detektr refuses fewer."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] | None = None
    """Most frames queued for one consumer of this capture; by default it follows from `memory`."""
    when_full: WhenFull | None = None
    """What an edge of this capture does at its high-water mark. By default, edges of a live source drop the oldest
    frame, and a file waits (`block`), even if a server sends it."""
    guests: Annotated[int, Ge(0), Le(1024)] | None = None
    """Slots kept for consumers that are not in the file (`detektr.attach`), beyond those for frames that are queued for
    consumers in the file. By default it follows from `memory`."""

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
    """One input, with the settings of the edge from it; for a setting that is left out, that of its producer counts."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    from_: Name
    """The node to read from; `cameras` means all cameras."""
    when_full: WhenFull | None = None
    """What this edge does at its high-water mark; by default what `when_full` of its producer says."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] | None = None
    """Most frames, or events, that this edge queues for one input of its producer. By default
    what its producer says. For frames of a processor that is 2, or 1 where `memory` has no room for more."""
    fresh: bool = False
    """true: this edge keeps only the newest frame of each input, and each replica holds one frame at a time."""
    max_age: Duration | None = None
    """The edge drops frames that are older than this, counted from their capture, as `too_old`: when their turn comes,
    and once more when work on them is about to begin."""
    fps: Annotated[float, Ge(0.001), Le(1000)] | None = None
    """Let this many frames a second of each camera pass, evenly, by the frames' own times; the edge drops the others as
    `thinned`."""
    cameras: Name | list[Name] | None = None
    """Let only frames of these cameras pass; the edge drops the others as `filtered`."""
    only: Literal["results"] | None = None
    """results: let only frames pass for which the processor that is read returned something; the edge drops the others
    as `filtered`."""

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
    """A buffer queues frames for its readers up to the high-water mark; it holds leases, never pixels."""

    kind: Literal["buffer"] = "buffer"
    input: Input | list[Input]
    """The capture, buffer or processor to read from: a name, a mapping with `from` and the settings of this edge alone,
    or a list of them; `cameras` means all cameras."""
    per_camera: bool = False
    """true: detektr makes one such node for each of the file's `cameras`, named NAME-CAMERA, which reads the nodes of
    that camera only."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] | None = None
    """Most frames queued for one consumer from one input; by default it follows from `memory` of the cameras,
    and may be 1: `validate` prints it."""
    low_water_mark: Annotated[int, Ge(0), Le(65535)] | None = None
    """A queue that was full takes frames again when it has fallen to this many; by default one less than the high-water
    mark."""
    when_full: WhenFull = "drop-oldest"
    """What an edge of this buffer does at its high-water mark."""
    max_age: Duration | None = None
    """Frames that are older than this, counted from their capture, are dropped as `too_old`."""
    announce: Lane | None = None
    """The lane on which this node is told of frames: zmq (messages) or shm (shared memory). By default it is `announce`
    of the pipeline."""
    guests: Annotated[int, Ge(0), Le(1024)] | None = None
    """Most frames that consumers outside the file (`detektr.attach`) may hold together, beyond those that are queued
    for consumers in the file. By default it follows from `memory` of the cameras."""

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
    """The node to read from: a name, a mapping with `from` and the settings of this edge alone, or a list of them;
    `cameras` means all cameras."""
    per_camera: bool = False
    """true: detektr makes one such node for each of the file's `cameras`, named NAME-CAMERA, which reads the nodes of
    that camera only."""
    use: Reference
    """Your code: a class, object or function as module:Name, found on PYTHONPATH or beside the pipeline file, or a
    short name (`detektr list`)."""
    with_: Mapping[str, Any] = field(default_factory=dict)
    """Arguments for your code."""
    window: Annotated[int, Ge(1), Le(1024)] | None = None
    """Most leases that one replica holds at once on each input. By default it is 4; with `batch`, it is enough for two
    batches over all inputs, if that is more."""
    max_deliveries: Annotated[int, Ge(1), Le(100)] = 3
    """Attempts at one frame, or event, before it becomes a dead letter."""
    announce: Lane | None = None
    """The lane on which this node is told of its work: zmq (messages) or shm (shared memory). By default it is
    `announce` of the pipeline."""
    timeout: Duration = "30s"
    """Longest time for the work on one frame or one batch. After that its leases end, and its frames are delivered
    again; after three times as long, the supervisor kills the process."""

    @property
    def timeout_ns(self) -> int:
        """How long one frame may take, in nanoseconds."""
        return duration_ns(self.timeout)


@dataclass(frozen=True, kw_only=True)
class ProcessorOptions(WorkerOptions):
    """A processor runs your code on every frame."""

    kind: Literal["processor"] = "processor"
    fresh: bool = False
    """true: the newest frame of each camera comes first, and no frame waits for longer than the work on one frame
    takes. A camera's older frames are dropped; a file at full speed waits instead. It is the same as `fresh` at each
    `input`."""
    replicas: Annotated[int, Ge(1), Le(64)] = 1
    """Processes that share the work; each frame goes to one of them only."""
    max_replicas: Annotated[int, Ge(1), Le(64)] | None = None
    """The most replicas that `detektr scale` may ask for while the pipeline runs. Rings, queues and `memory` are sized
    for so many, running or not; by default for `replicas`."""
    partition_by: Literal["camera"] | None = None
    """camera: all frames of one camera go to the same replica, in order. A class with `stateful = True` gets this
    without the key. Otherwise each frame goes to the replica with the least work. Below a processor, this key includes
    `order`."""
    order: Literal["camera"] | None = None
    """camera: the frames of each camera come in the order of their capture, even if replicas above finish them in
    another order. A frame waits only as long as an earlier one may still come. This includes `partition_by: camera`."""
    join: Literal["frame"] | None = None
    """frame: the inputs are branches of the same cameras. Each frame comes once, when every branch has settled it and
    at least one has passed it on. It has the `results` of all branches; `frame.missing` says which branch has not
    brought it, and why."""
    high_water_mark: Annotated[int, Ge(1), Le(65536)] = 256
    """Most events queued for one sink. Frames for a reader have a mark of their own, at the reader's `input`."""
    when_full: WhenFull = "block"
    """What an edge of this processor does at its high-water mark, with events for a sink or frames for a reader."""
    event_bytes: Annotated[int, Ge(256), Le(1 << 20)] = 8192
    """Largest size of one packed event and, if other nodes read the frames, of one frame's results together. If your
    code returns more, the work on the frame has failed."""
    batch: BatchOptions | None = None
    """The processor calls `process_batch(frames)` with up to `size` frames of all inputs, in place of `process(frame)`.
    The method returns a list with one result for each frame."""

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
    """A sink takes the events of processors."""

    kind: Literal["sink"] = "sink"
    retry: RetryOptions | None = None
    """The sink tries an event again, after pauses, if it cannot write it. The events behind it wait in the journal, so
    that all stay in order. Meanwhile neither `timeout` nor `max_deliveries` ends the lease of the event."""


@dataclass(frozen=True, kw_only=True)
class PullOptions(_NodeOptions):
    """A pull gives frames to clients that ask for them over HTTP (`/frames/dequeue`). If it is killed, its successor
    still knows which frames are out."""

    kind: Literal["pull"] = "pull"
    input: Input | list[Input]
    """The capture, buffer or processor to read from: a name, a mapping with `from` and the settings of this edge alone,
    or a list of them; `cameras` means all cameras."""
    per_camera: bool = False
    """true: detektr makes one such node for each of the file's `cameras`, named NAME-CAMERA, which reads the nodes of
    that camera only."""
    window: Annotated[int, Ge(1), Le(1024)] = PULL_WINDOW
    """Most frames of each input that wait here or are out at clients."""
    max_deliveries: Annotated[int, Ge(1), Le(100)] = PULL_DELIVERIES
    """How often a frame is given out before it becomes a dead letter; it is given out again if its lease expires or its
    client says that the work failed."""
    announce: Lane | None = None
    """The lane on which this node is told of frames: zmq (messages) or shm (shared memory). By default it is `announce`
    of the pipeline."""


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
