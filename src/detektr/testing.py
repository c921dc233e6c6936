"""For your unit tests: frames out of arrays and files, and a processor or sink run as a pipeline would run it.

No shared memory, no processes: what `process` returns is judged, packed and read back as in a pipeline, so a test sees
the events that a sink would get, and the same refusals.
"""

from __future__ import annotations

import copy
import datetime
import inspect
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import msgpack
import numpy as np
import numpy.typing as npt

from detektr.descriptor import Descriptor
from detektr.errors import RefusedError
from detektr.frame import Frame
from detektr.metrics.registry import process_metrics
from detektr.nodes.working.event_stream import EventStream, results_of, unpack_event
from detektr.options import CaptureOptions, ProcessorOptions
from detektr.picture import PictureLayout, format_name
from detektr.registry.code_checks import UserCodeError
from detektr.registry.user_code import make_worker
from detektr.sinks import Event

Picture = npt.NDArray[np.uint8] | npt.NDArray[np.uint16] | str | os.PathLike[str]

FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
"""When frame 0 was taken unless told otherwise; frame n was n tenths of a second later."""
_STEP = Fraction(1, 10)
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_BEGUN_NS = time.monotonic_ns()
_ENVELOPE = frozenset(Event.__annotations__) - {"delivery_of_event", "resent"}


def frame(
    picture: Picture,
    camera: str = "door",
    sequence: int = 0,
    timestamp: datetime.datetime | None = None,
    format: str | None = None,
    *,
    width: int | None = None,
    height: int | None = None,
    delivery: int = 1,
    results: Mapping[str, Iterable[Mapping[str, Any]]] | None = None,
    missing: Mapping[str, str] = MappingProxyType({}),
) -> Frame:
    """Make a frame as a processor gets it.

    Args:
        picture: uint8 (H, W) gray, (H, W, 3) bgr24, (H, W, 4) bgra; uint16 (H, W) gray16le; any other format as
            `frame.pixels` has it, e.g. (H * 3 // 2, W) with `format="yuv420p"`; or the path of a picture or a video,
            of which the first picture is taken. An array is copied.
        camera: name of the camera, and of the capture.
        sequence: count of the camera's frames; `pts` is the same, in tenths of a second, and so is `time`. Frame 0 says
            `is_first_here`.
        timestamp: when it was taken, with its time zone; None: `FIRST` and a tenth of a second for each sequence.
        format: FFmpeg's name of the pixel format: what an array holds, or what a file is converted to.
        width: in pixels, of an array whose shape does not tell; a file is scaled to it.
        height: in pixels, likewise.
        delivery: which attempt at the frame it is.
        results: what the nodes before returned for it, by their names.
        missing: with `join: frame`, why inputs have not passed it on, by their names.
    Returns:
        A frame whose pixels are read-only, as a processor's are.
    Raises:
        ValueError: the array is no picture of that format, or the timestamp has no time zone; says what was expected.
        SourceError: the file cannot be read.
    """
    if isinstance(picture, str | os.PathLike):
        found = next(_pictures(picture, format, width, height), None)
        if found is None:
            raise ValueError(f"frame: the file {os.fspath(picture)} has no picture; name one that has")
        layout, flat = found[:2]
    else:
        layout = _layout_of(picture, format, width, height)
        flat = np.ascontiguousarray(picture).reshape(-1).view(np.uint8).copy()
    packed = b"" if results is None else msgpack.packb({node: list(given) for node, given in results.items()})
    return _frame(layout, flat, camera, sequence, timestamp, sequence, _STEP, delivery, packed, missing)


def frames(
    path: str | os.PathLike[str], camera: str = "door", *, count: int | None = None, format: str | None = None
) -> Iterator[Frame]:
    """Yield the frames of a video or a folder of pictures, with their own times, which begin at `FIRST`.

    Args:
        path: the file or folder.
        camera: name of the camera, and of the capture.
        count: at most so many; None: all.
        format: FFmpeg's name of the pixel format to convert to; None: the decoder's own.
    Raises:
        SourceError: it cannot be read.
    """
    for sequence, (layout, flat, pts, time_base) in enumerate(islice(_pictures(path, format, None, None), count)):
        since_s = pts * time_base if pts is not None and time_base is not None else sequence * _STEP
        timestamp = FIRST + datetime.timedelta(microseconds=round(since_s * 1_000_000))
        yield _frame(layout, flat, camera, sequence, timestamp, pts, time_base, 1)


def event(data: Mapping[str, Any], about: Frame | None = None, *, node: str = "processor") -> Event:
    """Make an event as a sink gets it.

    Args:
        data: what a processor would return.
        about: the frame that it is about; None: some grey one of the camera `door`.
        node: name of the processor.
    Raises:
        ResultError: `data` is no event; in the words of a pipeline.
    """
    subject = frame(np.zeros((2, 2), np.uint8)) if about is None else about
    [packed] = EventStream(node, 0, 1, ProcessorOptions.event_bytes).pack(subject, data)
    return cast(Event, unpack_event(packed))


def run_processor(
    processor: object,
    frames: Iterable[Frame],
    *,
    node: str = "processor",
    event_bytes: int = ProcessorOptions.event_bytes,
    batch: int | None = None,
) -> list[Event]:
    """Run a processor over frames: `open`, `process` on each, `close`; a frame is good until `process` returns.

    The first frame of each camera says `is_first_here`, as in a pipeline. A frame that repeats number and time of the
    one before it, as `[frame(one) for one in pictures]` makes them, is taken for the next one of its camera.

    Args:
        processor: an object with `process`, or a function of a frame; with `batch`, an object with `process_batch`.
        frames: from `frame` or `frames`; they can be used again afterwards.
        node: name of the processor in its events.
        event_bytes: most bytes of one event, packed; as the key of the file.
        batch: most frames of one call of `process_batch`, as `size` of the key `batch`; the last call gets what is
            left. None: `process` is called. A batch that raises is not split: what it raised is raised here.
    Returns:
        The events in order, as the sinks would get them.
    Raises:
        RefusedError: a pipeline would refuse it at its start: it has no such method, or one that takes no frames.
        ResultError: what was returned is no event, or not one for each frame; in the words of a pipeline.
        ValueError: `batch` is less than 1.
        Exception: whatever `open`, `process` or `close` raised.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"run_processor: batch={batch}; expected the size of a batch, 1 frame or more")
    method = "process" if batch is None else "process_batch"
    call = _callable(processor, method)
    stream = EventStream(node, 0, 1, event_bytes, method)
    events: list[Event] = []
    numbers = _Numbers()
    with _Opened(processor):
        coming = iter(frames)
        while some := list(islice(coming, batch or 1)):
            lent = [copy.copy(one) for one in some]
            for one in lent:
                one.is_first_here = one.camera not in numbers.begun
                numbers.number(one)
            try:
                results = [call(lent[0])] if batch is None else results_of(call(list(lent)), len(lent))
                for one, result in zip(lent, results, strict=True):
                    packed = () if result is None else stream.pack(one, result)
                    events += [cast(Event, unpack_event(payload)) for payload in packed]
            finally:
                for one in lent:
                    one.close()
    return events


def run_sink(sink: object, events: Iterable[Event]) -> None:
    """Run a sink over events: `open`, `write` on each, `close`; each event is a copy of its own.

    Args:
        sink: an object with `write`, or a function of an event.
        events: from `run_processor` or `event`.
    Raises:
        RefusedError: a pipeline would refuse it at its start: it has no `write`, or one that takes no event.
        ValueError: something in `events` is no whole event.
        Exception: whatever `open`, `write` or `close` raised.
    """
    call = _callable(sink, "write")
    with _Opened(sink):
        for one in events:
            missing = sorted(_ENVELOPE - set(one))
            if missing:
                hint = "make it with detektr.testing.event(data)"
                raise ValueError(f"run_sink: {one!r:.80} lacks {', '.join(missing)}; {hint}")
            call(copy.deepcopy(one))


def clear_metrics() -> None:
    """Reset all user metrics of this process, so that a test does not see the numbers of another.

    The metrics themselves stay, so a module that made one at its top goes on using it.
    """
    process_metrics.clear()


class _Numbers:
    """Numbers frames on that were made without a number; no camera takes two at the same time."""

    def __init__(self) -> None:
        self.begun: dict[str, tuple[tuple[int, int], int]] = {}  # by camera: what the last one said, and how often

    def number(self, one: Frame) -> None:
        descriptor = one._descriptor
        said, count = (descriptor.sequence, descriptor.utc_ns), 0
        before, repeats = self.begun.setdefault(one.camera, ((-1, -1), 0))
        if one.delivery == 1:
            count = repeats + 1 if before == said else 0
            self.begun[one.camera] = said, count
        if count:
            later_ns = count * int(_STEP * 1_000_000_000)
            one._descriptor = descriptor._replace(
                sequence=descriptor.sequence + count,
                captured_ns=descriptor.captured_ns + later_ns,
                utc_ns=descriptor.utc_ns + later_ns,
                time_ns=descriptor.time_ns + later_ns,
                pts=descriptor.pts
                if descriptor.pts is None or one.time_base is None
                else descriptor.pts + round(Fraction(later_ns, 1_000_000_000) / one.time_base),
            )


class _Opened:
    """Calls `open` and `close` where there are some."""

    def __init__(self, user: object) -> None:
        self._user = user

    def __enter__(self) -> None:
        self._hook("open")

    def __exit__(self, *fault: object) -> None:
        self._hook("close")

    def _hook(self, name: str) -> None:
        hook = getattr(self._user, name, None)
        if callable(hook):
            hook()


def _callable(user: object, method: str) -> Callable[[Any], Any]:
    if inspect.isclass(user):
        raise RefusedError(f"{user.__name__} is a class; pass {user.__name__}(...)")
    try:
        return make_worker(user, {}, method)[1]
    except UserCodeError as fault:
        raise RefusedError(f"{type(user).__name__}: {fault}") from None


def _frame(
    layout: PictureLayout,
    flat: npt.NDArray[np.uint8],
    camera: str,
    sequence: int,
    timestamp: datetime.datetime | None,
    pts: int | None,
    time_base: Fraction | None,
    delivery: int,
    results: bytes = b"",
    missing: Mapping[str, str] = MappingProxyType({}),
) -> Frame:
    moment = FIRST + sequence * datetime.timedelta(seconds=float(_STEP)) if timestamp is None else timestamp
    if moment.tzinfo is None:
        raise ValueError(f"frame: the timestamp {moment} has no time zone; write it with tzinfo=datetime.UTC")
    utc_ns = (moment - _EPOCH) // datetime.timedelta(microseconds=1) * 1000
    captured_ns = _BEGUN_NS + (moment - FIRST) // datetime.timedelta(microseconds=1) * 1000
    own_ns = sequence * _STEP if pts is None or time_base is None else pts * time_base
    time_ns = max(0, round(own_ns * 1_000_000_000))
    descriptor = Descriptor(camera, camera, 1, 1, 0, 1, sequence, captured_ns, utc_ns, pts, time_ns)
    added: dict[str, Any] = {"results": results, "missing": dict(missing)}
    return Frame(descriptor, layout, flat, delivery, time_base, is_first_here=sequence == 0, **added)


def _layout_of(array: npt.NDArray[Any], format: str | None, width: int | None, height: int | None) -> PictureLayout:
    if not isinstance(array, np.ndarray) or array.dtype not in (np.uint8, np.uint16) or array.ndim not in (1, 2, 3):
        shown = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"frame: {shown}; expected uint8 (H, W), (H, W, 3) or (H, W, 4), or a path")
    shape = array.shape
    if format is None:
        channels = shape[2] if array.ndim == 3 else 1
        guess = {(2, 1): "gray", (3, 3): "bgr24", (3, 4): "bgra"}.get((array.ndim, channels))
        guess = "gray16le" if array.dtype == np.uint16 and guess == "gray" else guess
        if guess is None or (array.dtype == np.uint16 and guess != "gray16le"):
            raise ValueError(f"frame: {array.dtype} of shape {shape}; say its `format`, e.g. yuv420p")
        format = guess
    name = format_name(format)
    sizes = [(width, height)] if width and height else [(shape[-1], shape[0]), (shape[-1], shape[0] * 2 // 3)]
    if not (width and height) and array.ndim == 3:
        sizes = [(shape[1], shape[0])]
    for columns, rows in sizes:
        layout = PictureLayout(name, columns or 0, rows or 0)
        if layout.nbytes == array.nbytes and (layout.shape == shape or (width and height)):
            return layout
    raise ValueError(
        f"frame: {array.dtype} of shape {shape} is no {name}; expected the shape of frame.pixels, or 1-D with width"
        f" and height: {_expected(name, *sizes[0])}"
    )


def _expected(name: str, columns: int | None, rows: int | None) -> str:
    layout = PictureLayout(name, columns or 2, rows or 2)
    return f"{layout.width}x{layout.height} is {layout.nbytes} bytes of shape {layout.shape}"


def _pictures(
    path: str | os.PathLike[str], format: str | None, width: int | None, height: int | None
) -> Iterator[tuple[PictureLayout, npt.NDArray[np.uint8], int | None, Fraction | None]]:
    """Yield what a capture would write into its slots."""
    from detektr.sources import open_source

    options = CaptureOptions(source=os.fspath(path), format=format, width=width, height=height)
    source = open_source(options, Path.cwd())
    try:
        for picture in source.pictures():
            flat = np.empty(picture.layout.nbytes, np.uint8)
            picture.write(flat)
            yield picture.layout, flat, picture.pts, picture.time_base
    finally:
        source.close()
