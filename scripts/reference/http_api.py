"""The page of the web server: each endpoint, out of the description that `/openapi.json` gives."""

from __future__ import annotations

from typing import Any

from detektr.web.app import App, make_app
from detektr.web.describing.openapi import PREFIX
from detektr.web.endpoint import Desk
from detektr.web.view import Views
from scripts.reference.markdown import code, document, sentence, table

WHO = {
    "probe": "anybody",
    "numbers": "this machine, or the token",
    "token": "the token",
    "session": "whoever sends the token",
}


def page() -> str:
    """Return the page."""
    intro = (
        f"A pipeline whose file has the key `web` has a web server of its own; `detektr web` starts one beside running"
        " pipelines. `/openapi.json` describes all requests for programs (OpenAPI 3.1). If a server shows several"
        f" pipelines, each path is also below `{PREFIX}`. The server refuses a request with a problem (RFC 9457), which"
        " has a `code` and says the `next` step: [errors](errors.md#problems-of-the-web-server). How to use it:"
        " [ask over HTTP](../how-to/ask-over-http.md).\n\n"
        'In the column "who may", "this machine" means a client on the same machine. The key'
        " [`open`](file.md#web) of the file lets such clients send further requests without the token."
    )
    rows, parts = [], []
    for path, methods in described()["paths"].items():
        if path.startswith(PREFIX):
            continue
        for method, operation in methods.items():
            rows.append(
                (code(f"{method.upper()} {path}"), sentence(operation["summary"]), rights()[method.upper(), path])
            )
            parts.append(_parameters(method, path, operation))
    return document("HTTP", intro, table(("request", "what", "who may"), rows), *filter(None, parts))


def described() -> dict[str, Any]:
    """Return the description of a server's endpoints."""
    app, description = _app()
    del app
    return description


def rights() -> dict[tuple[str, str], str]:
    """Return who may send each request, by method and path."""
    app, _ = _app()
    found = {}
    for place in app._places:
        for method in place.endpoint.methods:
            is_end = (method, place.endpoint.path) == ("DELETE", "/session")  # it takes away what the client has
            found[method, place.endpoint.path] = "anybody" if is_end else WHO[place.endpoint.right.value]
    return found


def _app() -> tuple[App, dict[str, Any]]:
    desk = Desk(Views((), list), "x" * 16)
    try:
        app = make_app(desk)
        return app, app._description
    finally:
        desk.close()


def _parameters(method: str, path: str, operation: dict[str, Any]) -> str:
    rows = []
    for one in operation["parameters"]:
        schema = one["schema"]
        if one["in"] == "path":
            continue
        takes = ", ".join(map(str, schema["enum"])) if "enum" in schema else schema["type"]
        if "maximum" in schema:
            takes += f" from {schema['minimum']:g} to {schema['maximum']:g}"
        default = schema.get("default")
        rows.append(
            (code(one["name"]), sentence(one["description"]), takes, "" if default is None else code(str(default)))
        )
    body = operation.get("requestBody")
    for name, schema in _body(body).items():
        rows.append(
            (f"{code(name)} (in the body)", sentence(schema.get("description", "")), schema.get("type", ""), "")
        )
    if not rows:
        return ""
    return f"## {method.upper()} {path}\n\n{table(('parameter', 'meaning', 'takes', 'default'), rows)}"


def _body(body: dict[str, Any] | None) -> dict[str, Any]:
    if body is None:
        return {}
    schema = body["content"]["application/json"]["schema"]
    return dict(schema.get("properties", {}))
