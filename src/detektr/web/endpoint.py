"""What an endpoint is, and what it is given: the request, its values, and the pipeline that it is about."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from detektr.web.access import Right
from detektr.web.query import Parameter
from detektr.web.view import View, Views

T = TypeVar("T")


class Desk:
    """What all requests share: the pipelines, the token, and the threads that read.

    One thread alone reads the views, so that each is read once for all who ask; what may take long goes to others.
    """

    def __init__(
        self, views: Views, token: str, *, open_: frozenset[str] = frozenset(), names: tuple[str, ...] = ()
    ) -> None:
        """Open for requests.

        Args:
            views: the pipelines.
            token: what a client must say.
            open_: what needs no token from this machine.
            names: hosts by which the server may be called.
        """
        self.views, self.token, self.open, self.names = views, token, open_, names
        self._reading = ThreadPoolExecutor(1, "web-read")
        self._slow = ThreadPoolExecutor(2, "web-slow")
        self.closing: list[Callable[[], None]] = []
        """What else is closed with it."""
        self.owes_an_end: Callable[[], bool] = lambda: False
        """Whether a client that pulls has not been told yet that no more frames will come."""

    async def read(self, call: Callable[[], T]) -> T:
        """Return what `call` does, in the thread that reads the views."""
        return await asyncio.get_running_loop().run_in_executor(self._reading, call)

    async def work(self, call: Callable[[], T]) -> T:
        """Return what `call` does, in a thread for what may take long; it may not touch a view."""
        return await asyncio.get_running_loop().run_in_executor(self._slow, call)

    def close(self) -> None:
        """Let go of everything."""
        for close in self.closing:
            close()
        self._slow.shutdown(cancel_futures=True)
        self._reading.shutdown(cancel_futures=True)
        self.views.close()


@dataclass(frozen=True)
class Call:
    """One request to an endpoint."""

    desk: Desk
    request: Request
    path: Mapping[str, str]
    """What stands in the address in place of names."""
    values: Mapping[str, Any]
    """Its parameters."""

    async def view(self) -> View:
        """Return the pipeline that the request is about.

        Raises:
            Problem: there is none, or it does not say which.
        """
        name = self.path.get("pipeline")
        return await self.desk.read(lambda: self.desk.views.get(name))

    async def read(self, call: Callable[[View], T]) -> T:
        """Return what `call` makes of the pipeline that the request is about.

        Raises:
            Problem: there is none, or it does not say which.
        """
        name = self.path.get("pipeline")
        return await self.desk.read(lambda: call(self.desk.views.get(name)))


@dataclass(frozen=True)
class Endpoint:
    """One thing that can be asked for."""

    methods: tuple[str, ...]
    path: str
    """Below the pipeline, or below the root."""
    right: Right
    answer: Callable[[Call], Awaitable[Response]]
    summary: str
    text: str = ""
    """What else is to be known of it."""
    open_as: str = ""
    """Its word in the key `open`."""
    parameters: tuple[Parameter, ...] = ()
    body: Mapping[str, Any] | None = None
    """JSON Schema of the body; None: it has none."""
    gives: str = "application/json"
    schema: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema of a good answer; empty: it may be any."""
    problems: tuple[int, ...] = ()
    """What else it may answer, beside 400, 401, 403, 404, 409 and 421."""
    is_of_pipeline: bool = True
    """Whether it is about one pipeline, and is also found below /pipelines/NAME."""
    extra: Mapping[int, str] = field(default_factory=dict)
    """Further good answers, with what they say."""

    @property
    def is_literal(self) -> bool:
        """Whether its path has no place for a name."""
        return "{" not in self.path


def json_answer(values: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return values as JSON, not to be kept by anybody."""
    text = json.dumps(values, allow_nan=False) + "\n"
    return Response(text, status, {"Cache-Control": "no-store", **(headers or {})}, "application/json")
