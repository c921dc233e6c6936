from __future__ import annotations

import datetime
import uuid
from collections.abc import Iterator
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import detektr
from detektr import Event, Frame, LeaseOverError, Processor, RefusedError, ResultError, Sink, SourceError
from detektr.processors.motion import Motion
from detektr.sinks.jsonl import JsonLines
from detektr.testing import FIRST, event, frame, frames, run_processor, run_sink

if TYPE_CHECKING:
    from collections.abc import Callable

GRAY = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)


class Mean(Processor):
    def __init__(self) -> None:
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")

    def process(self, frame: Frame) -> dict[str, Any] | None:
        self.calls.append(str(frame.sequence))
        return {"mean": float(frame.gray.mean())} if frame.sequence else None

    def close(self) -> None:
        self.calls.append("close")


def test_a_frame_is_made_of_an_array_and_says_what_a_cameras_does() -> None:
    one = frame(GRAY, camera="yard", sequence=7)
    assert (one.camera, one.node, one.sequence, one.format, one.width, one.height) == (
        "yard",
        "yard",
        7,
        "gray",
        64,
        48,
    )
    assert one.timestamp == FIRST + datetime.timedelta(milliseconds=700)
    assert one.pts is not None and one.time_base is not None and one.pts * one.time_base == one.time_base * 7
    assert np.array_equal(one.gray, GRAY) and not one.gray.flags.writeable
    assert one.bgr.shape == (48, 64, 3)
    assert frame(GRAY, sequence=9).captured_ns - frame(GRAY, sequence=8).captured_ns == 100_000_000


def test_a_frame_is_a_copy_of_its_array() -> None:
    mine = GRAY.copy()
    one = frame(mine)
    mine[:] = 0
    assert np.array_equal(one.gray, GRAY)


@pytest.mark.parametrize(
    ("array", "format", "shape"),
    [
        (np.zeros((6, 8, 3), np.uint8), None, ("bgr24", 8, 6)),
        (np.zeros((6, 8, 3), np.uint8), "rgb", ("rgb24", 8, 6)),
        (np.zeros((6, 8, 4), np.uint8), None, ("bgra", 8, 6)),
        (np.zeros((9, 8), np.uint8), "yuv420p", ("yuv420p", 8, 6)),
        (np.zeros((9, 8), np.uint8), "nv12", ("nv12", 8, 6)),
        (np.zeros((6, 8), np.uint16), None, ("gray16le", 8, 6)),
        (np.zeros((6, 8, 2), np.uint8), "yuyv422", ("yuyv422", 8, 6)),
        (np.zeros((6, 8, 3), np.uint8)[:, ::-1], None, ("bgr24", 8, 6)),
    ],
)
def test_the_shape_of_an_array_tells_format_and_size(array: Any, format: str | None, shape: Any) -> None:
    one = frame(array, format=format)
    assert (one.format, one.width, one.height) == shape
    assert one.gray.shape == (6, 8)


def test_planes_in_one_row_are_a_frame_with_width_and_height() -> None:
    assert frame(np.zeros(8 * 6 * 2, np.uint8), format="yuv422p", width=8, height=6).gray.shape == (6, 8)


@pytest.mark.parametrize(
    ("array", "format", "says"),
    [
        (np.zeros((6, 8)), None, r"float64 of shape \(6, 8\); expected uint8"),
        (np.zeros((6, 8, 2), np.uint8), None, r"say its `format`"),
        (np.zeros((6, 8), np.uint8), "bgr24", r"is no bgr24; expected the shape of frame.pixels.*8x6 is 144 bytes"),
        (np.zeros((6, 8), np.uint8), "bgr42", r"pixel format 'bgr42' is not known"),
        ([[1]], None, r"frame: list; expected uint8"),
    ],
)
def test_an_array_that_is_no_picture_is_refused_in_words(array: Any, format: str | None, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        frame(array, format=format)


def test_a_timestamp_without_its_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        frame(GRAY, timestamp=datetime.datetime(2026, 1, 1))
    noon = datetime.datetime(2020, 5, 1, 12, tzinfo=datetime.UTC)
    assert frame(GRAY, timestamp=noon).timestamp == noon


def test_a_file_gives_the_frames_that_a_capture_would(clip: Path, clip_number: Callable[[Any], int]) -> None:
    assert clip_number(frame(clip).gray) == 0
    taken = list(frames(clip, "yard", count=5))
    assert [clip_number(one.gray) for one in taken] == [0, 1, 2, 3, 4]
    assert [one.sequence for one in taken] == [0, 1, 2, 3, 4]
    assert taken[0].format == "yuv420p" and taken[0].camera == "yard"
    assert (taken[3].timestamp - FIRST).total_seconds() == pytest.approx(3 / 24, abs=1e-6)
    assert frame(clip, format="bgr24", width=64, height=36).pixels.shape == (36, 64, 3)
    with pytest.raises(SourceError, match="does not exist"):
        frame(clip.with_name("nope.png"))


def test_a_processor_is_opened_run_and_closed_and_its_events_are_those_that_a_sink_gets() -> None:
    mean = Mean()
    events = run_processor(mean, [frame(GRAY, sequence=number) for number in range(3)], node="bright")
    assert mean.calls == ["open", "0", "1", "2", "close"]
    assert [one["sequence"] for one in events] == [1, 2]
    expected = frame(GRAY, sequence=1)
    assert events[0] == {
        "frame": expected.id,
        "camera": "door",
        "sequence": 1,
        "epoch": 1,
        "timestamp": "2026-01-01T00:00:00.100+00:00",
        "node": "bright",
        "replica": 0,
        "delivery": 1,
        "data": {"mean": float(GRAY.mean())},
    }


def test_a_kept_frame_has_no_pixels_afterwards_and_the_tests_own_still_has() -> None:
    kept: list[Frame] = []
    mine = frame(GRAY)
    assert run_processor(kept.append, [mine]) == []
    with pytest.raises(LeaseOverError):
        _ = kept[0].gray
    assert np.array_equal(mine.gray, GRAY)
    assert len(run_processor(lambda one: [{"a": 1}, {"b": int(one.gray[0, 1])}], [mine, mine])) == 4


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (True, "process\\(\\) returned bool; return None, a dict, or a list of dicts"),
        ({"lock": object()}, "events hold plain values; object cannot be packed"),
        ({"text": "x" * 9000}, "raise its event_bytes"),
        ({"picture": np.zeros((480, 640), np.uint8)}, r"an array of shape \(480, 640\) does not fit into 8192 bytes"),
    ],
)
def test_what_is_no_event_is_refused_in_the_words_of_a_pipeline(result: object, words: str) -> None:
    with pytest.raises(ResultError, match=words):
        run_processor(lambda one: result, [frame(GRAY)])


def test_what_a_pipeline_would_refuse_at_its_start_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"Mean is a class; pass Mean\(...\)"):
        run_processor(Mean, [])
    with pytest.raises(RefusedError, match=r"object: is object .*, which has no process\(\)"):
        run_processor(object(), [])
    with pytest.raises(RefusedError, match=r"expected <lambda>\(event\)|it is <lambda>"):
        run_sink(lambda: None, [])


def test_a_processor_that_raises_is_closed_and_the_test_sees_what_it_raised() -> None:
    class Raising(Mean):
        def process(self, frame: Frame) -> None:
            raise KeyError("no plate")

    raising = Raising()
    with pytest.raises(KeyError, match="no plate"):
        run_processor(raising, [frame(GRAY)])
    assert raising.calls == ["open", "close"]


class Colour(Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (datetime.datetime(2026, 5, 4, 3, 2, 1, tzinfo=datetime.UTC), "2026-05-04T03:02:01+00:00"),
        (datetime.date(2026, 5, 4), "2026-05-04"),
        (datetime.time(3, 2), "03:02:00"),
        (datetime.timedelta(milliseconds=1500), 1.5),
        (np.datetime64("2026-05-04T03:02:01"), "2026-05-04T03:02:01"),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.array([[1, 2], [3, 4]], np.int16), [[1, 2], [3, 4]]),
        (np.array(["2026-05-04"], "M8[D]"), ["2026-05-04"]),
        (Path("/tmp/a.jpg"), "/tmp/a.jpg"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (Decimal("0.10"), "0.10"),
        (Colour.RED, "red"),
        ({3, 1, "a"}, [1, 3, "a"]),
        ((1, 2), [1, 2]),
        (b"raw", b"raw"),
        (None, None),
    ],
)
def test_times_paths_and_numpy_values_are_plain_when_a_sink_gets_them(value: object, plain: object) -> None:
    [one] = run_processor(lambda _: {"value": value, "deep": [{"value": value}]}, [frame(GRAY)])
    assert one["data"] == {"value": plain, "deep": [{"value": plain}]}
    assert event({"value": value})["data"] == {"value": plain}


def test_a_sink_is_opened_written_and_closed(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    events = run_processor(Mean(), [frame(GRAY, sequence=1)])
    run_sink(JsonLines(path), [*events, event({"at": FIRST}, frame(GRAY, camera="yard"))])
    first, second = path.read_text().splitlines()
    assert '"mean"' in first and '"2026-01-01T00:00:00+00:00"' in second and '"yard"' in second


def test_a_sink_that_changes_its_event_changes_nobody_elses() -> None:
    class Pops(Sink):
        def write(self, event: Event) -> None:
            event["data"].clear()

    mine = event({"a": 1})
    run_sink(Pops(), [mine])
    assert mine["data"] == {"a": 1}


def test_something_less_than_an_event_is_refused_with_the_way_to_make_one() -> None:
    bare: Any = {"mean": 1}
    with pytest.raises(ValueError, match=r"lacks camera, data, .* make it with detektr.testing.event\(data\)"):
        run_sink(print, [bare])


def test_the_motion_detector_can_be_tested_in_three_lines() -> None:
    def moving() -> Iterator[Frame]:
        for number in range(20):
            picture = np.full((180, 320), 100, np.uint8)
            if number > 5:
                picture[60:100, 10 * number : 10 * number + 40] = 250
            yield frame(picture, sequence=number)

    states = [one["data"]["state"] for one in run_processor(Motion(), moving())]
    assert states[0] == "began"


def test_all_of_it_is_public() -> None:
    assert {"Event", "Frame", "Frames", "Processor", "Sink", "Source", "attach", "run"} <= set(detektr.__all__)


class Sizes:
    def __init__(self, short: int = 0) -> None:
        self.short, self.seen = short, list[int]()

    def process_batch(self, frames: list[Frame]) -> list[dict[str, int] | None]:
        self.seen.append(len(frames))
        results: list[dict[str, int] | None] = [{"of": len(frames)} if one.sequence else None for one in frames]
        return results[self.short :]


def test_batches_are_run_as_lists_the_last_one_of_what_is_left() -> None:
    sizes = Sizes()
    events = run_processor(sizes, [frame(GRAY, sequence=number) for number in range(7)], batch=3)
    assert sizes.seen == [3, 3, 1]
    assert [(one["sequence"], one["data"]["of"]) for one in events] == [(1, 3), (2, 3), (3, 3), (4, 3), (5, 3), (6, 1)]


def test_a_batch_is_refused_in_the_words_of_a_pipeline() -> None:
    with pytest.raises(ResultError, match=r"process_batch\(\) returned 1 results for 2 frames; return a list with one"):
        run_processor(Sizes(short=1), [frame(GRAY), frame(GRAY)], batch=2)
    with pytest.raises(RefusedError, match=r"process_batch\(self, frames\), or remove `batch`"):
        run_processor(Mean(), [frame(GRAY)], batch=2)
    with pytest.raises(RefusedError, match=r"has no process"):
        run_processor(Sizes(), [frame(GRAY)])
    with pytest.raises(ValueError, match="batch=0; expected the size of a batch"):
        run_processor(Sizes(), [frame(GRAY)], batch=0)


def test_frames_without_numbers_are_numbered_on_so_that_timers_run() -> None:
    class Stays:
        def __init__(self) -> None:
            self.since: dict[str, float] = {}

        def process(self, frame: Frame) -> dict[str, Any]:
            since = self.since.setdefault(frame.camera, frame.time)
            return {"n": frame.sequence, "stays": frame.time - since, "first": frame.is_first_here}

    pictures = [np.zeros((4, 4), np.uint8)] * 31
    events = run_processor(Stays(), [frame(one) for one in pictures])
    assert [one["data"]["n"] for one in events] == list(range(31))
    assert events[-1]["data"]["stays"] == pytest.approx(3.0)
    assert len({one["frame"] for one in events}) == 31 and len({one["timestamp"] for one in events}) == 31
    both = run_processor(Stays(), [frame(one, camera) for one in pictures[:2] for camera in ("door", "yard")])
    assert [(one["data"]["n"], one["data"]["first"]) for one in both] == [(0, True)] * 2 + [(1, False)] * 2
    again = run_processor(Stays(), [frame(pictures[0]), frame(pictures[0], delivery=2), frame(pictures[0])])
    assert [one["data"]["n"] for one in again] == [0, 0, 1], "another attempt is of the same frame"
    told = run_processor(Stays(), [frame(pictures[0], sequence=n) for n in (5, 6, 9)])
    assert [one["data"]["n"] for one in told] == [5, 6, 9]
