"""The endpoints by which an operator pauses, resumes, restarts and scales a node: the supervisor does it."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from detektr.supervisor.operating.line import DEEDS, REPLICAS_MAX, Code, Deed, OperatorError, ask_supervisor
from detektr.web.access import Right
from detektr.web.describing.schemas import COUNT, FLAG, TEXT, list_of, record
from detektr.web.endpoint import Call, Endpoint, json_answer
from detektr.web.problem import Problem
from detektr.web.query import Parameter, read_body, refuse_unknown
from detektr.web.view import View

REPLICA = Parameter(
    "replica", "only this process of the node, counted from 0; by default all", "integer", None, 0, 1023
)
_SUMMARIES: dict[Deed, str] = {
    "pause": "Let a node begin no new work",
    "resume": "Let a paused node go on",
    "restart": "Restart the processes of a node, one after the other",
    "scale": "Give a processor more replicas, or fewer",
}
_STATUS: dict[Code, int] = {
    "no_node": 404,
    "no_replica": 404,
    "no_scale": 422,
    "over": 410,
    "not_now": 503,
    "not_running": 503,
    "supervisor_dead": 503,
    "silent": 504,
    "request": 400,
}
_ANSWER = record(node=TEXT, did={"enum": list(DEEDS)}, processes=list_of(TEXT), changed=FLAG, state=TEXT)
_NOTHING = {"type": "object", "additionalProperties": False}
_SCALE = {
    "type": "object",
    "properties": {"replicas": {"type": "integer", "minimum": 1, "maximum": REPLICAS_MAX}},
    "required": ["replicas"],
    "additionalProperties": False,
}


class Operating:
    """Asks the supervisor, and tells who listens to events what was done."""

    def __init__(self, tell: Callable[[str, str, dict[str, Any]], Awaitable[None]]) -> None:
        """Begin; `tell` takes pipeline, type and content of an event."""
        self._tell = tell

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """What can be asked for."""
        return tuple(
            Endpoint(
                ("POST",),
                f"/nodes/{{name}}/{deed}",
                Right.TOKEN,
                functools.partial(self._do, deed),
                _SUMMARIES[deed],
                parameters=(REPLICA,) if deed == "restart" else (),
                body=_SCALE if deed == "scale" else _NOTHING,
                problems=(410, 422, 504) if deed == "scale" else (410, 504),
                schema={"allOf": [_ANSWER, record(replicas=COUNT)]} if deed == "scale" else _ANSWER,
            )
            for deed in DEEDS
        )

    async def _do(self, deed: Deed, call: Call) -> Response:
        body = await read_body(call.request)
        refuse_unknown(body, ("replicas",) if deed == "scale" else ())
        replicas = _replicas(body) if deed == "scale" else None
        view, node, replica = await call.view(), call.path["name"], call.values.get("replica")
        try:
            answer = await call.desk.work(lambda: ask_supervisor(view.name, deed, node, replica, replicas=replicas))
        except OperatorError as fault:
            problem = functools.partial(_problem, view, fault, node)
            raise await call.desk.read(problem) from None
        if answer["changed"]:
            told: dict[str, Any] = {
                key: answer[key] for key in ("did", "node", "processes", "replicas") if key in answer
            }
            await self._tell(view.name, "operator", told)
        return json_answer(answer)


def _replicas(body: dict[str, Any]) -> int:
    """Return how many replicas are asked for.

    Raises:
        Problem: the body does not say.
    """
    replicas = body.get("replicas")
    if not isinstance(replicas, int) or isinstance(replicas, bool):
        raise Problem(400, "body", f"replicas is {replicas!r:.40}, which is no whole number", 'send {"replicas": 2}')
    return replicas


def _problem(view: View, fault: OperatorError, node: str) -> Problem:
    """Say why nothing was done; where the supervisor died, that is why."""
    code: Code = fault.code
    text, _, next_ = str(fault).rpartition("; ")
    if code == "not_running":
        for reason in view.ready()["reasons"]:
            if reason["code"] == "supervisor_dead":
                code, text, next_ = "supervisor_dead", reason["text"], reason["next"]
    return Problem(_STATUS[code], code, text or str(fault), next_ or f"see /nodes/{node}")
