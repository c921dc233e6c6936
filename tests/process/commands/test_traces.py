"""`detektr traces` with a small collector: a trace for each frame, over its nodes and a user's own spans."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.commands.collector import Collector, attributes

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

FRAMES = 12
CODE = """
import numpy as np
import detektr
from opentelemetry import propagate, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor


def pictures():
    for count in range(12):
        yield np.full((8, 8), count, np.uint8)


class Traced:
    def __init__(self, url, fails_at=-1):
        self.url, self.fails_at = url, fails_at

    def open(self):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{self.url}/v1/traces")))
        self.tracer = provider.get_tracer("mine")

    def below(self, name, header, **about):
        return self.tracer.start_as_current_span(name, propagate.extract({"traceparent": header}), attributes=about)


class Sees(Traced):
    def process(self, frame):
        header = detektr.traceparent(frame)
        with self.below("look", header, frame=frame.id, delivery=frame.delivery):
            if frame.sequence == self.fails_at and frame.delivery == 1:
                raise ValueError("not yet")
            with self.tracer.start_as_current_span("look closely"):
                return {"n": frame.sequence, "traceparent": header}


class Takes(Traced):
    def write(self, event):
        with self.below("take", detektr.traceparent(event), frame=event["frame"]):
            with self.below("ask elsewhere", event["data"]["traceparent"]):
                pass
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


def graph(collector: Collector, **see: Any) -> dict[str, Any]:
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "when_full": "block"},
        "buf": {"kind": "buffer", "input": "cam", "when_full": "block"},
        "see": {"kind": "processor", "input": "buf", "use": "mine:Sees", "with": {"url": collector.url, **see}},
        "out": {"kind": "sink", "input": "see", "use": "mine:Takes", "with": {"url": collector.url}},
    }


def run_traced(folder: Path, nodes: dict[str, Any], frames: str) -> None:
    (folder / "mine.py").write_text(CODE)
    audit = {"to": f"sqlite:{folder / 'audit.db'}", "frames": frames}
    with RunningPipeline(folder, "demo", nodes, audit=audit) as run:
        assert run.end(None)["unaccounted"] == 0


def by_trace(collector: Collector) -> dict[bytes, dict[str, Any]]:
    traces: dict[bytes, dict[str, Any]] = {}
    for span in collector.spans:
        traces.setdefault(span.trace_id, {})[span.name] = span
    return traces


def test_each_frame_has_a_trace_over_its_nodes_with_the_users_own_spans(
    tmp_path: Path, collector: Collector, run_detektr: RunDetektr
) -> None:
    run_traced(tmp_path, graph(collector), "all")
    own = {"look", "look closely", "take", "ask elsewhere"}
    assert len(collector.spans) == len(own) * FRAMES and {span.name for span in collector.spans} == own
    told = run_detektr("traces", "demo", "--to", collector.url)
    assert told.returncode == 0 and told.stderr == "", told.stderr
    assert told.stdout == f"{6 * FRAMES - FRAMES} spans sent to {collector.url}\n"
    traces = by_trace(collector)
    assert len(traces) == FRAMES
    for trace in traces.values():
        assert set(trace) == own | {"cam -> buf", "buf -> see", "see", "see -> out", "out"}
        assert trace["cam -> buf"].parent_span_id == b""
        for below, above in (
            ("buf -> see", "cam -> buf"),
            ("see", "buf -> see"),
            ("look", "see"),
            ("look closely", "look"),
            ("out", "see -> out"),
            ("take", "out"),
            ("ask elsewhere", "see"),
        ):
            assert trace[below].parent_span_id == trace[above].span_id, (below, above)
        see, look = trace["see"], trace["look"]
        slack_ns = 5_000_000  # of two clocks' readings
        assert see.start_time_unix_nano - slack_ns < look.start_time_unix_nano
        assert look.end_time_unix_nano < see.end_time_unix_nano + slack_ns
    assert collector.resources[-1].items() >= {"service.name": "detektr", "service.namespace": "demo"}.items()


def test_a_repeated_frame_has_a_span_for_each_attempt_with_the_users_spans_below_its_own(
    tmp_path: Path, collector: Collector, run_detektr: RunDetektr
) -> None:
    run_traced(tmp_path, graph(collector, fails_at=5), "all")
    assert run_detektr("traces", "demo", "--to", collector.url).returncode == 0
    assert len({(span.trace_id, span.span_id) for span in collector.spans}) == len(collector.spans)
    looks = [span for span in collector.spans if span.name == "look" and "_5_" in attributes(span)["frame"]]
    first, second = sorted(looks, key=lambda span: int(attributes(span)["delivery"]))
    works = {span.span_id: span for span in collector.spans if span.trace_id == first.trace_id and span.name == "see"}
    assert first.parent_span_id != second.parent_span_id
    assert (works[first.parent_span_id].status.message, works[second.parent_span_id].status.message) == ("failed", "")
    [edge] = [span for span in collector.spans if span.trace_id == first.trace_id and span.name == "buf -> see"]
    assert {work.parent_span_id for work in works.values()} == {edge.span_id}


def test_a_share_is_the_same_frames_in_the_trail_and_in_user_code(
    tmp_path: Path, collector: Collector, run_detektr: RunDetektr
) -> None:
    run_traced(tmp_path, graph(collector), "25%")
    own = {span.trace_id for span in collector.spans}
    assert 0 < len(own) < FRAMES
    assert run_detektr("traces", "demo", "--to", collector.url).returncode == 0
    traces = by_trace(collector)
    assert set(traces) == own and all("see" in trace and "look" in trace for trace in traces.values())


def test_where_no_frame_is_sampled_that_is_said_and_nothing_is_sent(
    tmp_path: Path, collector: Collector, run_detektr: RunDetektr
) -> None:
    run_traced(tmp_path, graph(collector, fails_at=5), "dropped")
    assert collector.spans == [], "user code is told that its frames are not sampled"
    told = run_detektr("traces", "demo", "--to", collector.url)
    assert told.returncode == 0 and "no frame of demo is sampled: its audit trail has `frames: dropped`" in told.stderr
    assert told.stdout == f"0 spans sent to {collector.url}\n" and collector.spans == []


def test_a_run_without_a_trail_is_told_in_words(tmp_path: Path, run_detektr: RunDetektr) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    nodes = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "when_full": "block"},
        "see": {"kind": "processor", "input": "cam", "use": "motion"},
    }
    assert "pipeline 'demo' has no run 'last'" in run_detektr("traces", "demo").stderr
    with RunningPipeline(tmp_path, "demo", nodes) as run:
        run.end(None)
    told = run_detektr("traces", "demo")
    assert told.returncode == 1 and "kept no audit trail" in told.stderr, told


def test_a_collector_that_is_away_or_refuses_is_told_in_words_without_its_password(
    tmp_path: Path, collector: Collector, run_detektr: RunDetektr
) -> None:
    nodes = graph(collector)
    nodes["see"] = {"kind": "processor", "input": "cam", "use": "motion"}
    del nodes["buf"], nodes["out"]
    run_traced(tmp_path, nodes, "all")
    told = run_detektr("traces", "demo", "--to", "http://127.0.0.1:9")
    assert told.returncode == 1 and told.stdout == "0 spans sent to http://127.0.0.1:9\n"
    assert told.stderr.startswith("http://127.0.0.1:9 has not taken 24 spans; see whether"), told.stderr
    collector.status = 401
    told = run_detektr("traces", "demo", "--to", f"http://me:secret99@127.0.0.1:{collector.port}")
    assert told.returncode == 1 and told.stdout == f"0 spans sent to http://***@127.0.0.1:{collector.port}\n"
    assert "401" in told.stderr and "secret99" not in told.stdout + told.stderr, told.stderr
    told = run_detektr("traces", "demo", "--to", "collector:4318")
    assert told.returncode == 2 and "--to: 'collector:4318' is no address; write one" in told.stderr, told
