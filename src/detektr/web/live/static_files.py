"""The page: plain files of HTML, CSS and JavaScript, which ask nobody but this server."""

from __future__ import annotations

from importlib.resources import files

from starlette.responses import Response

from detektr.web.access import Right
from detektr.web.endpoint import Call, Endpoint
from detektr.web.problem import Problem

FOLDER = files("detektr.web") / "static"
_TYPES = {"css": "text/css; charset=utf-8", "html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8"}
_HEADERS = {
    # Nothing that comes from a run is ever markup, and nothing is fetched from elsewhere.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


async def page(call: Call) -> Response:
    """Return the page, or one of its files."""
    name = call.path.get("file", "index.html")
    kind, file = _TYPES.get(name.rpartition(".")[2]), FOLDER / name
    if kind is None or "/" in name or not file.is_file():
        raise Problem(404, "no_file", f"there is no file {name!r:.80} here", "ask for / instead")
    return Response(file.read_bytes(), 200, {**_HEADERS, "Content-Type": kind})


ENDPOINTS = (
    Endpoint(
        ("GET",),
        "/",
        Right.NUMBERS,
        page,
        "Show the pipeline in a browser",
        gives="text/html",
        is_of_pipeline=False,
    ),
    Endpoint(
        ("GET",), "/page/{file}", Right.NUMBERS, page, "Get a file that / needs", gives="*/*", is_of_pipeline=False
    ),
)
