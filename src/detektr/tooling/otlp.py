"""`detektr traces`: sends traces of frames to a collector, over HTTP (the only opentelemetry).

They are made of the audit trail by a process of its own: a run that nobody traces pays nothing, and a collector that is
slow or away holds up no frame. What it does not take in time is sent again, and the oldest is let go of, and counted.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from detektr.memory.run_folder import RunFolder, state_root
from detektr.observe.run_state import read_run_state
from detektr.observe.trail.places import open_trail_of
from detektr.observe.trail.spans import Span, spans_of
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.trail.rows import LifeRow
from detektr.telemetry.trail.wanted import WantedRows

EACH_S = 1.0
LATE_S = 5.0  # a row is there at most so long after its time
BATCH = 512
WAITING_MAX = 20_000
ROWS_MAX = 100_000
TIMEOUT_S = 5.0


class TraceSender:
    """Sends the spans of one run, each once as long as the collector takes them."""

    def __init__(self, pipeline: str, run: str, url: str) -> None:
        """Send nothing yet.

        Args:
            pipeline: its name.
            run: id of the run.
            url: of the collector, such as `http://127.0.0.1:4318`.
        Raises:
            DetektrError: there is no such run, or it has no trail.
        """
        record = RunRecords(state_root() / pipeline).read(run)
        self.run = str(record["run"])
        """Its whole id."""
        self._trail = open_trail_of(record)
        self._edges = [(one["from"], one["to"]) for one in record.get("edges", [])]
        self._exporter = OTLPSpanExporter(f"{url.rstrip('/')}/v1/traces", timeout=TIMEOUT_S)
        about = {"service.name": "detektr", "service.namespace": pipeline, "service.instance.id": self.run}
        self._resource = Resource.create(about)
        self._known: dict[LifeRow, None] = {}
        self._waiting: deque[Span] = deque()
        self._since_s = record["started_utc_ns"] / 1e9
        self.sent = 0
        """Spans that the collector has taken."""
        self.lost = 0
        """Spans that were let go of, as it took too few."""

    def look(self, now_s: float) -> None:
        """Take what the trail has by now, and send it.

        Raises:
            DetektrError: the trail cannot be read.
        """
        wanted = WantedRows(round((self._since_s - LATE_S) * 1e6), round(now_s * 1e6), ROWS_MAX)
        rows = [row for row in self._trail.of_time(wanted) if isinstance(row, LifeRow)]
        for row in rows:
            if row not in self._known:
                self._waiting.extend(spans_of(row, self._edges))
        self._known, self._since_s = dict.fromkeys(rows), now_s
        while len(self._waiting) > WAITING_MAX:
            self._waiting.popleft()
            self.lost += 1
        while self._waiting and self._send(list(self._waiting)[:BATCH]):
            pass

    @property
    def missing(self) -> int:
        """Spans that the collector has not taken so far, or never will."""
        return self.lost + len(self._waiting)

    def close(self) -> None:
        """Let go of the collector and the trail."""
        exporter: Any = self._exporter
        exporter.shutdown()
        self._trail.close()

    def _send(self, spans: list[Span]) -> bool:
        if self._exporter.export([self._readable(span) for span in spans]) is not SpanExportResult.SUCCESS:
            return False
        for _ in spans:
            self._waiting.popleft()
        self.sent += len(spans)
        return True

    def _readable(self, span: Span) -> ReadableSpan:
        def context(number: int) -> SpanContext:
            return SpanContext(span.trace, number, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))

        return ReadableSpan(
            span.name,
            context(span.span),
            context(span.parent) if span.parent else None,
            self._resource,
            dict(span.attributes),
            status=Status(StatusCode.ERROR, span.fault) if span.fault else Status(StatusCode.OK),
            start_time=span.begin_us * 1000,
            end_time=span.end_us * 1000,
            instrumentation_scope=InstrumentationScope("detektr"),
        )


def send_traces(pipeline: str, url: str, tell: Callable[[str], None]) -> tuple[int, int]:
    """Send the traces of a pipeline's newest run until it has ended.

    Args:
        pipeline: its name.
        url: of the collector, such as `http://127.0.0.1:4318`.
        tell: takes lines for people.
    Returns:
        How many spans the collector has taken, and how many it has not.
    Raises:
        DetektrError: it has never run, or its run has no audit trail.
    """
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # what it says, we say in a line
    sender, folder, told = TraceSender(pipeline, "last", url), RunFolder(pipeline), 0
    try:
        is_over = False
        while not is_over:
            is_over = read_run_state(folder).get("run") != sender.run  # before the look, which is the last one then
            sender.look(time.time())
            if sender.missing and (is_over or sender.lost > told):
                told = sender.lost
                tell(f"{url} has not taken {sender.missing} spans; see whether a collector listens there, and has time")
            if not is_over:
                time.sleep(EACH_S)
        return sender.sent, sender.missing
    finally:
        sender.close()
