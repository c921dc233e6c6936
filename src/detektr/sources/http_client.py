"""What is at one URL, asked for again and again over one connection, as long as the server keeps it open."""

from __future__ import annotations

import base64
import http.client
import ssl
import urllib.request
from typing import Any, cast
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

CONTENT_BYTES_MAX = 64 << 20
REDIRECTS_MAX = 5
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
        self._authorization = ""

    def fetch(self) -> bytes:
        """Return what is there now.

        Raises:
            HttpError: it does not answer, or with something else.
        """
        try:
            return self._fetched()
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: a port or name that is none
            self.close()
            said = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
            raise HttpError(f"the server did not answer ({said})") from None

    def close(self) -> None:
        """End the connection; `fetch` makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _fetched(self) -> bytes:
        url = self._url
        for _ in range(REDIRECTS_MAX):
            answer, content = self._asked(urlsplit(url))
            if answer.status == 401 and self._log_in(urlsplit(url), answer.headers.get_all("WWW-Authenticate") or []):
                answer, content = self._asked(urlsplit(url))
            if answer.status not in _REDIRECTED:
                break
            url = urljoin(url, answer.headers.get("Location", url))
        self.answered_url = url
        if answer.status != 200 or not content:
            raise HttpError(f"the server answered {answer.status} {answer.reason} with {len(content)} bytes")
        return content

    def _asked(self, url: SplitResult) -> tuple[http.client.HTTPResponse, bytes]:
        """Ask once; over a new connection where the server has closed the old one meanwhile."""
        is_kept = self._connection is not None and self._connected_to == url[:2]
        try:
            return self._asked_now(url)
        except (OSError, http.client.HTTPException):
            if not is_kept:
                raise
            self.close()
            return self._asked_now(url)

    def _asked_now(self, url: SplitResult) -> tuple[http.client.HTTPResponse, bytes]:
        if self._connection is None or self._connected_to != url[:2]:
            self.close()
            self._connection, self._connected_to = self._new_connection(url), url[:2]
        headers = {"Authorization": self._authorization} if self._authorization else {}
        self._connection.request("GET", _target(url), headers=headers)
        answer = self._connection.getresponse()
        content = answer.read(CONTENT_BYTES_MAX + 1)
        if len(content) > CONTENT_BYTES_MAX:
            raise HttpError(f"the server sends more than {CONTENT_BYTES_MAX >> 20} MiB")
        return answer, content

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
