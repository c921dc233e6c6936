"""`detektr web`: an HTTP server beside running pipelines."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from detektr.cli.answering import PLAIN, answering

app = typer.Typer(**PLAIN)
TOKEN_VARIABLE = "DETEKTR_WEB_TOKEN"


@app.command("web")
@answering
def _web(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="The pipelines; by default all that run.")
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8002,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address of this machine to listen on.")] = "127.0.0.1",
) -> None:
    """Serve running pipelines over HTTP.

    The server says what runs and whose fault a loss is, and gives frames to clients that pull them. Its token is
    that in DETEKTR_WEB_TOKEN; if that is not set, detektr makes one and keeps it.
    """
    from detektr.errors import RefusedError
    from detektr.memory.run_folder import NAME, state_root
    from detektr.process.web_process import listen
    from detektr.redaction import register_secret
    from detektr.source_uri import host_and_port
    from detektr.web.server import WebSettings, serve
    from detektr.web.token import FILE, check_token

    for name in names or ():
        if NAME.match(name) is None:
            raise RefusedError(f"web: {name!r} is no pipeline's name; name one that `detektr status` lists")
    token = os.environ.get(TOKEN_VARIABLE) or None
    if token is not None:
        check_token(token, TOKEN_VARIABLE)
        register_secret(token)
    listener = listen(host, port)
    where = state_root() / names[0] / FILE if names and len(names) == 1 else state_root() / FILE
    url = f"http://{host_and_port(host, listener.getsockname()[1])}"
    hosts = () if host in ("0.0.0.0", "::") else (host,)

    def say_ready() -> None:
        told = f"that of {TOKEN_VARIABLE}" if token else f"in {where}"
        print(f"web on {url}; its token is {told}", flush=True)

    serve(WebSettings(tuple(names or ()), token, (), hosts), listener, None, say_ready)
