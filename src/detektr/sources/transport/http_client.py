"""Reads one URL: asks for it again and again over one connection, or reads a stream as it comes."""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.request
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

CONTENT_BYTES_MAX = 64 << 20
REDIRECTS_MAX = 5
_FAILURES = (OSError, ValueError, http.client.HTTPException)  # ValueError: a port or name that is none
_REDIRECTED = (301, 302, 303, 307, 308)


class HttpError(Exception):
    """The server gave nothing; says why, without secrets."""


class HttpClient:
    """Asks for what is at one URL; belongs to one thread.

    Logs in as the URL says, by Basic or Digest, and does not look at certificates: cameras sign their own.

    Args:
        url: http:// or https://, with user and password where the server wants them.
        timeout_s: longest time that the server may be silent.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url, self._timeout_s = url, timeout_s
        self.answered_url = url
        """Where the last answer came from, after all redirects."""
        self._connection: http.client.HTTPConnection | None = None
        self._connected_to = ("", "")  # scheme and host
        self._answer: http.client.HTTPResponse | None = None  # that was begun
        self._authorization = ""

    def fetch(self) -> bytes:
        """Return what is there now.

        Raises:
            HttpError: it does not answer, or with something else.
        """
        try:
            answer = self._answered()
            content = self._content_of(answer)
        except _FAILURES as error:
            raise self._failure(error) from None
        if answer.status != 200 or not content:
            raise HttpError(f"the server answered {answer.status} {answer.reason} with {len(content)} bytes")
        return content

    def begin(self) -> str:
        """Ask for what never ends, and return of which type it is; `read_some` gives it.

        Raises:
            HttpError: it does not answer, or with something else.
        """
        try:
            self._answer = answer = self._answered()
        except _FAILURES as error:
            raise self._failure(error) from None
        if answer.status != 200:
            raise HttpError(f"the server answered {answer.status} {answer.reason}")
        content_type = answer.headers.get("Content-Type", "")
        if content_type.lower().startswith("multipart/"):
            answer.length = None  # it has none, whatever the server says
        return content_type

    def read_some(self, count: int) -> bytes:
        """Wait for some of what was begun and return it, at most `count` bytes; none: that was all.

        Raises:
            HttpError: the connection broke, or was silent for too long.
        """
        assert self._answer is not None, "begin() comes first"
        try:
            return self._answer.read1(count)
        except _FAILURES as error:
            raise self._failure(error) from None

    def close(self) -> None:
        """End the connection; `fetch` makes another."""
        connection, self._connection = self._connection, None
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.close()
        if connection is not None:
            connection.close()

    def _failure(self, error: Exception) -> HttpError:
        self.close()
        said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        return HttpError(f"the server did not answer ({said})")

    def _answered(self) -> http.client.HTTPResponse:
        """Return the answer after all redirects, logged in if that is asked for."""
        url = self._url
        for _ in range(REDIRECTS_MAX):
            answer = self._asked(urlsplit(url))
            if answer.status == 401 and self._log_in(urlsplit(url), answer.headers.get_all("WWW-Authenticate") or []):
                self._content_of(answer)
                answer = self._asked(urlsplit(url))
            if answer.status not in _REDIRECTED:
                break
            self._content_of(answer)
            url = urljoin(url, answer.headers.get("Location", url))
        self.answered_url = url
        return answer

    def _asked(self, url: SplitResult) -> http.client.HTTPResponse:
        """Ask once; over a new connection where the server has closed the old one meanwhile."""
        is_kept = self._connection is not None and self._connected_to == url[:2]
        try:
            return self._asked_now(url)
        except (OSError, http.client.HTTPException):
            if not is_kept:
                raise
            self.close()
            return self._asked_now(url)

    def _asked_now(self, url: SplitResult) -> http.client.HTTPResponse:
        if self._connection is None or self._connected_to != url[:2]:
            self.close()
            self._connection, self._connected_to = self._new_connection(url), url[:2]
        headers = {"Authorization": self._authorization} if self._authorization else {}
        self._connection.request("GET", _target(url), headers=headers)
        return self._connection.getresponse()

    def _content_of(self, answer: http.client.HTTPResponse) -> bytes:
        content = answer.read(CONTENT_BYTES_MAX + 1)
        if len(content) > CONTENT_BYTES_MAX:
            raise HttpError(f"the server sends more than {CONTENT_BYTES_MAX >> 20} MiB")
        return content

    def _new_connection(self, url: SplitResult) -> http.client.HTTPConnection:
        host = url.hostname or ""
        if url.scheme != "https":
            return http.client.HTTPConnection(host, url.port, timeout=self._timeout_s)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, url.port, timeout=self._timeout_s, context=context)

    def _log_in(self, url: SplitResult, challenges: list[str]) -> bool:
        """Prepare what the server wants to see; False: there is no user, or it wants something else."""
        asked = urlsplit(self._url)
        if asked.username is None:
            return False
        user, password = unquote(asked.username), unquote(asked.password or "")
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            if scheme.lower() == "digest":
                self._authorization = f"Digest {_digest(url, user, password, rest)}"
                return True
        self._authorization = f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"
        return any(challenge.lower().startswith("basic") for challenge in challenges)


def _target(url: SplitResult) -> str:
    return (url.path or "/") + (f"?{url.query}" if url.query else "")


def _digest(url: SplitResult, user: str, password: str, challenge: str) -> str:
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, f"{url.scheme}://{url.hostname}/", user, password)
    request = urllib.request.Request(f"{url.scheme}://{url.hostname}{_target(url)}")
    fields = urllib.request.parse_keqv_list(urllib.request.parse_http_list(challenge))
    handler: Any = urllib.request.HTTPDigestAuthHandler(passwords)
    return cast("str", handler.get_authorization(request, fields)) or ""
