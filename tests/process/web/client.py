"""Asks a web server, as its clients do: one request a connection, over real HTTP."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

ANSWER_S_MAX = 30.0


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as values."""
        return json.loads(self.body)


class WebClient:
    """One client of one server."""

    def __init__(self, url: str, token: str | None = None) -> None:
        """Ask at `url`, with the token where there is one."""
        where = urlsplit(url)
        self.host, self.port, self.token = where.hostname or "", where.port or 0, token

    def ask(self, path: str, method: str = "GET", body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """Ask for `path`; returns what came back."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_S_MAX)
        sent = {"Connection": "close", **({"Authorization": f"Bearer {self.token}"} if self.token else {})}
        payload = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, payload, {**sent, **(headers or {})})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """Return the values at `path`; it must be there."""
        reply = self.ask(path)
        assert reply.status == 200, (reply.status, reply.body)
        return reply.json

    def post(self, path: str, body: Any = None) -> Any:
        """Return the values that a POST answers; it must be done."""
        reply = self.ask(path, "POST", body)
        assert reply.status == 200, (reply.status, reply.body)
        return reply.json
