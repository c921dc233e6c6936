"""The request for what was seen."""

from __future__ import annotations

import datetime
import sqlite3
import time
from typing import Any

from starlette.responses import Response

from detektr.errors import DetektrError
from detektr.observe.trail.times import moment
from detektr.web.access import Right
from detektr.web.describing import schemas
from detektr.web.endpoint import Call, Endpoint, json_answer
from detektr.web.problem import Problem
from detektr.web.query import NAME, Parameter
from detektr.web.seen.keeper import SeenKeeper
from detektr.web.seen.store import SeenReader, seen_path

MOST = 60
MOST_MAX = 500
PARAMETERS = (
    Parameter("at", "look back from this time: 14:03, 14:03:20 or 2026-11-30T14:03", pattern=r"^[0-9T: .+-]{4,40}$"),
    Parameter("camera", "only of this camera, as frames name it", pattern=r"^[^\x00-\x1f]{1,200}$"),
    Parameter("node", "only by this node", pattern=NAME),
    Parameter("frame", "only with this frame's picture, by its id", pattern=r"^[A-Za-z0-9_.-]{1,200}$"),
    Parameter("most", "number of sightings", "integer", MOST, 1, MOST_MAX),
)
TEXT = (
    "A sighting is what one node said of one camera, with the same words, from `at` to `until`: results with less than"
    " ten seconds between them, for a minute at most; then a new one begins, with a new picture. `words` is `event` and"
    " `state` of a result, and the `label`, `track` and `zones` of its `detections`; results that have none of these"
    " are not kept. /frames/ID/still.jpg has the picture of `frame`, if `still` says so. `keep_s` is how long this"
    " server keeps sightings, 0 if it keeps none (key `seen` of `web`); it also lists those that earlier servers kept."
    " `fault` says why nothing can be kept now, `left_out` how many sightings were not."
)


def make_endpoint(keeper: SeenKeeper | None) -> Endpoint:
    """Return what can be asked; `keeper` keeps what is seen now, None: nobody does."""

    async def seen(call: Call) -> Response:
        view, values = await call.view(), call.values
        try:
            at_s = time.time() if values["at"] is None else moment(values["at"], "at", time.time())
        except (DetektrError, OverflowError) as fault:
            raise Problem(400, "value", str(fault), "send a time such as 14:03 or 2026-11-30T14:03") from None
        answer: dict[str, Any] = {"pipeline": view.name, "keep_s": 0, "since": None, "left_out": 0, "fault": None}
        if keeper is not None:
            answer |= {"keep_s": keeper.settings.keep_s, "left_out": keeper.left_out, "fault": keeper.fault or None}
        answer |= {"cameras": [], "seen": []}
        return json_answer(answer | await call.desk.work(lambda: _read(view.name, int(at_s * 1000), values)))

    return Endpoint(
        ("GET",),
        "/seen",
        Right.TOKEN,
        seen,
        "List what processors saw, the latest first",
        text=TEXT,
        open_as="events",
        parameters=PARAMETERS,
        schema=schemas.SEEN,
    )


def _read(pipeline: str, at_ms: int, values: Any) -> dict[str, Any]:
    path = seen_path(pipeline)
    if not path.exists():  # nothing was kept yet
        return {}
    try:
        with SeenReader(path) as reader:
            since_ms, cameras = reader.since_ms(), reader.cameras()
            chosen = {column: values[column] for column in ("camera", "node", "frame") if values[column] is not None}
            found = reader.before(at_ms, values["most"], **chosen)
    except sqlite3.Error as fault:
        return {"fault": f"{path} cannot be read: {fault}"}
    times = [{"at": _iso(one.pop("at_ms")), "until": _iso(one.pop("until_ms"))} | one for one in found]
    return {"since": None if since_ms is None else _iso(since_ms), "cameras": cameras, "seen": times}


def _iso(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).isoformat(timespec="milliseconds")
