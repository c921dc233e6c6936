"""The application: finds the endpoint of a request, asks who may what, answers; a fault is a problem, never a trace."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import unquote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import Receive, Scope, Send

from detektr.errors import DetektrError
from detektr.process.fault_text import fault_line
from detektr.redaction import mask
from detektr.web import reading, session
from detektr.web.access import Facts, Right, TokenFact, Verdict, decide
from detektr.web.connection import HEAD_BYTES_MAX
from detektr.web.describing.openapi import PREFIX, describe
from detektr.web.endpoint import Call, Desk, Endpoint, json_answer
from detektr.web.live import static_files
from detektr.web.live.events import Events
from detektr.web.live.latest import Latest
from detektr.web.live.stills import Stills
from detektr.web.operating import dead_letters
from detektr.web.operating.nodes import Operating
from detektr.web.problem import Problem
from detektr.web.pulling.clearing import Clearing
from detektr.web.pulling.endpoints import make_endpoints
from detektr.web.pulling.pullers import Pullers
from detektr.web.query import read_query
from detektr.web.seen.endpoint import make_endpoint as make_seen
from detektr.web.seen.keeper import SeenKeeper, SeenSettings, kept_still
from detektr.web.session import bearer
from detektr.web.token import SESSION_COOKIE, is_same, session_of

_SLASH = "%2F"  # in the name of something, and so no border of the path
_log = logging.getLogger("detektr.web")
_REFUSALS: dict[Verdict, tuple[int, str, str, str]] = {
    "misdirected": (
        421,
        "host",
        "this server is not called {host!r:.80}",
        "ask for it by its address, or add the name to `names` of the key `web`",
    ),
    "cross_site": (
        403,
        "cross_site",
        "another site asked for this",
        "ask from a program, or from a site of this server",
    ),
    "no_token": (
        401,
        "token",
        "{path} is only for who knows the token",
        "send the header `Authorization: Bearer TOKEN`; the pipeline's state folder has it in web.token",
    ),
    "wrong_token": (
        401,
        "token",
        "this is not the token",
        "the pipeline's state folder has it in web.token, or the file at `web: {{token: ...}}`",
    ),
}


@dataclass(frozen=True)
class _Place:
    """A path, and what is found there."""

    pattern: re.Pattern[str]
    endpoint: Endpoint


def make_app(desk: Desk, seen: SeenSettings | None = None) -> App:
    """Return the application of a server.

    Args:
        desk: what its requests share.
        seen: what is kept of what processors see; None: nothing.
    """
    pullers = Pullers()
    desk.closing.append(pullers.close)
    desk.owes_an_end = lambda: pullers.owe_an_end
    stills = Stills(kept_still)
    keeper = None if seen is None else SeenKeeper(seen, stills)
    events = Events(stills.note)
    desk.closing.append(events.close)
    if keeper is not None:
        desk.closing.append(keeper.close)
    desk.closing.append(stills.close)
    more = (
        *(Clearing(events.tell).endpoint, events.endpoint, Latest().endpoint, stills.endpoint, make_seen(keeper)),
        *(*Operating(events.tell).endpoints, *dead_letters.make_endpoints(events.tell)),
    )
    return App(desk, (*reading.ENDPOINTS, *static_files.ENDPOINTS, *session.ENDPOINTS, *make_endpoints(pullers), *more))


class App:
    """An ASGI application."""

    def __init__(self, desk: Desk, endpoints: Sequence[Endpoint]) -> None:
        """See `make_app`."""
        self._desk = desk
        self._session = session_of(desk.token)
        everything = (
            *endpoints,
            Endpoint(
                ("GET",),
                "/openapi.json",
                Right.NUMBERS,
                self._describe,
                "Get this description of all requests",
                is_of_pipeline=False,
            ),
        )
        self._description = describe(everything, _version())
        self._places = [
            _Place(compile_path(prefix + endpoint.path)[0], endpoint)
            for endpoint in everything
            for prefix in (("", PREFIX) if endpoint.is_of_pipeline else ("",))
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive, send)
        try:
            response = await self._answer(request)
        except Problem as problem:
            response = problem.response()
        except ClientDisconnect:
            return
        except DetektrError as fault:
            response = Problem(503, "unreadable", mask(str(fault)), "try again in a second").response()
        except Exception as fault:
            _log.warning("%s %s could not be answered: %s", request.method, request.url.path, fault_line(fault))
            next_ = "try again; if it stays so, report it, with the log of the web server"
            response = Problem(500, "fault", mask(fault_line(fault)), next_).response()
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        _check_head(request)
        path, method = _path_of(request), "GET" if request.method == "HEAD" else request.method
        found = [(place.endpoint, match) for place in self._places if (match := place.pattern.match(path))]
        found = [one for one in found if one[0].is_literal] or found  # /frames/ack is no frame called ack
        chosen = next(((endpoint, match) for endpoint, match in found if method in endpoint.methods), None)
        endpoint, match = chosen or (found[0] if found else (None, None))
        right = Right.NUMBERS if endpoint is None else endpoint.right
        self._check(request, right, is_open=endpoint is not None and endpoint.open_as in self._desk.open)
        if endpoint is None or match is None:
            raise Problem(404, "no_path", f"there is no {path!r:.120} here", "see /openapi.json for what there is")
        if chosen is None:
            allowed = ", ".join(sorted({one for other, _ in found for one in other.methods}))
            headers, detail = {"Allow": allowed}, f"{request.method:.20} is not answered at {path!r:.120}"
            raise Problem(405, "method", detail, f"use {allowed}", headers=headers)
        values = read_query(request, endpoint.parameters)
        named = {name: text.replace(_SLASH, "/") for name, text in match.groupdict().items()}
        return await endpoint.answer(Call(self._desk, request, named, values))

    def _check(self, request: Request, right: Right, *, is_open: bool) -> None:
        """Refuse who may not.

        Raises:
            Problem: says why, and what would help.
        """
        headers, server = request.headers, request.scope.get("server")
        facts = Facts(
            client=request.client.host if request.client else "",
            host=headers.get("host", ""),
            local=server[0] if server else "",
            origin=headers.get("origin", ""),
            fetch_site=headers.get("sec-fetch-site", ""),
            token=self._token_of(request),
        )
        verdict = decide(right, facts, self._desk.names, is_open=is_open)
        if verdict:
            status, code, detail, next_ = _REFUSALS[verdict]
            words = {"host": facts.host, "path": request.scope["path"]}
            more = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
            raise Problem(status, code, detail.format(**words), next_.format(**words), headers=more)

    def _token_of(self, request: Request) -> TokenFact:
        given = bearer(request.headers.get("authorization", ""))
        if given is not None:
            return "right" if is_same(given, self._desk.token) else "wrong"
        cookie = request.cookies.get(SESSION_COOKIE)
        if cookie is not None:
            return "right" if is_same(cookie, self._session) else "wrong"
        return "none"

    async def _describe(self, call: Call) -> Response:
        return json_answer(self._description)


def _check_head(request: Request) -> None:
    """Refuse a head that is too large, though it came in one piece."""
    scope = request.scope
    nbytes = sum(len(name) + len(value) for name, value in scope["headers"])
    nbytes += len(scope.get("raw_path") or b"") + len(scope["query_string"])
    if nbytes > HEAD_BYTES_MAX:
        detail = f"the head of the request has {nbytes} bytes, more than {HEAD_BYTES_MAX}"
        raise Problem(431, "head", detail, "send fewer or shorter headers")


def _version() -> str:
    try:
        return version("detektr")
    except PackageNotFoundError:
        return "0"


def _path_of(request: Request) -> str:
    """Return the path that is asked for; a slash that is part of a name, written `%2F`, still stands so."""
    raw: bytes = request.scope.get("raw_path") or b""
    if b"%2f" not in raw.lower():
        return str(request.scope["path"])
    return unquote(re.sub(r"(?i)%2f", "%25" + _SLASH[1:], raw.decode("latin-1")))
