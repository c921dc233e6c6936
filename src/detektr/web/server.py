"""The server's process: listens, answers, and ends when it is told to or, where its supervisor ends in order, with it.

uvicorn's own loop looks ten times a second whether it is to end, which costs 2.6 ms of CPU a second. Here its parts are
driven one by one, and the process sleeps until somebody asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import uvicorn

from detektr.memory.run_folder import RunFolder, state_root
from detektr.observe.status import list_pipelines
from detektr.web.app import App, make_app
from detektr.web.connection import HEAD_BYTES_MAX, Connections
from detektr.web.endpoint import Desk
from detektr.web.seen.keeper import SeenSettings
from detektr.web.token import token_file
from detektr.web.view import Views

IDLE_S_MAX = 5  # of a connection between two requests
LEAVE_S = 1.0  # for answers on their way, at the end
TELL_S = 2.0  # for clients that pull to hear that no more frames will come
LOOK_S = 0.05
NICE = 10  # who looks waits for who works
END = b"end"  # the word of a supervisor that ends in order
_log = logging.getLogger("detektr.web")


@dataclass(frozen=True)
class WebSettings:
    """What a server is told."""

    names: tuple[str, ...] = ()
    """The pipelines that it shows; none: all that run."""
    token: str | None = None
    """None: that of the state folder, which is made where there is none."""
    open: tuple[str, ...] = ()
    """What needs no token from this machine."""
    hosts: tuple[str, ...] = ()
    """Names by which it may be called."""
    seen_s: int = 0
    """How long what was seen is kept; 0: not at all."""
    seen_bytes: int = 0
    """Most bytes of it on disk."""

    def as_json(self) -> str:
        """Write them down, for the process."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> WebSettings:
        """Read them."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values | {key: tuple(values[key]) for key in ("names", "open", "hosts")})


def make_desk(settings: WebSettings) -> Desk:
    """Return what the requests of a server share.

    Raises:
        RefusedError: the token's file cannot be used.
    """
    folder = state_root() / settings.names[0] if len(settings.names) == 1 else state_root()
    token = token_file(folder) if settings.token is None else settings.token
    views = Views(settings.names, lambda: [str(one["pipeline"]) for one in list_pipelines()])
    return Desk(views, token, open_=frozenset(settings.open), names=settings.hosts)


def _seen_settings(settings: WebSettings) -> SeenSettings | None:
    """Return what is kept of what is seen; None: nothing. Only the server that a pipeline's file asks for keeps it."""
    if not settings.seen_s:
        return None
    return SeenSettings(RunFolder(settings.names[0]), settings.seen_s, settings.seen_bytes)


def serve(settings: WebSettings, listener: socket.socket, line: int | None, ready: Callable[[], None]) -> None:
    """Answer requests until the end: SIGTERM, SIGINT, or the word of the supervisor.

    Args:
        settings: what it shows, and to whom.
        listener: a socket that listens.
        line: descriptor of the line to a supervisor, which says so when it ends in order; when it dies, the server goes
            on. None: there is none.
        ready: called once it answers.
    Raises:
        RefusedError: the token's file cannot be used.
    """
    desk = make_desk(settings)
    with contextlib.suppress(OSError):
        os.nice(NICE)
    try:
        asyncio.run(_serve(make_app(desk, _seen_settings(settings)), desk, listener, line, ready))
    finally:
        desk.close()


async def _serve(app: App, desk: Desk, listener: socket.socket, line: int | None, ready: Callable[[], None]) -> None:
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what hostile clients send is no news
    connections = Connections()
    config = uvicorn.Config(
        app,
        http=connections.protocol(),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_S_MAX,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    loop, is_over = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, is_over.set)
    if line is not None:
        os.set_blocking(line, False)
        loop.add_reader(line, _hear, loop, line, is_over)
    await server.startup(sockets=[listener])
    ready()
    await is_over.wait()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(TELL_S):
            while desk.owes_an_end():
                await asyncio.sleep(LOOK_S)
    for each in server.servers:
        each.close()
    if server.server_state.tasks:
        await asyncio.wait(server.server_state.tasks, timeout=LEAVE_S)
    for task in server.server_state.tasks:
        task.cancel()
    connections.end_all()


def _hear(loop: asyncio.AbstractEventLoop, line: int, is_over: asyncio.Event) -> None:
    """Take what the supervisor says; nothing more: it died, and we go on."""
    try:
        said = os.read(line, 64)
    except BlockingIOError:
        return
    if said.startswith(END):
        is_over.set()
    elif not said:
        loop.remove_reader(line)
        _log.warning("the supervisor is gone: the web server goes on, and says so")
