"""The endpoints that pull: frames out, their pictures, and the word that they are done."""

from __future__ import annotations

import asyncio
import datetime
import json
import math
import re
import time
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from detektr.api.clearing import SilentError
from detektr.errors import RefusedError
from detektr.nodes.pulling.dispenser import Result
from detektr.options import PULL_LEASE_S
from detektr.web import shapes
from detektr.web.access import Right
from detektr.web.connection import EXCHANGE_S_MAX, LIMIT
from detektr.web.endpoint import Call, Endpoint, json_answer
from detektr.web.picture import SIDE_MAX, encode_picture, raw_headers
from detektr.web.problem import Problem
from detektr.web.pulling.pulled import Handful, OverError, Pulled
from detektr.web.pulling.pullers import PULLERS_MAX, AnyPuller, Pullers
from detektr.web.query import NAME, Parameter, read_body, refuse_unknown
from detektr.web.view import View

WAIT_S_MAX = 30
LEASE_S_MAX = 3600
LEASES_MAX = 1000
PICTURE_S_MAX = 30.0  # a large picture over a slow line
RESTART_S_MAX = 15.0  # what waits for a node that is started again
LEASE = r"^[A-Za-z][A-Za-z0-9_-]{0,31}\.[0-9a-f]{8}-[0-9]{1,18}$"
T = TypeVar("T")
COUNT = Parameter("count", "most frames in the answer", "integer", 1, 1, 100)
NODE = Parameter("node", "the node to pull from; by default the only `pull`, or else the only buffer", pattern=NAME)
WAIT = Parameter("wait", "longest time to wait for a frame, in seconds", "number", 0, 0, WAIT_S_MAX)
LEASE_S = Parameter("lease", "how long the leases last, in seconds", "number", PULL_LEASE_S, 1, LEASE_S_MAX)
LEASE_NAME = Parameter("lease", "the lease under which the frame is out", pattern=LEASE, is_required=True)
FORMAT = Parameter("format", "format of the picture in the answer", default="jpeg", choices=("jpeg", "png", "raw"))
WIDTH = Parameter("width", "width in pixels, to which the picture is scaled down", "integer", None, 16, SIDE_MAX)


def make_endpoints(pullers: Pullers) -> tuple[Endpoint, ...]:
    """Return the endpoints that pull with these consumers."""
    pulling = _Pulling(pullers)
    leases = {"type": "array", "items": {"type": "string", "maxLength": 80}, "minItems": 1, "maxItems": LEASES_MAX}
    ack = {
        "type": "object",
        "properties": {
            "leases": {**leases, "description": "the leases to end, as dequeue gave them"},
            "outcome": {"type": "string", "enum": ["done", "failed"], "description": "done (the default) or failed"},
            "why": {"type": "string", "maxLength": 500, "description": "why the work has failed"},
        },
        "required": ["leases"],
        "additionalProperties": False,
    }
    extend = {
        "type": "object",
        "properties": {
            "leases": {**leases, "description": "the leases to extend, as dequeue gave them"},
            "seconds": {
                "type": "number",
                "minimum": 1,
                "maximum": LEASE_S_MAX,
                "description": "how long the leases last from now on, in seconds, 1 to 3600",
            },
        },
        "required": ["leases", "seconds"],
        "additionalProperties": False,
    }
    token = Right.TOKEN
    return (
        Endpoint(
            ("GET", "POST"),
            "/frames/dequeue",
            token,
            pulling.dequeue,
            "Get frames, each under a lease",
            open_as="dequeue",
            parameters=(COUNT, NODE, WAIT, LEASE_S),
            problems=(429, 504),
        ),
        Endpoint(
            ("POST",),
            "/frames/ack",
            token,
            pulling.ack,
            "End leases: the work on their frames is done, or has failed",
            open_as="ack",
            body=ack,
            problems=(504,),
        ),
        Endpoint(
            ("POST",),
            "/frames/extend",
            token,
            pulling.extend,
            "Let leases end later",
            open_as="extend",
            body=extend,
            problems=(504,),
        ),
        Endpoint(
            ("GET",),
            "/frames/{id}/picture",
            token,
            pulling.picture,
            "Get the picture of a frame that is out",
            open_as="picture",
            parameters=(LEASE_NAME, FORMAT, WIDTH),
            gives="image/jpeg",
            problems=(410, 504),
        ),
    )


class _Pulling:
    def __init__(self, pullers: Pullers) -> None:
        self._pullers = pullers

    async def dequeue(self, call: Call) -> Response:
        """Give frames out; none where none comes in time."""
        values = call.values
        view = await call.view()
        try:
            node, is_pull = await call.read(lambda view: node_of(view, values["node"]))
            puller = self._pullers.get(view.name, node, is_pull=is_pull)
        except Problem as problem:
            puller = self._pullers.only(view.name, values["node"])
            if problem.code != "not_running" or puller is None:
                raise
            node = puller.node  # its run has ended, and it has yet to say so
        if puller is None:
            detail = f"{PULLERS_MAX} consumers pull here already"
            raise Problem(429, "busy", detail, "try again in a minute", headers={"Retry-After": "60"})
        call.request.scope[LIMIT] = values["wait"] + max(EXCHANGE_S_MAX, RESTART_S_MAX)
        future = puller.dequeue(values["count"], round(values["lease"] * 1e9), round(values["wait"] * 1e9))
        try:
            handful = await _first(call, future, node)
        except RefusedError as fault:
            raise Problem(503, "no_room", str(fault), f"raise `guests` of {node} in the file") from None
        if handful.full_until_ns is not None:
            left_s = max(1, math.ceil((handful.full_until_ns - time.monotonic_ns()) / 1e9))
            detail = "all frames that can be out at once are out"
            next_ = f"ack some of them; the first lease expires in {left_s} s"
            raise Problem(429, "window_full", detail, next_, headers={"Retry-After": str(left_s)})
        prefix = f"/pipelines/{view.name}"
        body: dict[str, Any] = {
            "frames": [_frame(one, prefix) for one in handful.frames],
            "remaining": handful.remaining,
        }
        if handful.is_ended:
            body["ended"] = True
        return _Delivery(body, puller, [one.lease for one in handful.frames])

    async def ack(self, call: Call) -> Response:
        """End leases: their frames are done, or the work on them has failed."""
        body = await read_body(call.request)
        refuse_unknown(body, ("leases", "outcome", "why"))
        leases, outcome, why = _leases(body), body.get("outcome", "done"), body.get("why", "")
        if outcome not in ("done", "failed"):
            raise Problem(400, "body", f"outcome is {outcome!r:.40}", "send done or failed")
        if not isinstance(why, str) or len(why) > 500:
            raise Problem(400, "body", "why is not a text of at most 500 characters", "say it shorter, or leave it out")
        found = await self._of_each(
            call, leases, lambda puller, some: puller.settle(some, is_done=outcome == "done", why=why)
        )
        return json_answer({"acked": sum(one == "acked" for one in found), "results": _results(leases, found)})

    async def extend(self, call: Call) -> Response:
        """Let leases end later."""
        body = await read_body(call.request)
        refuse_unknown(body, ("leases", "seconds"))
        leases, seconds = _leases(body), body.get("seconds")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 1 <= seconds <= LEASE_S_MAX:
            raise Problem(400, "body", f"seconds is {seconds!r:.40}", f"send a number from 1 to {LEASE_S_MAX}")
        found = await self._of_each(call, leases, lambda puller, some: puller.extend(some, round(seconds * 1e9)))
        told = ["extended" if one == "acked" else one for one in found]
        return json_answer({"extended": told.count("extended"), "results": _results(leases, told)})

    async def picture(self, call: Call) -> Response:
        """Return the picture of a frame that is out."""
        name = (await call.view()).name
        lease, kind, width = (call.values[key] for key in ("lease", "format", "width"))
        puller = await self._of(call, name, lease.partition(".")[0])
        call.request.scope[LIMIT] = RESTART_S_MAX
        try:
            if puller is None:
                raise OverError(f"the lease {lease} is over: its server or its run has ended; dequeue again")
            shot = await _result(puller.copy(lease, call.path["id"]))
        except OverError as fault:
            raise Problem(410, "over", str(fault), "dequeue again: the frame is given out once more") from None
        call.request.scope[LIMIT] = PICTURE_S_MAX
        content_type, payload = await call.desk.work(lambda: encode_picture(shot.pixels, shot.layout, kind, width))
        headers = {"Cache-Control": "no-store", **(raw_headers(shot.layout) if kind == "raw" else {})}
        return Response(payload, 200, headers, content_type)

    async def _of(self, call: Call, pipeline: str, node: str) -> AnyPuller | None:
        """Return who pulls from the node that leases are of; None: they are of nobody any more."""
        found = self._pullers.find(pipeline, node)
        if found is None and await call.read(lambda view: view.moment().kinds.get(node)) == "pull":
            found = self._pullers.get(pipeline, node, is_pull=True)  # its leases outlive a server that was killed
        return found

    async def _of_each(self, call: Call, leases: Sequence[str], ask: Any) -> list[Result]:
        """Ask the consumer of each lease; returns what each came to, in their order."""
        name = (await call.view()).name
        by_node: dict[str, list[str]] = {}
        for lease in dict.fromkeys(leases):
            if re.fullmatch(LEASE.strip("^$"), lease):
                by_node.setdefault(lease.partition(".")[0], []).append(lease)
        results: dict[str, Result] = {}
        call.request.scope[LIMIT] = RESTART_S_MAX
        for node, some in by_node.items():
            puller = await self._of(call, name, node)
            if puller is not None:
                results |= zip(some, await _result(ask(puller, some)), strict=True)
        told: list[Result] = []
        seen: set[str] = set()
        for lease in leases:
            result = results.get(lease, "unknown")
            told.append("already" if lease in seen and result == "acked" else result)
            seen.add(lease)
        return told


class _Delivery(Response):
    """Frames on their way: where the client is gone before the last byte, they were not given out."""

    def __init__(self, body: dict[str, Any], puller: AnyPuller, leases: Sequence[str]) -> None:
        super().__init__(json.dumps(body) + "\n", 200, {"Cache-Control": "no-store"}, "application/json")
        self._puller, self._leases = puller, leases

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the answer; take the frames back where nobody is there to get it."""
        gone = asyncio.ensure_future(receive())  # the request is read, so what comes next is the client's end
        try:
            await asyncio.sleep(0)
            message = gone.result() if gone.done() else {"type": "http.request"}
            if message["type"] == "http.disconnect":
                self._puller.undo(self._leases)
                return
            await super().__call__(scope, receive, send)
        finally:
            gone.cancel()


async def _first(call: Call, future: Future[Handful], node: str) -> Handful:
    """Wait for frames, or for the client to leave."""
    waiting = asyncio.ensure_future(_result(future))
    gone = asyncio.ensure_future(_disconnected(call))
    try:
        await asyncio.wait((waiting, gone), return_when=asyncio.FIRST_COMPLETED)
        if not waiting.done():
            future.cancel()
            waiting.cancel()
            raise Problem(503, "gone", f"the client left while it waited for {node}", "ask again")
        return waiting.result()
    finally:
        gone.cancel()


async def _disconnected(call: Call) -> None:
    while (await call.request.receive())["type"] != "http.disconnect":
        pass


async def _result(future: Future[T]) -> T:
    try:
        return await asyncio.wrap_future(future)
    except asyncio.CancelledError:
        if future.cancelled():
            raise Problem(503, "again", "the consumer has just left", "ask again") from None
        raise
    except SilentError as fault:
        raise Problem(504, "silent", str(fault), "see what it does: /pipeline; then ask again") from None


def node_of(view: View, node: str | None) -> tuple[str, bool]:
    """Return the node to pull from, and whether it is of the kind `pull`.

    Raises:
        Problem: it is not there, gives no frames, or there are several and none is named.
    """
    moment = view.moment()
    if not moment.is_live:
        raise Problem(503, "not_running", f"pipeline {view.name} does not run", "start it: `detektr up`")
    kinds = moment.kinds
    givers = sorted(name for name, kind in kinds.items() if kind in ("buffer", "capture", "pull"))
    if node is not None:
        if node not in givers:
            raise Problem(404, "no_node", f"no node {node!r} gives frames here", f"name one of: {', '.join(givers)}")
        return node, kinds[node] == "pull"
    pulls = sorted(name for name, kind in kinds.items() if kind == "pull")
    found = pulls or sorted(shapes.buffers(kinds, kinds))
    if len(found) != 1:
        raise Problem(
            409,
            "which_node",
            f"frames can come from several nodes: {', '.join(found)}",
            "name one: ?node=",
            nodes=found,
        )
    return found[0], bool(pulls)


def _frame(one: Pulled, prefix: str) -> dict[str, Any]:
    left_s = (one.expires_ns - time.monotonic_ns()) / 1e9
    expires = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=left_s)
    return {
        **one.facts,
        "delivery": one.delivery,
        "lease": one.lease,
        "expires": expires.isoformat(timespec="milliseconds"),
        "picture": f"{prefix}/frames/{one.facts['id']}/picture?lease={one.lease}",
    }


def _leases(body: dict[str, Any]) -> list[str]:
    leases = body.get("leases")
    if not isinstance(leases, list) or not 1 <= len(leases) <= LEASES_MAX:
        raise Problem(400, "body", "leases is not a list of 1 to 1000 leases", "send leases as dequeue gave them")
    if not all(isinstance(lease, str) and len(lease) <= 80 for lease in leases):
        raise Problem(400, "body", "leases contains a value that is not a lease", "send leases as dequeue gave them")
    return leases


def _results(leases: Sequence[str], found: Sequence[str]) -> list[dict[str, str]]:
    return [{"lease": lease, "result": result} for lease, result in zip(leases, found, strict=True)]
