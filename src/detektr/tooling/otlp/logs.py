"""`detektr logs --to`: sends the log lines of a run to a collector, with the trace of the frame that they name.

They are read from the files that `detektr logs` prints, by a process of its own: no node waits for a collector, and
none knows of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from opentelemetry._logs import LogRecord as ApiRecord
from opentelemetry._logs import SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

from detektr.memory.run_folder import state_root
from detektr.observe.logbook import LogReader
from detektr.observe.trail.log_records import LogReading, LogRecord
from detektr.observe.trail.places import share_of
from detektr.observe.trail.spans import edges_of
from detektr.telemetry.history.record_reader import RunRecords
from detektr.tooling.otlp.collector import Waiting, hearing, made, send_all
from detektr.tooling.otlp.traces import resource_of

SEVERITIES = {
    "DEBUG": SeverityNumber.DEBUG,
    "INFO": SeverityNumber.INFO,
    "WARNING": SeverityNumber.WARN,
    "ERROR": SeverityNumber.ERROR,
    "CRITICAL": SeverityNumber.FATAL,
}
"""Levels of the log; what is printed past it (`PRINT`) has none."""
RECORD_BYTES = 1000  # of memory beside its text, about


class LogSender:
    """Sends the log lines of one run, in order."""

    what = "log lines"

    def __init__(self, pipeline: str, node: str | None, url: str) -> None:
        """Send nothing yet.

        Args:
            pipeline: its name; its newest run is meant.
            node: only this node (`motion`) or process (`motion.0`); None: all.
            url: of the collector, such as `http://127.0.0.1:4318`.
        Raises:
            DetektrError: there is no such run, it has no log, or the URL is none.
        """
        record = RunRecords(state_root() / pipeline).read("last")
        self.run = str(record["run"])
        self._exporter = made(OTLPLogExporter, url, "v1/logs")
        self._reader = LogReader(pipeline, node)
        self._reading = LogReading(record, edges_of(record), share_of(record))
        self._resource, self._scope = resource_of(record), InstrumentationScope("detektr")
        self.waiting: Waiting[LogRecord] = Waiting(self._export, lambda one: RECORD_BYTES + len(one.text))

    def look(self, now_s: float) -> bool:
        """See `Sender`."""
        is_taken = True
        for line in self._reader.read():
            record = self._reading.record_of(line)
            if record is not None:
                self.waiting.add(record)
                if self.waiting.is_due and is_taken:  # else not before the next look: it takes time to find out
                    is_taken = self.waiting.send()
        return is_taken and self.waiting.send()

    def close(self) -> None:
        """Let go of the collector and the files."""
        exporter: Any = self._exporter
        exporter.shutdown()
        self._reader.close()

    def _export(self, records: list[LogRecord]) -> bool:
        return self._exporter.export([self._readable(one) for one in records]) is LogRecordExportResult.SUCCESS

    def _readable(self, one: LogRecord) -> ReadableLogRecord:
        about: dict[str, str | int] = {
            "log.record.uid": one.uid,
            "detektr.process": one.process,
            "detektr.node": one.node,
        }
        if one.replica is not None:
            about["detektr.replica"] = one.replica
        if one.camera:
            about["detektr.camera"] = one.camera
        context = None
        if one.frame:
            about["detektr.frame"] = one.frame
            flags = TraceFlags(TraceFlags.SAMPLED if one.is_sampled else TraceFlags.DEFAULT)
            context = set_span_in_context(NonRecordingSpan(SpanContext(one.trace, one.span, False, flags)))
        record = ApiRecord(
            timestamp=one.utc_ns,
            context=context,
            severity_text=one.level,
            severity_number=SEVERITIES.get(one.level, SeverityNumber.UNSPECIFIED),
            body=one.text,
            attributes=about,
        )
        return ReadableLogRecord(record, self._resource, self._scope)


def send_logs(
    pipeline: str, node: str | None, url: str, tell: Callable[[str], None], *, follow: bool
) -> tuple[int, int]:
    """Send the log lines of a pipeline's newest run.

    Args:
        pipeline: its name.
        node: only this node (`motion`) or process (`motion.0`); None: all.
        url: of the collector, such as `http://127.0.0.1:4318`.
        tell: takes lines for people.
        follow: go on with lines as they come, until the run has ended.
    Returns:
        How many lines the collector has taken, and how many it has not.
    Raises:
        DetektrError: it has never run, or has no log.
    """
    with hearing() as heard, contextlib.closing(LogSender(pipeline, node, url)) as sender:
        return send_all(sender, pipeline, url, heard, tell, follow=follow)
