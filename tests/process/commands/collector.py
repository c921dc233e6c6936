"""A small OpenTelemetry collector: takes spans and log records over HTTP, and keeps them."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """Takes what comes, or refuses it."""

    def __init__(self, port: int = 0) -> None:
        """Listen, on any free port unless told otherwise."""
        self.spans: list[Any] = []
        self.records: list[Any] = []
        self.resources: list[dict[str, str]] = []
        """What was said of each run, with each request."""
        self.headers: list[dict[str, str]] = []
        """Of each request, by their names in small letters."""
        self.status = 200
        """The answer; what is not answered with 200 is not kept."""
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                status = collector.status
                if status == 200:
                    collector.take(self.path, body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *arguments: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_port
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Collector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def take(self, path: str, body: bytes) -> None:
        """Take what was sent."""
        if path == "/v1/traces":
            for spans in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(attributes(spans.resource))
                self.spans += [span for scope in spans.scope_spans for span in scope.spans]
        else:
            assert path == "/v1/logs", path
            for logs in ExportLogsServiceRequest.FromString(body).resource_logs:
                self.resources.append(attributes(logs.resource))
                self.records += [record for scope in logs.scope_logs for record in scope.log_records]

    def close(self) -> None:
        """End it."""
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


def attributes(of: Any) -> dict[str, Any]:
    """Return the attributes of a span, a record or a resource."""
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in of.attributes}
