"""Lines of a log as records: whose they are, which frame they name, and the trace and span that lie beside them."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from detektr.descriptor import Descriptor
from detektr.edge.frame_trail import WHOLE, is_in_share
from detektr.observe.trail.log_records import LogReading, LogRecord
from detektr.observe.trail.spans import edges_of, spans_of
from detektr.telemetry.trail.rows import LifeRow, Stream

NODES = {
    "my_cam": {"kind": "capture", "camera": "front_door"},
    "buf": {"kind": "buffer", "camera": ""},
    "see": {"kind": "processor", "camera": ""},
    "out": {"kind": "sink", "camera": ""},
}
EDGES = [{"from": "my_cam", "to": "buf"}, {"from": "buf", "to": "see"}, {"from": "see", "to": "out"}]
BEGUN_NS = round(datetime.datetime(2030, 1, 1, 12, 0, 0, 1500).timestamp() * 1e9)
RECORD: dict[str, Any] = {"run": "20300101-120000-001", "started_utc_ns": BEGUN_NS, "nodes": NODES, "edges": EDGES}
FRAME = Descriptor("my_cam", "front_door", 7, 1, 0, 2, 41, 0, 10**15, None).id
SPANS = {
    span.name: span
    for delivery in (2, 1)
    for producer, consumer in (("my_cam", "buf"), ("buf", "see"))
    for span in spans_of(
        LifeRow(
            9,
            "",
            Stream("my_cam", "front_door", 7),
            41,
            f"{producer}.0",
            consumer,
            "delivered",
            1,
            1,
            1,
            1,
            0,
            delivery,
        ),
        edges_of(RECORD),
        WHOLE,
    )
}


def reading(share: int = WHOLE, **change: Any) -> LogReading:
    record = {**RECORD, **change}
    return LogReading(record, edges_of(record), share)


def read(text: str, process: str = "see.0", share: int = WHOLE, moment: str = "12:00:01.250") -> LogRecord:
    found = reading(share).record_of(f"2030-01-01 {moment} WARNING {process}: {text}")
    assert found is not None
    return found


def test_a_line_says_when_who_and_how_grave() -> None:
    one = read("two: three", "see.1")
    assert one.utc_ns == round(datetime.datetime(2030, 1, 1, 12, 0, 1, 250_000).timestamp() * 1000) * 10**6
    assert (one.level, one.process, one.node, one.replica, one.text) == ("WARNING", "see.1", "see", 1, "two: three")
    assert (one.camera, one.frame, one.trace, one.span, one.is_sampled) == ("", "", 0, 0, False)


def test_a_line_of_a_capture_is_about_its_camera() -> None:
    assert read("connected", "my_cam.0").camera == "front_door"


def test_a_line_of_something_else_has_no_replica() -> None:
    one = read("listening", "web")
    assert (one.process, one.node, one.replica) == ("web", "web", None)


@pytest.mark.parametrize("text", ["no plate in {}", "{}: no plate", "({}) and 7_my_cam_front_door_42_00000000"])
def test_a_frame_is_found_wherever_it_stands_and_lies_beside_the_span_of_the_nodes_work(text: str) -> None:
    one = read(text.format(FRAME))
    assert (one.frame, one.camera, one.is_sampled) == (FRAME, "front_door", True)
    assert (one.trace, one.span) == (SPANS["see"].trace, SPANS["see"].span)


def test_a_failed_attempt_lies_beside_the_span_of_that_attempt() -> None:
    own = LifeRow(9, "", Stream("my_cam", "front_door", 7), 41, "buf.0", "see", "failed", 1, 1, 1, 1, 0, 2)
    [attempt] = spans_of(own, edges_of(RECORD), WHOLE)
    assert read(f"{FRAME}, attempt 2: ValueError: no (see.py:3)").span == attempt.span


def test_a_line_of_a_producer_lies_beside_its_edge_if_it_has_one() -> None:
    assert read(f"{FRAME}: see gave it up", "buf.0").span == SPANS["buf -> see"].span
    two = reading(edges=[*EDGES, {"from": "buf", "to": "other"}])
    one = two.record_of(f"2030-01-01 12:00:01.250 ERROR buf.0: {FRAME}: see gave it up")
    assert one is not None and (one.trace, one.span) == (SPANS["see"].trace, 0)


def test_an_event_has_the_trace_of_its_frame_and_no_span_as_its_number_is_not_in_the_line() -> None:
    one = read(f"{FRAME}, attempt 1: OSError: away", "out.0")
    assert (one.trace, one.span) == (SPANS["see"].trace, 0)


@pytest.mark.parametrize(
    "text",
    [
        "1753608701224_other_door_41_3e15c5aa",
        f"x{FRAME}",
        f"{FRAME}0",
        "1753608701224_my_cam_front_door_41_3e15c5",
        "_my_cam_front_door_41_3e15c5aa",
    ],
)
def test_what_only_looks_like_a_frame_of_the_run_is_text(text: str) -> None:
    one = read(f"see {text} there")
    assert (one.frame, one.trace, one.text) == ("", 0, f"see {text} there")


def test_a_name_that_may_be_read_in_two_ways_leads_nowhere() -> None:
    nodes = {"a_b": {"kind": "capture", "camera": "c"}, "a": {"kind": "capture", "camera": "b_c"}}
    one = reading(nodes=nodes).record_of("2030-01-01 12:00:01.250 INFO a.0: 1_a_b_c_5_3e15c5aa")
    assert one is not None and one.trace == 0


def test_a_share_says_which_lines_have_a_trace_that_is_sent() -> None:
    share = WHOLE // 10
    told = {}
    for sequence in range(50):
        id = Descriptor("my_cam", "front_door", 7, 1, 0, 2, sequence, 0, 10**15, None).id
        told[sequence] = read(f"no plate in {id}", share=share)
    assert all(one.trace and one.is_sampled == is_in_share(number, share) for number, one in told.items())
    assert 0 < sum(one.is_sampled for one in told.values()) < 15


@pytest.mark.parametrize(
    "line",
    [
        "2030-01-01 12:00:00.000 INFO see.0: of the run before",
        "2030-13-01 12:00:01.250 INFO see.0: no day",
        "INFO see.0: no time",
        "",
    ],
)
def test_what_is_no_line_of_this_run_is_left_out(line: str) -> None:
    assert reading().record_of(line) is None


def test_the_runs_first_line_is_in_it_although_lines_have_only_milliseconds() -> None:
    assert reading().record_of("2030-01-01 12:00:00.001 INFO see.0: starting") is not None


def test_a_line_has_the_same_id_whenever_it_is_read_and_no_other_has_it() -> None:
    lines = ["2030-01-01 12:00:01.250 INFO see.0: same"] * 3 + ["2030-01-01 12:00:01.250 INFO see.1: same"]
    lines.append("2030-01-01 12:00:01.251 INFO see.0: same")

    def uids() -> list[str]:
        one = reading()
        return [found.uid for line in lines if (found := one.record_of(line)) is not None]

    assert uids() == uids() and len(set(uids())) == 5


def test_a_line_that_comes_after_a_later_one_of_another_process_has_its_own_id() -> None:
    lines = [
        "2030-01-01 12:00:01.250 INFO see.0: same",
        "2030-01-01 12:00:01.251 INFO cam.0: later",
        "2030-01-01 12:00:01.250 INFO see.0: same",
    ]
    one = reading()
    assert len({found.uid for line in lines if (found := one.record_of(line)) is not None}) == 3


def test_passwords_of_urls_are_masked_again() -> None:
    assert read("rtsp://me:secret99@camera/1 is away").text == "rtsp://***@camera/1 is away"
