"""Whatever is sent to each endpoint that the server describes: an answer or a problem, never a fault, no change."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_reading import CODE, TOKEN, graph, served

ODD = (
    "",
    "0",
    "-1",
    "1e309",
    "nan",
    "null",
    "a" * 600,
    "%00",
    "../../etc/passwd",
    "'; --",
    "ä€😀",
    "buffer",
    "cam",
    "last",
)
BODIES = (None, b"", b"{", b"[]", b'{"leases": [[]]}', b'{"leases": ["' + b"x" * 200 + b'"]}', b"\xff\xfe", b'{"a": 1}')
ANSWERED = {200, 400, 401, 403, 404, 405, 409, 410, 413, 421, 422, 429, 431, 503, 504}


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def asked(description: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Yield method, path and body of many requests."""
    for path, operations in description["paths"].items():
        if path.endswith("/events"):
            continue  # its answer has no end
        for method, operation in operations.items():
            names = re.findall(r"\{(\w+)\}", path)
            odd = itertools.cycle(ODD)
            for number in range(len(ODD)):
                filled = path
                for name in names:
                    value = "demo" if name == "pipeline" and number % 2 else next(odd)
                    filled = filled.replace(f"{{{name}}}", quote(value or "x", safe=""))
                keys = [one["name"] for one in operation["parameters"] if one["in"] == "query"]
                query = "&".join(f"{key}={quote(next(odd), safe='')}" for key in keys[number % 3 :])
                body = BODIES[number % len(BODIES)] if method == "post" else None
                yield method.upper(), filled + (f"?{query}" if query else ""), body


@pytest.mark.thorough
@pytest.mark.timeout(240)  # about two thousand requests
def test_no_request_is_a_fault_and_none_without_the_token_changes_anything(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        description = client.get("/openapi.json")
        nobody = WebClient(f"http://127.0.0.1:{client.port}")
        count = 0
        for method, path, body in asked(description):
            for who in (nobody, client):
                if who is client and path.split("?")[0].endswith("/clear"):
                    continue
                reply = who.ask(path, method, body)
                count += 1
                assert reply.status in ANSWERED, (method, path, body, reply)
                if reply.status >= 400 and "/ready" not in path and "/healthz" not in path:
                    assert reply.headers["content-type"] == "application/problem+json", (method, path, reply)
                    assert reply.json["next"] and reply.json["code"], (method, path, reply)
        assert count > 500
        for extra in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
            reply = client.ask("/frames/dequeue?count=1", headers=extra)
            assert (reply.status, reply.json["code"]) == (403, "cross_site")
        edge = run.edge("buffer", "eye")
        assert not edge["dropped"].get("cleared"), "cleared by nobody"
        assert client.get("/ping") == {"ok": True}
    assert run.end()["unaccounted"] == 0
