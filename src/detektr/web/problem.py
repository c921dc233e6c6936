"""What went wrong with a request, as RFC 9457 has it: `application/problem+json`, with a code and the next step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

CONTENT_TYPE = "application/problem+json"
TITLES: Mapping[int, str] = MappingProxyType(
    {
        400: "a value of the request is wrong",
        401: "this needs the token",
        403: "another site cannot ask for this",
        404: "there is no such thing",
        405: "the method is not answered here",
        409: "the request does not say which one",
        410: "that is over",
        413: "the body is too large",
        421: "this server is not called so",
        422: "the pipeline file does not allow this",
        431: "the head of the request is too large",
        429: "too much at once",
        500: "the server has a fault",
        503: "this cannot be read now",
        504: "a process did not answer",
    }
)


class Problem(Exception):
    """An answer that says what is wrong and what to do; raised anywhere behind a request."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        next_: str,
        *,
        headers: Mapping[str, str] = MappingProxyType({}),
        **more: Any,
    ) -> None:
        """Describe a problem.

        Args:
            status: of HTTP; one out of `TITLES`.
            code: a word for programs, which stays the same over releases.
            detail: what is wrong with this request, with its value.
            next_: what to do.
            headers: more headers of the answer, such as Retry-After.
            more: further members of the answer.
        """
        super().__init__(detail)
        self.status, self.code, self.detail, self.next = status, code, detail, next_
        self.headers, self.more = headers, more

    def as_record(self) -> dict[str, Any]:
        """Return the members of the answer."""
        return {
            "type": f"urn:detektr:problem:{self.code}",
            "title": TITLES[self.status],
            "status": self.status,
            "detail": self.detail,
            "code": self.code,
            "next": self.next,
            **self.more,
        }

    def response(self) -> Response:
        """Return the answer."""
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(json.dumps(self.as_record()), self.status, headers, CONTENT_TYPE)
