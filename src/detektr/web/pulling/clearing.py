"""The endpoint that clears a buffer's queues."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.responses import Response

from detektr.api.clearing import SilentError, clear_queues
from detektr.web.access import Right
from detektr.web.endpoint import Call, Endpoint, json_answer
from detektr.web.problem import Problem
from detektr.web.query import NAME, Parameter, read_body, refuse_unknown
from detektr.web.view import View

ANSWER_NS = 2_000_000_000
KEYS_MAX = 1000  # of answers that are kept, so that who asks again clears nothing more
KEY_CHARS_MAX = 200
NODE = Parameter("node", "the buffer; by default the only one", pattern=NAME)
EDGE = Parameter("edge", "only this edge (buffer->detect)", pattern=r"^[A-Za-z0-9_-]{1,32}->[A-Za-z0-9_-]{1,32}$")


class Clearing:
    """Clears, once for each key of who asks."""

    def __init__(self, tell: Callable[[str, str, dict[str, Any]], Awaitable[None]]) -> None:
        """Begin without any answer; `tell` takes pipeline, type and content of an event."""
        self._tell = tell
        self._asked: collections.OrderedDict[tuple[str, str], tuple[str, asyncio.Task[dict[str, Any]]]]
        self._asked = collections.OrderedDict()

    @property
    def endpoint(self) -> Endpoint:
        """What can be asked for."""
        return Endpoint(
            ("POST",),
            "/buffer/clear",
            Right.TOKEN,
            self.clear,
            "Drop the frames that are queued on the edges of a buffer",
            open_as="clear",
            parameters=(NODE, EDGE),
            body={"type": "object", "additionalProperties": False},
            problems=(504,),
        )

    async def clear(self, call: Call) -> Response:
        """Drop the queued frames of a buffer; leased ones stay."""
        refuse_unknown(await read_body(call.request), ())
        name, node, consumers = await call.read(lambda view: _wanted(view, call.values["node"], call.values["edge"]))
        key = call.request.headers.get("idempotency-key", "")
        if len(key) > KEY_CHARS_MAX:
            raise Problem(400, "value", f"Idempotency-Key has {len(key)} characters", f"use at most {KEY_CHARS_MAX}")
        wish = f"{node} {consumers}"
        known = self._asked.get((name, key)) if key else None
        if known is not None and known[0] != wish:
            raise Problem(409, "key", "this Idempotency-Key was used for another queue", "use a new one")
        if known is None:
            known = wish, asyncio.ensure_future(self._clear(call, name, node, consumers))
            if key:
                self._keep((name, key), *known)
        try:
            return json_answer(await asyncio.shield(known[1]))
        except SilentError as fault:
            self._asked.pop((name, key), None)  # who asks again with this key means it
            raise Problem(504, "silent", str(fault), f"see what {node} does: /nodes/{node}") from None

    async def _clear(self, call: Call, name: str, node: str, consumers: tuple[str, ...]) -> dict[str, Any]:
        counts = await call.desk.work(lambda: clear_queues(name, node, consumers, ANSWER_NS))
        edges = {f"{node}->{consumer}": count for consumer, count in counts.items()}
        answer = {"cleared": sum(counts.values()), "edges": edges}
        await self._tell(name, "operator", {"did": "clear", "node": node, **answer})
        return answer

    def _keep(self, place: tuple[str, str], wish: str, task: asyncio.Task[dict[str, Any]]) -> None:
        self._asked[place] = wish, task
        if len(self._asked) > KEYS_MAX:
            self._asked.popitem(last=False)


def _wanted(view: View, node: str | None, edge: str | None) -> tuple[str, str, tuple[str, ...]]:
    """Return the pipeline, the buffer and the consumers that are meant; none: all.

    Raises:
        Problem: it is not said which, or there is none such.
    """
    moment = view.moment()
    if not moment.is_live:
        raise Problem(503, "not_running", f"pipeline {view.name} does not run", "start it: `detektr up`")
    buffers = sorted(name for name, kind in moment.kinds.items() if kind == "buffer")
    listed = ", ".join(buffers) or "none"
    if edge is not None:
        known = {(each.producer, each.consumer) for each in moment.edges if each.producer in buffers}
        producer, _, consumer = edge.partition("->")
        if (producer, consumer) not in known or node not in (None, producer):
            names = ", ".join(f"{one}->{other}" for one, other in sorted(known))
            raise Problem(404, "no_edge", f"no buffer has an edge {edge}", f"name one of: {names or 'none'}")
        return view.name, producer, (consumer,)
    if node is not None and node not in buffers:
        raise Problem(404, "no_node", f"no buffer {node!r} is here", f"name one of: {listed}")
    if node is None and len(buffers) != 1:
        status, code = (409, "which_node") if buffers else (404, "no_node")
        raise Problem(status, code, f"{len(buffers)} buffers are here: {listed}", "name one: ?node=", nodes=buffers)
    return view.name, node or buffers[0], ()
