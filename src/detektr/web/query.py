"""The values of a request: parameters of the address, a body of JSON; each is checked, and described for OpenAPI."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from starlette.requests import Request

from detektr.web.problem import Problem

BODY_BYTES_MAX = 1 << 17
NAME = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"


@dataclass(frozen=True)
class Parameter:
    """One parameter of an address."""

    name: str
    text: str
    kind: Literal["integer", "number", "string"] = "string"
    default: Any = None
    low: float = 0
    high: float = 0
    pattern: str = ""
    choices: tuple[str, ...] = ()
    is_required: bool = False

    def read(self, text: str) -> Any:
        """Return the value of a text.

        Raises:
            Problem: it is none; says what would be one.
        """
        if self.kind == "string":
            fits = text in self.choices if self.choices else re.fullmatch(self.pattern.strip("^$"), text) is not None
            if not fits or len(text) > 512:
                raise self._wrong(text)
            return text
        try:
            value = int(text) if self.kind == "integer" and len(text) < 20 else float(text)
        except ValueError:
            raise self._wrong(text) from None
        if not math.isfinite(value) or not self.low <= value <= self.high:
            raise self._wrong(text)
        return value if self.kind == "number" or isinstance(value, int) else self._whole(value, text)

    def schema(self) -> dict[str, Any]:
        """Return its JSON Schema."""
        schema: dict[str, Any] = {"type": self.kind}
        if self.choices:
            schema["enum"] = list(self.choices)
        elif self.kind == "string":
            schema |= {"pattern": self.pattern, "maxLength": 512}
        else:
            schema |= {"minimum": self.low, "maximum": self.high}
        return schema | ({} if self.default is None else {"default": self.default})

    def _whole(self, value: float, text: str) -> int:
        raise self._wrong(text)

    def _wrong(self, text: str) -> Problem:
        if self.choices:
            wanted = f"one of {', '.join(self.choices)}"
        elif self.kind == "string":
            wanted = f"a text like {self.pattern}"
        else:
            wanted = f"{'a whole number' if self.kind == 'integer' else 'a number'} from {self.low:g} to {self.high:g}"
        return Problem(400, "value", f"{self.name}={text!r:.80} is not {wanted}", f"send {wanted}")


def read_query(request: Request, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return the value of each parameter, its default where it is not given.

    Raises:
        Problem: one is wrong, unknown, missing, or given twice.
    """
    known = {parameter.name: parameter for parameter in parameters}
    values = {name: parameter.default for name, parameter in known.items()}
    given: set[str] = set()
    for name, text in request.query_params.multi_items():
        if name not in known:
            names = ", ".join(known) or "none"
            raise Problem(400, "value", f"there is no parameter {name!r:.60} here", f"it takes: {names}")
        if name in given:
            raise Problem(400, "value", f"{name} is given twice", "give it once")
        given.add(name)
        values[name] = known[name].read(text)
    for name, parameter in known.items():
        if parameter.is_required and name not in given:
            raise Problem(400, "value", f"the parameter {name} is missing", f"add {name}: {parameter.text}")
    return values


async def read_body(request: Request) -> dict[str, Any]:
    """Return the body, an object of JSON; one that is empty is an empty object.

    Raises:
        Problem: it is too large, or no such object.
    """
    payload = b""
    async for part in request.stream():
        payload += part
        if len(payload) > BODY_BYTES_MAX:
            next_ = f"send at most {BODY_BYTES_MAX} bytes"
            raise Problem(413, "too_large", f"the body is larger than {BODY_BYTES_MAX} bytes", next_)
    if not payload.strip():
        return {}
    try:
        body = json.loads(payload)
    except (ValueError, RecursionError):
        raise Problem(400, "body", "the body is not JSON", "send a JSON object, as /openapi.json has it") from None
    if not isinstance(body, dict):
        raise Problem(400, "body", "the body is not a JSON object", "send one, as /openapi.json has it")
    return body


def refuse_unknown(body: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse members that mean nothing.

    Raises:
        Problem: there is one.
    """
    names = list(known)
    for name in body:
        if name not in names:
            next_ = f"it takes: {', '.join(names) or 'none'}"
            raise Problem(400, "body", f"the body has the unknown member {name!r:.60}", next_)
