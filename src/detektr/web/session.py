"""A session: a browser's cookie that stands for the token, so that no address ever holds it."""

from __future__ import annotations

from starlette.responses import Response

from detektr.web.access import Right
from detektr.web.endpoint import Call, Endpoint, json_answer
from detektr.web.problem import Problem
from detektr.web.query import read_body, refuse_unknown
from detektr.web.token import SESSION_COOKIE, is_same, session_of


def bearer(header: str) -> str | None:
    """Return the token of a header Authorization; None: it has none."""
    scheme, _, token = header.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


async def begin_session(call: Call) -> Response:
    """Give a cookie to who says the token."""
    body = await read_body(call.request)
    refuse_unknown(body, ("token",))
    given = body.get("token", bearer(call.request.headers.get("authorization", "")))
    if not isinstance(given, str) or not is_same(given, call.desk.token):
        raise Problem(
            401, "token", "this is not the token", 'send {"token": "..."}, which `detektr up` says where to find'
        )
    answer = json_answer({"ok": True})
    answer.set_cookie(SESSION_COOKIE, session_of(call.desk.token), httponly=True, samesite="strict")
    return answer


async def has_session(call: Call) -> Response:
    """Say whether who asks is known, by the cookie or by the token."""
    cookie = call.request.cookies.get(SESSION_COOKIE, "")
    given = bearer(call.request.headers.get("authorization", ""))
    is_known = is_same(cookie, session_of(call.desk.token)) or (given is not None and is_same(given, call.desk.token))
    return json_answer({"known": is_known})


async def end_session(call: Call) -> Response:
    """Take the cookie away."""
    answer = json_answer({"ok": True})
    answer.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict")
    return answer


_BODY = {
    "type": "object",
    "properties": {"token": {"type": "string", "description": "the token"}},
    "additionalProperties": False,
}
ENDPOINTS = (
    Endpoint(
        ("POST",),
        "/session",
        Right.SESSION,
        begin_session,
        "Get a cookie that stands for the token",
        body=_BODY,
        is_of_pipeline=False,
    ),
    Endpoint(
        ("GET",),
        "/session",
        Right.NUMBERS,
        has_session,
        "Say whether the cookie or the token of the request is valid",
        is_of_pipeline=False,
    ),
    Endpoint(("DELETE",), "/session", Right.SESSION, end_session, "Take the cookie away", is_of_pipeline=False),
)
