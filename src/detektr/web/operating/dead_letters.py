"""The endpoints of dead letters: what was given up, its picture, and events that are given to their sink again."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
from starlette.responses import Response

from detektr.api.resending import resend
from detektr.errors import DetektrError, RefusedError
from detektr.nodes.dead_letter import read_picture
from detektr.observe.dead_letters import (
    find_dead_letter,
    list_dead_letters,
    open_spool,
    picture_path,
    whole_dead_letter,
)
from detektr.redaction import mask
from detektr.sinks.jsonl import encode_line
from detektr.web.access import Right
from detektr.web.connection import LIMIT
from detektr.web.describing import schemas
from detektr.web.endpoint import Call, Endpoint, json_answer
from detektr.web.picture import SIDE_MAX, encode_picture
from detektr.web.problem import Problem
from detektr.web.query import NAME, Parameter, read_body, refuse_unknown

LETTERS_MAX = 1000
WAIT_NS = 10_000_000_000  # while no event is taken
RESEND_S_MAX = 120.0
LISTED = Parameter("limit", "most dead letters in the answer, the newest", "integer", 100, 1, LETTERS_MAX)
RESENT = Parameter("resent", "whether those that were resent are listed too", default="no", choices=("yes", "no"))
WIDTH = Parameter("width", "width in pixels, to which the picture is scaled down", "integer", None, 16, SIDE_MAX)
Tell = Callable[[str, str, dict[str, Any]], Awaitable[None]]
_IDS = {"type": "array", "items": {"type": "string", "maxLength": 40}, "maxItems": LETTERS_MAX}
_WISH = {
    "type": "object",
    "properties": {
        "ids": {**_IDS, "description": "ids of dead letters, as /dead-letters lists them"},
        "all": {"type": "boolean", "description": "true: all events that were not resent yet"},
        "to": {"type": "string", "pattern": NAME, "description": "another sink than the one that failed"},
    },
    "additionalProperties": False,
    "anyOf": [
        {"properties": {"ids": {"minItems": 1}}, "required": ["ids"]},
        {"properties": {"all": {"const": True}}, "required": ["all"]},
    ],
}


async def list_all(call: Call) -> Response:
    """List dead letters, the newest first, without events and pictures."""
    name, limit, with_resent = (await call.view()).name, call.values["limit"], call.values["resent"] == "yes"

    def look() -> dict[str, Any]:
        content = open_spool(name).read()
        rows = list_dead_letters(content, with_resent=with_resent)
        shown = [{**row, "picture": bool(row.get("picture"))} for row in rows[: -limit - 1 : -1]]
        return {"count": len(rows), "let_go": content.let_go, "dead_letters": shown}

    return json_answer(await call.desk.work(look))


async def show(call: Call) -> Response:
    """Return all of one: its event, or whether there is a picture; and why it was given up."""
    name, letter = (await call.view()).name, call.path["letter"]

    def look() -> dict[str, Any]:
        whole = whole_dead_letter(name, open_spool(name).read(), letter)
        whole.pop("show", None)  # a command for who sits at this machine
        known: dict[str, Any] = json.loads(encode_line({**whole, "picture": bool(whole.get("picture"))}))
        return known

    return json_answer(await call.desk.work(lambda: _or_404(look)))


async def picture(call: Call) -> Response:
    """Return the picture of a frame that was given up."""
    name, letter, width = (await call.view()).name, call.path["letter"], call.values["width"]

    def look() -> bytes:
        record = find_dead_letter(name, open_spool(name).read(), letter)
        path = picture_path(name, record)
        if path is None:
            why = record.get("no_picture") or ("it made room for newer ones" if record.get("picture") else "an event")
            raise Problem(410, "no_picture", f"dead letter {letter} has no picture: {why}", "see /dead-letters")
        layout, data = read_picture(path, record)
        return encode_picture(np.frombuffer(data, np.uint8), layout, "jpeg", width)[1]

    payload = await call.desk.work(lambda: _or_404(look))
    return Response(payload, 200, {"Cache-Control": "no-store"}, "image/jpeg")


def make_endpoints(tell: Tell) -> tuple[Endpoint, ...]:
    """Return the endpoints; `tell` takes pipeline, type and content of an event, for who listens."""

    async def resend_some(call: Call) -> Response:
        """Give events to their sinks again; returns when each was taken, or refused."""
        body = await read_body(call.request)
        ids, every, to = _wish(body)
        name = await call.read(lambda view: view.name if view.moment().is_live else "")
        if not name:
            raise Problem(503, "not_running", "the pipeline does not run", "start it: `detektr up`")
        call.request.scope[LIMIT] = RESEND_S_MAX

        def do() -> dict[str, Any]:
            done = resend(name, open_spool(name), ids, every=every, to=to, wait_ns=WAIT_NS)
            left = [{"id": letter, "why": mask(why)} for letter, why in done.left]
            return {"resent": done.resent, "left": left, "frames": done.frames}

        answer = await call.desk.work(lambda: _or_404(do))
        await tell(name, "operator", {"did": "resend", "resent": answer["resent"], "left": len(answer["left"])})
        return json_answer(answer)

    token = Right.TOKEN
    return (
        Endpoint(
            ("GET",),
            "/dead-letters",
            token,
            list_all,
            "List dead letters, the newest first",
            parameters=(LISTED, RESENT),
            schema=schemas.DEAD_LETTERS,
        ),
        Endpoint(
            ("POST",),
            "/dead-letters/resend",
            token,
            resend_some,
            "Give events to their sinks again",
            body=_WISH,
            schema=schemas.RESENT,
        ),
        Endpoint(
            ("GET",),
            "/dead-letters/{letter}",
            token,
            show,
            "Show one dead letter, and why it was given up",
            schema=schemas.DEAD_LETTER,
        ),
        Endpoint(
            ("GET",),
            "/dead-letters/{letter}/picture.jpg",
            token,
            picture,
            "Get the picture of a frame that was given up",
            parameters=(WIDTH,),
            gives="image/jpeg",
            problems=(410,),
        ),
    )


def _wish(body: dict[str, Any]) -> tuple[list[str], bool, str | None]:
    """Return which dead letters are meant, whether all are, and the sink.

    Raises:
        Problem: the body does not say so.
    """
    refuse_unknown(body, ("ids", "all", "to"))
    ids, every, to = body.get("ids", []), body.get("all", False), body.get("to")
    if not isinstance(ids, list) or len(ids) > LETTERS_MAX or not all(isinstance(one, str) for one in ids):
        raise Problem(
            400, "body", f"ids is not a list of at most {LETTERS_MAX} texts", "send ids as /dead-letters lists them"
        )
    if not isinstance(every, bool) or not (to is None or isinstance(to, str)):
        raise Problem(
            400, "body", "all is neither true nor false, or to is not a name", "send them as /openapi.json has it"
        )
    if not ids and not every:
        raise Problem(400, "body", "the body names no dead letter", 'send {"ids": [...]}, or {"all": true}')
    return ids, every, to


def _or_404(look: Any) -> Any:
    """Return what a look finds; of a dead letter that there is not, 404."""
    try:
        return look()
    except RefusedError as fault:
        raise Problem(404, "no_dead_letter", mask(str(fault)), "see /dead-letters for what there is") from None
    except DetektrError as fault:
        raise Problem(503, "not_running", mask(str(fault)), "start it: `detektr up`") from None
