"""A frame's trace: spans that follow each other and lie below each other, from rows that come in any order."""

from __future__ import annotations

import numpy as np

import detektr
from detektr.descriptor import Descriptor
from detektr.frame import Frame
from detektr.observe.trail.spans import Span, spans_of
from detektr.picture import PictureLayout
from detektr.telemetry.trail.rows import LifeRow, Stream
from detektr.tracing import HERE

STREAM = Stream("cam", "door", 7)
EDGES = [("cam", "buf"), ("other", "buf"), ("buf", "see"), ("see", "hook")]


def row(producer: str, consumer: str, t_us: int = 1_000_000, outcome: str = "delivered", **more: int | None) -> LifeRow:
    times = {"queued_us": 300, "waited_us": 20, "worked_us": 500, "kept_us": 100, "replica": 0, "delivery": 1, **more}
    return LifeRow(t_us, "buffered", STREAM, 41, f"{producer}.0", consumer, outcome, **times)  # type: ignore[arg-type]


def spans() -> dict[str, Span]:
    rows = [row("see", "hook", event=3), row("buf", "see"), row("cam", "buf", worked_us=None, kept_us=900)]
    return {span.name: span for one in rows for span in spans_of(one, EDGES)}


def test_each_edge_lies_below_the_one_before_and_work_below_its_edge() -> None:
    found = spans()
    assert set(found) == {"cam -> buf", "buf -> see", "see", "see -> hook", "hook"}
    assert len({span.trace for span in found.values()}) == 1
    assert found["cam -> buf"].parent == 0
    for below, above in (("buf -> see", "cam -> buf"), ("see", "buf -> see"), ("see -> hook", "buf -> see")):
        assert found[below].parent == found[above].span, below
    assert found["hook"].parent == found["see -> hook"].span
    assert len({span.span for span in found.values()}) == 5


def test_times_are_those_of_the_row() -> None:
    found = spans()
    edge, work = found["buf -> see"], found["see"]
    assert (edge.begin_us, edge.end_us) == (1_000_000 - 920, 1_000_000)
    assert (work.begin_us, work.end_us) == (1_000_000 - 600, 1_000_000 - 100)
    assert edge.attributes["detektr.queued_ms"] == 0.3 and work.attributes["detektr.process"] == "see.0"


def test_an_attempt_that_failed_is_a_span_of_its_own() -> None:
    failed = {span.name: span for span in spans_of(row("buf", "see", outcome="failed"), EDGES)}
    assert failed["see"].fault == "failed" and failed["see"].span != spans()["see"].span


def test_users_code_knows_the_span_of_its_node() -> None:
    layout = PictureLayout("gray", 2, 2)
    frame = Frame(Descriptor("cam", "door", 7, 1, 0, 2, 41, 0, 10**15, None), layout, np.zeros(4, np.uint8), 1, None)
    before = HERE.node, HERE.share
    try:
        HERE.node, HERE.share = "see", 1 << 32
        work = spans()["see"]
        assert detektr.traceparent(frame) == f"00-{work.trace:032x}-{work.span:016x}-01"
        HERE.share = 0
        assert detektr.traceparent(frame).endswith("-00"), "not sampled where the trail has only what is lost"
    finally:
        HERE.node, HERE.share = before
