"""A frame's trace: spans that follow each other and lie below each other, from rows that come in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detektr.edge.frame_trail import WHOLE, is_in_share
from detektr.observe.trail.spans import Span, spans_of
from detektr.telemetry.trail.harvest import UNKNOWN
from detektr.telemetry.trail.rows import Drop, DropRow, LifeRow, Stream, pack_drops

STREAM = Stream("cam", "door", 7)
EDGES = (("cam", "buf"), ("other", "buf"), ("buf", "see"), ("see", "hook"))


def row(producer: str, consumer: str, t_us: int = 1_000_000, outcome: str = "delivered", **more: int | None) -> LifeRow:
    times = {"queued_us": 300, "waited_us": 20, "worked_us": 500, "kept_us": 100, "replica": 0, "delivery": 1, **more}
    return LifeRow(t_us, "buffered", STREAM, 41, f"{producer}.0", consumer, outcome, **times)  # type: ignore[arg-type]


def spans() -> dict[str, Span]:
    rows = [row("see", "hook", event=3), row("buf", "see"), row("cam", "buf", worked_us=None, kept_us=900)]
    return {span.name: span for one in rows for span in spans_of(one, EDGES, WHOLE)}


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


def test_an_attempt_that_failed_is_a_span_of_its_own_below_the_edge() -> None:
    [first] = spans_of(row("buf", "see", outcome="failed"), EDGES, WHOLE)
    edge, second = spans_of(row("buf", "see", delivery=2), EDGES, WHOLE)
    assert (first.name, first.fault, second.fault) == ("see", "failed", "")
    assert first.parent == second.parent == edge.span and first.span != second.span
    assert first.span == spans()["see"].span, "it was the first attempt, as where it is the only one"


def test_an_attempt_that_died_with_its_process_lasts_from_its_lease() -> None:
    [died] = spans_of(row("buf", "see", outcome="failed", waited_us=None, worked_us=None, kept_us=700), EDGES, WHOLE)
    assert died.name == "see" and (died.begin_us, died.end_us) == (1_000_000 - 700, 1_000_000)


def test_a_frame_that_an_edge_dropped_says_so_in_its_trace() -> None:
    drops = pack_drops([Drop(41, 1, 250), Drop(44, 2, 500)])
    row_of_drops = DropRow(3, "buffered", STREAM, "buf.0", "see", "queue_full", 41, 44, 3, drops)
    found = spans_of(row_of_drops, EDGES, WHOLE)
    assert [(span.name, span.begin_us, span.end_us, span.fault) for span in found] == [
        ("buf -> see", 3_250_000, 3_250_000, "queue_full"),
        ("buf -> see", 3_500_000, 3_500_000, "queue_full"),
        ("buf -> see", 3_500_000, 3_500_000, "queue_full"),
    ]
    assert [span.attributes["detektr.sequence"] for span in found] == [41, 43, 44]
    assert (found[0].trace, found[0].parent) == (spans()["see"].trace, spans()["cam -> buf"].span)
    thinned = spans_of(row_of_drops._replace(reason="thinned"), EDGES, WHOLE)
    assert [span.fault for span in thinned] == ["", "", ""], "the file has asked for it"


@given(st.integers(0, 2**32), st.integers(0, 2**40))
def test_only_frames_whose_context_says_so_have_spans(share: int, sequence: int) -> None:
    life = row("buf", "see", outcome="dead_lettered")._replace(sequence=sequence)
    drops = DropRow(3, "", STREAM, "buf.0", "see", "too_old", sequence, sequence, 1, pack_drops([Drop(sequence, 1, 0)]))
    has_spans = [bool(spans_of(one, EDGES, share)) for one in (life, drops)]
    assert has_spans == [is_in_share(sequence, share)] * 2


def test_a_row_of_a_stream_that_nobody_knows_tells_of_no_frame() -> None:
    assert spans_of(row("buf", "see")._replace(stream=UNKNOWN), EDGES, WHOLE) == []
