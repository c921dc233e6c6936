"""The description of all endpoints, as OpenAPI 3.1 has it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from detektr.web.access import Right
from detektr.web.endpoint import Endpoint
from detektr.web.problem import CONTENT_TYPE, TITLES
from detektr.web.query import NAME

PREFIX = "/pipelines/{pipeline}"
_ALWAYS = (400, 401, 403, 404, 409, 421, 431, 503)


def describe(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """Return the description of the endpoints."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        for prefix in ("", PREFIX) if endpoint.is_of_pipeline else ("",):
            for method in endpoint.methods:
                paths.setdefault(prefix + endpoint.path, {})[method.lower()] = _operation(endpoint, prefix, method)
    return {
        "openapi": "3.1.0",
        "info": {"title": "detektr", "version": version},
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Problem": _problem()},
        },
    }


def _operation(endpoint: Endpoint, prefix: str, method: str) -> dict[str, Any]:
    names = re.findall(r"\{(\w+)\}", prefix + endpoint.path)
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "pattern": NAME}}
        if name in ("pipeline", "name")
        else {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]
    parameters += [
        {
            "name": one.name,
            "in": "query",
            "description": one.text,
            "required": one.is_required,
            "schema": one.schema(),
        }
        for one in endpoint.parameters
    ]
    good = {"description": endpoint.summary, "content": {endpoint.gives: {"schema": endpoint.schema}}}
    answers: dict[str, Any] = {"200": good}
    answers |= {str(status): {**good, "description": text} for status, text in endpoint.extra.items()}
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    for status in sorted({*_ALWAYS, *endpoint.problems, *((413,) if endpoint.body is not None else ())}):
        told = answers.setdefault(str(status), {"description": TITLES[status], "content": {}})
        told["content"] = {**told["content"], CONTENT_TYPE: problem}
    words = re.sub(r"\W+", "_", prefix + endpoint.path).strip("_")
    operation: dict[str, Any] = {
        "operationId": f"{method.lower()}_{words}",
        "summary": endpoint.summary,
        **({"description": endpoint.text} if endpoint.text else {}),
        "parameters": parameters,
        "responses": answers,
    }
    if endpoint.right is Right.TOKEN:
        operation["security"] = [{"token": []}]
    if endpoint.body is not None and method != "GET":
        operation["requestBody"] = {"content": {"application/json": {"schema": endpoint.body}}}
    return operation


def _problem() -> dict[str, Any]:
    texts = {name: {"type": "string"} for name in ("type", "title", "detail", "code", "next")}
    return {"type": "object", "properties": {**texts, "status": {"type": "integer"}}, "required": [*texts, "status"]}
