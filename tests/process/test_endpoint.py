"""The metrics endpoint over real sockets: what it answers, and what clients that behave badly cannot do to it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from detektr.errors import RefusedError
from detektr.ledger import EdgeLedger
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.telemetry import endpoint
from detektr.telemetry.metrics import MetricsServer, PipelineCollector, serve_metrics

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

HOST = "127.0.0.1"
EDGE = EdgeLedger("camera", "buffer", offered=5, delivered=5)


class Pipeline:
    """What the collector reads; a test may change it, or make it fail."""

    def __init__(self) -> None:
        self.edges = [EDGE]
        self.fault: Exception | None = None

    def read(self) -> tuple[list[EdgeLedger], list[NodeSnapshot]]:
        if self.fault is not None:
            raise self.fault
        return self.edges, []


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


@pytest.fixture
def server(pipeline: Pipeline) -> Iterator[MetricsServer]:
    running = serve_metrics(PipelineCollector(pipeline.read, "demo"), HOST, 0)
    yield running
    running.close()


def ask(server: MetricsServer, path: str, method: str = "GET") -> tuple[int, str, str]:
    connection = http.client.HTTPConnection(HOST, server.port, timeout=10)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


def test_metrics_are_in_prometheus_text(server: MetricsServer) -> None:
    status, content_type, body = ask(server, "/metrics?whatever=1")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert 'detektr_edge_offered_total{from="camera",pipeline="demo",to="buffer"} 5.0' in body


def test_health_is_200_and_with_a_stalled_edge_503(server: MetricsServer, pipeline: Pipeline) -> None:
    status, content_type, body = ask(server, "/healthz")
    assert (status, content_type, json.loads(body)["healthy"]) == (200, "application/json", True)
    pipeline.edges = [EdgeLedger("camera", "buffer", offered=3, queued=3, is_stalled=True)]
    status, _, body = ask(server, "/healthz")
    assert status == 503
    assert json.loads(body)["stalled"] == [{"from": "camera", "to": "buffer", "queued": 3}]


def test_other_paths_and_methods_are_told_what_there_is(server: MetricsServer) -> None:
    assert ask(server, "/")[0::2] == (404, "not here; this endpoint has /metrics and /healthz\n")
    assert ask(server, "/metrics", "POST")[0] == 405
    assert ask(server, "/metrics", "HEAD")[0::2] == (200, "")


def test_reading_that_fails_is_told_and_the_next_one_is_answered(server: MetricsServer, pipeline: Pipeline) -> None:
    pipeline.fault = OSError("page torn")
    status, _, body = ask(server, "/metrics")
    assert status == 500
    assert "OSError: page torn" in body
    pipeline.fault = None
    assert ask(server, "/metrics")[0] == 200


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [(b"\x16\x03\x01\r\n\r\n", b"400"), (b"GET /metrics\r\n\r\n", b"400"), (b"GET /" + b"x" * 100_000, b"431")],
)
def test_what_is_no_request_is_refused_in_words(server: MetricsServer, request_bytes: bytes, status: bytes) -> None:
    with socket.create_connection((HOST, server.port), timeout=10) as client:
        client.sendall(request_bytes)
        assert client.recv(12) == b"HTTP/1.1 " + status
    assert ask(server, "/metrics")[0] == 200


def test_clients_that_hang_keep_nobody_out_and_add_no_thread(server: MetricsServer) -> None:
    threads = threading.active_count()
    with ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection((HOST, server.port), timeout=10))
            for _ in range(3 * endpoint.CONNECTIONS_MAX)
        ]
        assert ask(server, "/metrics")[0] == 200
        assert threading.active_count() == threads
        # The oldest lost its connection to those that came after it, long before its time was over.
        assert clients[0].recv(1) == b""


def test_slow_client_loses_its_connection_when_its_time_is_over(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "EXCHANGE_S_MAX", 0.1)
    server = serve_metrics(PipelineCollector(pipeline.read, "demo"), HOST, 0)
    try:
        with socket.create_connection((HOST, server.port), timeout=10) as client:
            client.sendall(b"GET /metr")
            assert client.recv(1) == b""
    finally:
        server.close()


def test_close_ends_open_connections_and_frees_the_port(pipeline: Pipeline, wait_until: WaitUntil) -> None:
    collector = PipelineCollector(pipeline.read, "demo")
    server = serve_metrics(collector, HOST, 0)
    with socket.create_connection((HOST, server.port), timeout=10) as client:
        client.sendall(b"GET /")
        assert ask(server, "/metrics")[0] == 200  # by now the endpoint knows the one above
        server.close()
        assert client.recv(1) == b""
    server.close()
    again = serve_metrics(collector, HOST, server.port)
    again.close()


def test_port_in_use_is_refused_with_the_cure(server: MetricsServer, pipeline: Pipeline) -> None:
    with pytest.raises(RefusedError, match=rf"port {server.port} of '127.0.0.1': another program uses it; set another"):
        serve_metrics(PipelineCollector(pipeline.read, "demo"), HOST, server.port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_host_of_another_machine_is_refused_with_the_cure(pipeline: Pipeline, host: str) -> None:
    with pytest.raises(RefusedError, match="address of this machine"):
        serve_metrics(PipelineCollector(pipeline.read, "demo"), host, 0)
