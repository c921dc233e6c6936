"""What user code puts above its own spans is the span that the trail tells of; of a sink and a repeated frame too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import detektr
from detektr.descriptor import Descriptor
from detektr.edge.frame_trail import WHOLE
from detektr.frame import Frame
from detektr.observe.trail.spans import Span, spans_of
from detektr.picture import PictureLayout
from detektr.telemetry.trail.rows import LifeRow, Stream
from detektr.tracing import HERE, InWork

DESCRIPTOR = Descriptor("my_cam", "front_door", 7, 1, 0, 2, 41, 0, 10**15, None)
EDGES = (("my_cam", "see"), ("see", "hook"))
EVENT: Any = {"frame": DESCRIPTOR.id, "camera": "front_door", "sequence": 41, "node": "see", "data": {}}


def frame(delivery: int = 1) -> Frame:
    return Frame(DESCRIPTOR, PictureLayout("gray", 2, 2), np.zeros(4, np.uint8), delivery, None)


def work(producer: str, consumer: str, delivery: int = 1, event: int | None = None) -> Span:
    stream = Stream("my_cam", "front_door", 7)
    row = LifeRow(10**6, "", stream, 41, f"{producer}.0", consumer, "delivered", 1, 1, 5, 1, 0, delivery, event)
    return spans_of(row, EDGES, WHOLE)[-1]


def header(span: Span, flags: str = "01") -> str:
    return f"00-{span.trace:032x}-{span.span:016x}-{flags}"


@pytest.fixture(autouse=True)
def here() -> Iterator[None]:
    before = HERE.node, HERE.share, HERE.is_sink, HERE.in_work
    HERE.node, HERE.share = "see", WHOLE
    yield
    HERE.node, HERE.share, HERE.is_sink, HERE.in_work = before


def test_it_is_the_span_of_the_nodes_work() -> None:
    assert detektr.traceparent(frame()) == header(work("my_cam", "see"))


def test_a_frame_that_the_trail_has_only_if_it_is_lost_is_not_sampled() -> None:
    HERE.share = 0
    assert detektr.traceparent(frame()) == header(work("my_cam", "see"), "00")


def test_an_attempt_has_a_span_of_its_own_counted_at_this_node() -> None:
    HERE.in_work = lambda: InWork(DESCRIPTOR.id, "my_cam", 41, 2)
    assert detektr.traceparent(frame(delivery=4)) == header(work("my_cam", "see", delivery=2))
    HERE.in_work = lambda: InWork(DESCRIPTOR.id, "my_cam", 41, 1)
    assert detektr.traceparent(frame(delivery=4)) == header(work("my_cam", "see")), "the others were before us"


def test_of_a_repeated_frame_that_is_over_the_first_attempt_is_meant() -> None:
    HERE.in_work = lambda: InWork("1_my_cam_front_door_42_00000000", "my_cam", 42, 3)
    assert detektr.traceparent(frame(delivery=2)) == header(work("my_cam", "see"))
    HERE.in_work = lambda: None
    assert detektr.traceparent(frame(delivery=2)) == header(work("my_cam", "see"))


def test_in_a_sink_it_is_the_span_of_the_event() -> None:
    HERE.node, HERE.is_sink = "hook", True
    HERE.in_work = lambda: InWork(DESCRIPTOR.id, "see", 3, 2)
    assert detektr.traceparent(EVENT) == header(work("see", "hook", delivery=2, event=3))


def test_elsewhere_an_event_leads_to_the_processor_that_it_came_from() -> None:
    HERE.node = ""
    assert detektr.traceparent(EVENT) == header(work("my_cam", "see"))


@pytest.mark.parametrize(
    "change", [{"frame": "41"}, {"frame": None}, {"sequence": 40}, {"camera": "door_x"}, {"frame": DESCRIPTOR.id + "g"}]
)
def test_what_is_no_event_is_refused_with_what_it_says(change: dict[str, Any]) -> None:
    changed: Any = {**EVENT, **change}
    with pytest.raises(detektr.RefusedError, match="names no frame; give it the event as the sink got it"):
        detektr.traceparent(changed)
