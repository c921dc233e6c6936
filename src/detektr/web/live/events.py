"""One stream of events for each client (server-sent events): what changes in a run, while somebody listens."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from starlette.responses import Response, StreamingResponse

from detektr.errors import DetektrError
from detektr.memory.run_folder import RunFolder
from detektr.process.fault_text import fault_line
from detektr.web import shapes
from detektr.web.access import Right
from detektr.web.connection import LIMIT
from detektr.web.endpoint import Call, Desk, Endpoint
from detektr.web.live.changes import Look, changes, look_at
from detektr.web.live.feed import ALL_RESULTS, Feed, Listener, as_text
from detektr.web.live.results import Result, ResultWatch, as_line
from detektr.web.problem import Problem
from detektr.web.query import NAME, Parameter
from detektr.web.view import View, utc_now

LOOK_S = 0.25  # for states and readiness ...
TIMES_TAKEN = 10  # ... or so many times what a look takes, so that listening costs a tenth of a core at most
COUNTS_S = 1.0  # drops are one event a second for each edge and reason
LINGER_S = 60.0  # after the last client has left, so that one that comes again has missed nothing
RESULTS_LINGER_S = 5.0
HEARTBEAT_S = 15.0
RESULTS = Parameter("results", "send also what this processor returns, or every processor (all)", pattern=NAME)
TYPES = (
    "Types of events: reset (the whole of /pipeline: the first one, and where those since Last-Event-ID are not kept"
    " any more), state, ready, drop (one a second for each edge and reason), consumer, dead_letter, operator, lag (so"
    " many were missed), and, if `results` asks for it, result: frame, camera, node, sequence, timestamp, replica,"
    " delivery and data as a processor returned them, words (the result in short) and still (whether"
    " /frames/ID/still.jpg has its picture), of ten frames a second of each node and camera at most, with the number of"
    " frames skipped before."
)
CLIENTS_MAX = 64
_log = logging.getLogger(__name__)


@dataclass
class _Channel:
    """The events of one pipeline."""

    feed: Feed
    look: Look
    news: asyncio.Condition = field(default_factory=asyncio.Condition)
    task: asyncio.Task[None] | None = None
    results: ResultWatch | None = None
    watched_s: float = 0.0
    """When somebody has wanted results last, monotonic."""


class Events:
    """The streams of a server."""

    def __init__(self, keep_still: Callable[[RunFolder, str], bool]) -> None:
        """Begin without any.

        Args:
            keep_still: keeps the picture of a frame of a run, by its id, if it is there; whether it does.
        """
        self._keep_still = keep_still
        self._channels: dict[str, _Channel] = {}
        self._clients = 0

    @property
    def endpoint(self) -> Endpoint:
        """What can be asked for."""
        return Endpoint(
            ("GET",),
            "/events",
            Right.TOKEN,
            self.stream,
            "Get changes as they come, as server-sent events",
            open_as="events",
            parameters=(RESULTS,),
            gives="text/event-stream",
            problems=(429,),
            text=TYPES,
        )

    def close(self) -> None:
        """Watch nothing any more."""
        for channel in self._channels.values():
            if channel.results is not None:
                channel.results.close()
                channel.results = None

    async def tell(self, pipeline: str, kind: str, content: dict[str, Any]) -> None:
        """Tell all who listen to a pipeline of something that was done here."""
        channel = self._channels.get(pipeline)
        if channel is not None:
            channel.feed.add(kind, content)
            async with channel.news:
                channel.news.notify_all()

    async def stream(self, call: Call) -> Response:
        """Send events for as long as the client listens, first those since the header Last-Event-ID.

        Without one, or where they are not kept any more, a `reset` comes first, with all that `/pipeline` says.
        """
        view, results = await call.view(), call.values["results"] or ""
        if results not in ("", ALL_RESULTS):
            await call.desk.read(lambda: _refuse_no_processor(view, results))
        if self._clients >= CLIENTS_MAX:
            detail = f"{CLIENTS_MAX} clients listen already"
            raise Problem(429, "busy", detail, "end another stream, or try again later", headers={"Retry-After": "30"})
        call.request.scope[LIMIT] = None
        channel = await self._channel(call.desk, view)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._texts(call, view, channel, results), 200, headers, "text/event-stream")

    async def _texts(self, call: Call, view: View, channel: _Channel, results: str) -> AsyncIterator[str]:
        listener = Listener(results)
        self._clients += 1  # here, where it is certain that the end is reached
        channel.feed.listeners.add(listener)
        try:
            await self._watch_results(call.desk, view, channel)
            known = channel.feed.since(call.request.headers.get("last-event-id", ""))
            first = known if known is not None else [await self._reset(call.desk, view, channel)]
            yield "".join(["retry: 2000\n\n", *first])
            while True:
                try:
                    async with asyncio.timeout(HEARTBEAT_S), channel.news:
                        await channel.news.wait_for(lambda: listener.is_waiting)
                except TimeoutError:
                    yield ": still here\n\n"
                else:
                    yield "".join(listener.take())
        finally:
            self._clients -= 1
            channel.feed.listeners.discard(listener)

    async def _channel(self, desk: Desk, view: View) -> _Channel:
        channel = self._channels.get(view.name)
        if channel is None or channel.task is None or channel.task.done():
            look = await desk.read(lambda: _look(view))
            known = self._channels.get(view.name)
            if known is not None and known.task is not None and not known.task.done():
                return known  # another client was quicker
            channel = _Channel(Feed(f"{look.run or 'none'}-{secrets.token_hex(2)}"), look)
            channel.task = asyncio.create_task(self._watch(desk, view, channel))
            self._channels[view.name] = channel
        return channel

    async def _watch_results(self, desk: Desk, view: View, channel: _Channel) -> None:
        """Read results while somebody wants them, and a little longer."""
        wanted, watch = channel.feed.wanted, channel.results
        now_s = time.monotonic()
        channel.watched_s = now_s if wanted else channel.watched_s
        if wanted and watch is None:
            loop = asyncio.get_running_loop()

            def tell(results: list[Result]) -> None:
                lines = [(str(one.get("node", "")), as_line(one)) for one in results]
                with contextlib.suppress(RuntimeError):  # the server has just ended
                    loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._pass_on(channel, lines)))

            def keep_still(result: Result) -> bool:
                return self._keep_still(view.folder, str(result.get("frame", "")))

            watch = channel.results = ResultWatch(view.folder, tell, keep_still)
        if watch is not None and wanted:
            watch.wanted = wanted
        elif watch is not None and now_s - channel.watched_s > RESULTS_LINGER_S:
            channel.results = None
            await desk.work(watch.close)

    async def _pass_on(self, channel: _Channel, lines: list[tuple[str, str]]) -> None:
        channel.feed.pass_on(lines)
        async with channel.news:
            channel.news.notify_all()

    async def _reset(self, desk: Desk, view: View, channel: _Channel) -> str:
        def read() -> dict[str, Any]:
            with contextlib.suppress(DetektrError):
                return shapes.pipeline_status(view.status(), utc_now(), view.sickest())
            return {"name": view.name, "at": utc_now(), "state": "not_running"}

        return as_text(channel.feed.last_id, "reset", await desk.read(read))

    async def _watch(self, desk: Desk, view: View, channel: _Channel) -> None:
        """Look for what has changed, until nobody has listened for a while."""
        heard_s = counted_s = time.monotonic()
        pause_s = LOOK_S
        while time.monotonic() - heard_s < LINGER_S:
            await asyncio.sleep(pause_s)
            begun_s = time.monotonic()
            heard_s = begun_s if channel.feed.listeners else heard_s
            await self._watch_results(desk, view, channel)
            try:
                look = await desk.read(lambda: _look(view))
            except DetektrError as fault:  # the run has just ended, or begins: the next look finds it whole
                _log.info("%s could not be read for events: %s", view.name, fault_line(fault))
                continue
            pause_s = max(LOOK_S, TIMES_TAKEN * (time.monotonic() - begun_s))
            before = channel.look if channel.look.run == look.run else Look(look.run)
            if begun_s - counted_s < COUNTS_S:
                look = replace(look, edges=before.edges)
            else:
                counted_s = begun_s
            found = changes(before, look)
            channel.look = look
            for kind, content in found:
                channel.feed.add(kind, {"at": utc_now(), "run": look.run, **content})
            if found:
                async with channel.news:
                    channel.news.notify_all()


def _refuse_no_processor(view: View, node: str) -> None:
    """Refuse to show the results of what returns none.

    Raises:
        Problem: says which nodes do.
    """
    kinds = view.moment().kinds
    if kinds.get(node) != "processor":
        names = ", ".join(sorted(name for name, kind in kinds.items() if kind == "processor"))
        raise Problem(404, "no_node", f"no processor {node!r} is here", f"name one of: {names or 'none'}, or all")


def _look(view: View) -> Look:
    moment = view.moment()
    nodes = view.status()["nodes"] if moment.is_live else {}
    run = moment.run_state.get("run") if moment.is_live else None
    return look_at(run, nodes, moment.edges if moment.is_live else (), view.ready())
