"""The endpoints that read: what runs, what waits, what is wrong, what was written."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from typing import Any

from starlette.responses import PlainTextResponse, Response

from detektr.errors import DetektrError
from detektr.observe.leases import read_leases
from detektr.observe.logbook import read_logs
from detektr.observe.trail.whereabouts import UnknownFrameError, find_frame
from detektr.observe.why.answer import explain, list_runs
from detektr.redaction import mask
from detektr.telemetry.metrics import expose
from detektr.web import shapes
from detektr.web.access import Right
from detektr.web.describing import schemas
from detektr.web.endpoint import Call, Endpoint, json_answer
from detektr.web.problem import Problem
from detektr.web.query import NAME, Parameter
from detektr.web.view import View, utc_now

LINES_MAX = 5000
RUN = Parameter("run", "the id of a run, its first characters, or last", pattern=r"^(last|[0-9a-f-]{1,40})$")
NODE = Parameter("node", "only this node", pattern=NAME)
AT = Parameter("at", "look at this time: 14:03, 14:03:20 or 2026-11-30T14:03", pattern=r"^[0-9T: .+-]{4,40}$")
PLACE = Parameter("place", "only this node or edge (buffer->detect)", pattern=r"^[A-Za-z0-9_> -]{1,80}$")
CAMERA = Parameter("camera", "only this camera", pattern=NAME)
LINES = Parameter("lines", "number of lines, the latest ones", "integer", 200, 1, LINES_MAX)
PROCESS = Parameter("node", "only this node or process (motion.0)", pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,40}$")


async def ping(call: Call) -> Response:
    """Say that the server is there."""
    return json_answer({"ok": True})


async def ready(call: Call) -> Response:
    """Say whether the pipeline does its work: with several, whether all of them do."""
    name = call.path.get("pipeline")

    def look() -> dict[str, Any]:
        views = call.desk.views
        names = [name] if name is not None else views.names()
        found = [views.get(one).ready() for one in names]
        if len(found) == 1:
            return found[0]
        if not found:
            text, next_ = "no pipeline runs", "start one: `detektr up`"
            why = [{"code": "not_running", "since": None, "text": text, "next": next_}]
            return {"ready": False, "since": utc_now(), "reasons": why}
        whys = [{"pipeline": one["pipeline"], **reason} for one in found for reason in one["reasons"]]
        since = max(one["since"] for one in found)
        return {"ready": not whys, "since": since, "reasons": whys}

    found = await call.desk.read(look)
    return json_answer(found, 200 if found["ready"] else 503)


async def healthz(call: Call) -> Response:
    """Say whether no node has failed and no edge is stalled; `/ready` knows more."""
    is_healthy, facts = await call.read(
        lambda view: view.collector().health() if view.moment().is_live else _away(view)
    )
    return json_answer(facts, 200 if is_healthy else 503)


def _away(view: View) -> tuple[bool, dict[str, object]]:
    return False, {"pipeline": view.name, "healthy": False, "stalled": [], "failed": [], "running": False}


async def metrics(call: Call) -> Response:
    """Return the metrics, as Prometheus reads them."""
    accept = call.request.headers.get("accept", "")
    content_type, payload = await call.read(lambda view: expose(view.collector(), accept))
    return Response(payload, 200, {"Cache-Control": "no-store", "Content-Type": content_type})


async def pipelines(call: Call) -> Response:
    """List the pipelines that this server shows."""
    names = await call.desk.read(call.desk.views.names)
    return json_answer([{"name": name, "url": f"/pipelines/{name}/pipeline"} for name in names])


async def pipeline(call: Call) -> Response:
    """Return the pipeline: its nodes, its edges, and what is wrong, the worst first."""
    run = call.values["run"]

    def look(view: View) -> dict[str, Any]:
        return shapes.pipeline_status(view.status(run), utc_now(), view.sickest(run))

    return json_answer(await _known(call, look))


async def node(call: Call) -> Response:
    """Return one node, with the edges to and from it."""
    return json_answer(await _known(call, lambda view: shapes.node_status(view.status(), call.path["name"])))


async def frames_status(call: Call) -> Response:
    """Return what is queued now, edge by edge."""

    def look(view: View) -> dict[str, Any]:
        moment = view.moment()
        if not moment.is_live:
            raise _not_running(view)
        now_ns, run = time.monotonic_ns(), moment.run_state.get("run")
        edges, kinds = moment.edges, moment.kinds
        return shapes.frames_status(view.name, run, moment.at, edges, kinds, now_ns, call.values["node"])

    return json_answer(await call.read(look))


async def frame(call: Call) -> Response:
    """Say where a frame is, and what became of it."""
    view, text = await call.view(), call.path["id"]
    try:
        return json_answer(await call.desk.work(lambda: find_frame(view.name, text)))
    except UnknownFrameError as fault:
        raise Problem(404, "no_frame", mask(fault.text), fault.next) from None


async def leases(call: Call) -> Response:
    """List the frames that are out, the oldest first."""
    node = call.values["node"]

    def look(view: View) -> list[dict[str, Any]]:
        if not view.moment().is_live:
            raise _not_running(view)
        return read_leases(view.name, node)

    return json_answer(await call.read(look))


async def why(call: Call) -> Response:
    """Say what was lost or late, whose fault it was, and what to do."""
    view, values = await call.view(), call.values

    def look() -> dict[str, Any]:
        return explain(view.name, values["place"], at=values["at"], camera=values["camera"], run=values["run"])

    return json_answer(await call.desk.work(lambda: _or_404(look)))


async def runs(call: Call) -> Response:
    """List the runs, oldest first."""
    view = await call.view()
    keys = ("run", "state", "file", "started_utc_ns", "ended_utc_ns", "exit_code", "stopped_by")
    found = await call.desk.work(lambda: _or_404(lambda: list_runs(view.name)))
    return json_answer([{key: one.get(key) for key in keys} for one in found])


async def logs(call: Call) -> Response:
    """Return the last lines that the processes wrote."""
    view, values = await call.view(), call.values

    def look() -> str:
        lines = collections.deque(read_logs(view.name, values["node"]), values["lines"])
        return "".join(f"{line}\n" for line in lines)

    text = await call.desk.work(lambda: _or_404(look))
    return PlainTextResponse(text, 200, {"Cache-Control": "no-store"})


def _not_running(view: View) -> Problem:
    next_ = f"start it: `detektr up`; /pipelines/{view.name}/pipeline?run=last has its last run"
    return Problem(503, "not_running", f"pipeline {view.name} does not run", next_)


async def _known(call: Call, look: Callable[[View], dict[str, Any]]) -> dict[str, Any]:
    return await call.read(lambda view: _or_404(lambda: look(view)))


def _or_404(look: Callable[[], Any]) -> Any:
    """Return what a look finds; what it says that there is not is 404."""
    try:
        return look()
    except DetektrError as fault:
        raise Problem(404, "not_known", mask(str(fault)), "see /pipelines, and /runs for earlier runs") from None


PROBE, NUMBERS, TOKEN = Right.PROBE, Right.NUMBERS, Right.TOKEN
_PING = schemas.record(ok=schemas.FLAG)
ENDPOINTS = (
    Endpoint(("GET",), "/ping", PROBE, ping, "Say that the server is there", schema=_PING, is_of_pipeline=False),
    Endpoint(
        ("GET",),
        "/ready",
        PROBE,
        ready,
        "Say whether the pipeline does its work, and if not, why",
        schema=schemas.READY,
        extra={503: "It does not"},
    ),
    Endpoint(
        ("GET",),
        "/healthz",
        PROBE,
        healthz,
        "Say whether any node has failed",
        schema=schemas.HEALTH,
        extra={503: "One has"},
    ),
    Endpoint(("GET",), "/metrics", PROBE, metrics, "Get the metrics, for Prometheus", gives="text/plain"),
    Endpoint(
        ("GET",),
        "/pipelines",
        NUMBERS,
        pipelines,
        "List the pipelines that this server shows",
        schema=schemas.PIPELINES,
        is_of_pipeline=False,
    ),
    Endpoint(
        ("GET",),
        "/pipeline",
        NUMBERS,
        pipeline,
        "Show nodes and edges, and what is wrong",
        parameters=(RUN,),
        schema=schemas.PIPELINE,
    ),
    Endpoint(("GET",), "/nodes/{name}", NUMBERS, node, "Show one node and its edges", schema=schemas.ONE_NODE),
    Endpoint(
        ("GET",),
        "/frames/status",
        NUMBERS,
        frames_status,
        "Count the frames that are queued",
        parameters=(NODE,),
        schema=schemas.FRAMES_STATUS,
        problems=(503,),
    ),
    Endpoint(
        ("GET",), "/frames/{id}", TOKEN, frame, "Say where a frame is, and what became of it", schema=schemas.FRAME
    ),
    Endpoint(
        ("GET",),
        "/leases",
        NUMBERS,
        leases,
        "List the frames that are out, and who holds them",
        parameters=(NODE,),
        schema=schemas.LEASES,
        problems=(503,),
    ),
    Endpoint(
        ("GET",),
        "/why",
        NUMBERS,
        why,
        "Say what was lost, and whose fault it was",
        parameters=(PLACE, AT, CAMERA, RUN),
        schema=schemas.WHY,
    ),
    Endpoint(("GET",), "/runs", NUMBERS, runs, "List the runs, the oldest first", schema=schemas.RUNS),
    Endpoint(
        ("GET",),
        "/logs",
        TOKEN,
        logs,
        "Get what the processes of the pipeline wrote",
        open_as="logs",
        parameters=(PROCESS, LINES),
        gives="text/plain",
    ),
)
