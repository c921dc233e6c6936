"""The client of a pipeline's HTTP server: `for frame in detektr.http.frames(url, token): ...`."""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Any

from detektr.errors import DetektrError

AWAY_S_MAX = 15.0  # a server that is started again is back by then
PAUSE_S = 0.25
ANSWER_S_MAX = 10.0  # beyond what an answer is asked to wait


class PulledFrame:
    """One frame that was pulled; it is yours until its lease ends."""

    def __init__(self, server: _Server, facts: Mapping[str, Any]) -> None:
        """Take what the server said of it."""
        self._server, self.facts = server, facts

    @property
    def id(self) -> str:
        """The same at each delivery."""
        return str(self.facts["id"])

    @property
    def lease(self) -> str:
        """What it is acked with."""
        return str(self.facts["lease"])

    @property
    def delivery(self) -> int:
        """Which attempt at this frame it is: 1, 2, ...; from 2 on somebody may have worked on it before."""
        return int(self.facts["delivery"])

    def picture(self, format: str = "jpeg", width: int | None = None) -> bytes:
        """Return the picture as a file.

        Args:
            format: jpeg, png or raw.
            width: scaled down to it, in pixels; None: as it is.
        Raises:
            DetektrError: the lease is over, or the server says otherwise no.
        """
        size = "" if width is None else f"&width={width}"
        return self._server.ask(f"{self.facts['picture']}&format={format}{size}")


def frames(
    url: str,
    token: str | None = None,
    *,
    node: str | None = None,
    count: int = 10,
    lease_s: float = 30.0,
    wait_s: float = 20.0,
) -> Iterator[PulledFrame]:
    """Yield frames one by one; each is acked when the next one is asked for, and failed when the loop's body raises.

    At least once: a frame whose ack was lost, or that took longer than its lease, comes again with `delivery` above 1.
    The loop ends with the run.

    Args:
        url: of the server: `http://127.0.0.1:8002`, or `http://127.0.0.1:8002/pipelines/NAME` where it shows several.
        token: the server's; None: the file opens `dequeue` and `ack`.
        node: whose frames, of the kind `pull`, or a buffer or capture; None: the only one of that kind, in that order.
        count: how many are fetched at once.
        lease_s: how long they are ours, in seconds; the last of them waits for the others.
        wait_s: how long a call waits for a frame, in seconds.
    Raises:
        DetektrError: the server says no, or is away for longer than a restart takes.
    """
    server = _Server(url, token)
    query = {"count": count, "lease": lease_s, "wait": wait_s, **({"node": node} if node else {})}
    path = f"{server.path}/frames/dequeue?{urllib.parse.urlencode(query)}"
    while True:
        found = json.loads(server.ask(path, "POST", limit_s=wait_s))
        for facts in found["frames"]:
            frame = PulledFrame(server, facts)
            is_done = False
            try:
                yield frame
                is_done = True
            finally:
                outcome = "done" if is_done else "failed"
                body = {"leases": [frame.lease], "outcome": outcome}
                server.ask(f"{server.path}/frames/ack", "POST", body)
        if found.get("ended"):
            return


class _Server:
    """Asks, and asks again while the server is away or has given out all that it may."""

    def __init__(self, url: str, token: str | None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise DetektrError(f"{url!r:.80} is not the address of a server; write for example http://127.0.0.1:8002")
        self.root, self.path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, path: str, method: str = "GET", body: Any = None, *, limit_s: float = 0.0) -> bytes:
        """Return the body of an answer.

        Raises:
            DetektrError: the server says no, or is away for too long.
        """
        payload = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.root + path, payload, self._headers, method=method)
        away_by = time.monotonic() + AWAY_S_MAX
        while True:
            try:
                with urllib.request.urlopen(request, timeout=limit_s + ANSWER_S_MAX) as answer:
                    return bytes(answer.read())
            except urllib.error.HTTPError as fault:
                with fault:
                    if fault.code == 429:
                        time.sleep(float(fault.headers.get("Retry-After", 1)))
                        continue
                    if fault.code == 504 and time.monotonic() <= away_by:  # its node is started again
                        time.sleep(PAUSE_S)
                        continue
                    raise DetektrError(_words(path, fault)) from None
            except (urllib.error.URLError, ConnectionError, TimeoutError, http.client.HTTPException) as fault:
                if time.monotonic() > away_by:
                    raise DetektrError(f"{self.root} does not answer: {fault}; see whether it runs") from None
                time.sleep(PAUSE_S)


def _words(path: str, fault: urllib.error.HTTPError) -> str:
    try:
        problem = json.loads(fault.read())
        return f"{path.partition('?')[0]}: {problem['detail']}; {problem['next']}"
    except (ValueError, KeyError, OSError):
        return f"{path.partition('?')[0]}: HTTP {fault.code}; see the server's log"
