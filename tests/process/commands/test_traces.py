"""`detektr traces` with a small collector: a trace for each frame, over its nodes and a user's own spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.harness.running import RunningPipeline

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


class Sees:
    def __init__(self, url):
        self.url = url

    def open(self):
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{self.url}/v1/traces")))
        self.tracer = provider.get_tracer("mine")

    def process(self, frame):
        above = propagate.extract({"traceparent": detektr.traceparent(frame)})
        with self.tracer.start_as_current_span("look", above, attributes={"frame": frame.id}):
            return {"n": frame.sequence}


class Takes:
    def write(self, event):
        pass
"""


class Collector:
    """Takes traces over HTTP."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def take(self, path: str, body: bytes) -> None:
        """Take what was sent."""
        assert path == "/v1/traces"
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                for span in scope.spans:
                    about = {one.key: one.value for one in span.attributes}
                    self.spans.append({"span": span, "scope": scope.scope.name, "about": about})

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def test_each_frame_has_a_trace_over_its_nodes_with_the_users_own_spans(
    tmp_path: Path, collector: Collector, run_detektr: RunDetektr
) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    nodes = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "when_full": "block"},
        "buf": {"kind": "buffer", "input": "cam", "when_full": "block"},
        "see": {"kind": "processor", "input": "buf", "use": "mine:Sees", "with": {"url": collector.url}},
        "out": {"kind": "sink", "input": "see", "use": "mine:Takes"},
    }
    audit = {"to": f"sqlite:{tmp_path / 'audit.db'}", "frames": "all"}
    with RunningPipeline(tmp_path, "demo", nodes, audit=audit) as run:
        assert run.end(None)["unaccounted"] == 0
    own = [one["span"] for one in collector.spans]
    assert len(own) == FRAMES and {span.name for span in own} == {"look"}
    told = run_detektr("traces", "demo", "--to", collector.url)
    assert told.returncode == 0, told.stderr
    spans = [one["span"] for one in collector.spans]
    assert told.stdout == f"{len(spans) - FRAMES} spans sent to {collector.url}\n"
    traces: dict[bytes, dict[str, Any]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, {})[span.name] = span
    assert len(traces) == FRAMES
    for trace in traces.values():
        assert set(trace) == {"cam -> buf", "buf -> see", "see", "look", "see -> out", "out"}
        assert trace["cam -> buf"].parent_span_id == b""
        for below, above in (
            ("buf -> see", "cam -> buf"),
            ("see", "buf -> see"),
            ("look", "see"),
            ("out", "see -> out"),
        ):
            assert trace[below].parent_span_id == trace[above].span_id, (below, above)
        see, look = trace["see"], trace["look"]
        slack_ns = 5_000_000  # of two clocks' readings
        assert see.start_time_unix_nano - slack_ns < look.start_time_unix_nano
        assert look.end_time_unix_nano < see.end_time_unix_nano + slack_ns


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


def test_a_collector_that_is_away_is_told_in_words(tmp_path: Path, run_detektr: RunDetektr) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    nodes = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "when_full": "block"},
        "see": {"kind": "processor", "input": "cam", "use": "motion"},
    }
    audit = {"to": f"sqlite:{tmp_path / 'audit.db'}", "frames": "all"}
    with RunningPipeline(tmp_path, "demo", nodes, audit=audit) as run:
        run.end(None)
    told = run_detektr("traces", "demo", "--to", "http://127.0.0.1:9")
    assert told.returncode == 1 and told.stdout == "0 spans sent to http://127.0.0.1:9\n"
    assert told.stderr.startswith("http://127.0.0.1:9 has not taken 24 spans; see whether"), told.stderr
