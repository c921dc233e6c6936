"""`detektr traces`: sends traces of frames to a collector.

They are made of the audit trail by a process of its own: a run that nobody traces pays nothing, and a collector that is
slow or away holds up no frame. What it does not take in time is sent again, and the oldest is let go of, and counted.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from detektr.memory.run_folder import state_root
from detektr.observe.trail.places import open_trail_of, share_of
from detektr.observe.trail.spans import Span, edges_of, spans_of
from detektr.telemetry.history.record_reader import RunRecords
from detektr.telemetry.trail.rows import Row
from detektr.telemetry.trail.wanted import WantedRows
from detektr.tooling.otlp.collector import Waiting, hearing, made, send_all

LATE_S = 5.0  # a row is there at most so long after its time
ROWS_MAX = 100_000
STEP_S, STEP_S_MIN, STEP_S_MAX = 10.0, 0.1, 86_400.0  # of the trail's time that is read at once
SPAN_BYTES = 1000  # of memory, about


class TraceSender:
    """Sends the spans of one run, each once as long as the collector takes them."""

    what = "spans"

    def __init__(self, pipeline: str, run: str, url: str) -> None:
        """Send nothing yet.

        Args:
            pipeline: its name.
            run: id of the run.
            url: of the collector, such as `http://127.0.0.1:4318`.
        Raises:
            DetektrError: there is no such run, it has no trail, or the URL is none.
        """
        record = RunRecords(state_root() / pipeline).read(run)
        self.run = str(record["run"])
        self.share = share_of(record)
        """How many of 2^32 frames are sampled."""
        self.frames = str(record.get("audit_frames", "dropped"))
        """Which frames the trail has, in the file's words."""
        self._exporter = made(OTLPSpanExporter, url, "v1/traces")
        self._trail = open_trail_of(record)
        self._edges = edges_of(record)
        self._resource = resource_of(record)
        self._known: dict[Row, None] = {}
        self._since_s, self._step_s = record["started_utc_ns"] / 1e9, STEP_S
        self.waiting: Waiting[Span] = Waiting(self._export, lambda span: SPAN_BYTES)

    def look(self, now_s: float) -> bool:
        """See `Sender`."""
        is_taken, is_behind = True, True
        while is_behind:
            until_s = min(now_s, self._since_s + self._step_s)
            is_behind = until_s < now_s
            wanted = WantedRows(round((self._since_s - LATE_S) * 1e6), round(until_s * 1e6), ROWS_MAX)
            rows = self._trail.of_time(wanted)
            if len(rows) == ROWS_MAX and self._step_s > STEP_S_MIN:  # the oldest ones of that time are not among them
                self._step_s = max(self._step_s / 4, STEP_S_MIN)
                is_behind = True
                continue
            if len(rows) < ROWS_MAX // 8:
                self._step_s = min(self._step_s * 2, STEP_S_MAX)
            for row in rows:
                if row not in self._known:
                    for span in spans_of(row, self._edges, self.share):
                        self.waiting.add(span)
            self._known, self._since_s = dict.fromkeys(rows), until_s
            if is_taken:  # else not before the next look: it takes time to find out
                is_taken = self.waiting.send()
        return is_taken

    def close(self) -> None:
        """Let go of the collector and the trail."""
        exporter: Any = self._exporter
        exporter.shutdown()
        self._trail.close()

    def _export(self, spans: list[Span]) -> bool:
        return self._exporter.export([self._readable(span) for span in spans]) is SpanExportResult.SUCCESS

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


def resource_of(record: dict[str, Any]) -> Resource:
    """Return what a collector is told about a run with all that is of it."""
    about = {
        "service.name": "detektr",
        "service.namespace": str(record["pipeline"]),
        "service.instance.id": str(record["run"]),
    }
    return Resource.create(about)


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
    with hearing() as heard, contextlib.closing(TraceSender(pipeline, "last", url)) as sender:
        if not sender.share:
            tell(
                f"no frame of {pipeline} is sampled: its audit trail has `frames: {sender.frames}`; write `frames: all`"
                " there, or a share such as 1%"
            )
        return send_all(sender, pipeline, url, heard, tell, follow=True)
