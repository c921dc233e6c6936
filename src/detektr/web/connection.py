"""Connections with bounds: how many, how long an exchange may take, how large its head may be."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS_MAX = 32
HEAD_BYTES_MAX = 8192
EXCHANGE_S_MAX = 5.0  # from the connection to a request's first byte, and from that to the last of its answer
LIMIT = "detektr.limit_s"  # in a request's scope: another limit, in seconds, or None: none, and it counts elsewhere


class Connections:
    """The connections of a server; one more than `CONNECTIONS_MAX` ends the oldest, so that who hangs keeps out nobody.

    Those without a limit do not count here: who takes them counts them.
    """

    def __init__(self) -> None:
        """Begin without any."""
        self._open: dict[BoundedConnection, None] = {}  # in order of arrival

    def protocol(self) -> type[H11Protocol]:
        """Return the class of connections that are counted here, for uvicorn."""
        return type("CountedConnection", (BoundedConnection,), {"among": self})

    def enter(self, connection: BoundedConnection) -> None:
        """Count a connection."""
        self._open[connection] = None
        counted = [one for one in self._open if one.limit_s is not None]
        if len(counted) > CONNECTIONS_MAX:
            self.leave(counted[0])  # now, or the next one would end the same one again
            counted[0].transport.abort()

    def leave(self, connection: BoundedConnection) -> None:
        """Forget a connection."""
        self._open.pop(connection, None)

    def end_all(self) -> None:
        """End all of them."""
        for connection in list(self._open):
            connection.transport.abort()


class BoundedConnection(H11Protocol):
    """One connection, on which an exchange that takes too long is ended."""

    among: Connections

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """See uvicorn."""
        super().__init__(*arguments, **options)
        self._begun_s = 0.0
        self._has_asked = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def limit_s(self) -> float | None:
        """How long the present exchange may take; None: for ever."""
        if self.cycle is None or self.cycle.response_complete:
            return EXCHANGE_S_MAX
        limit: float | None = self.cycle.scope.get(LIMIT, EXCHANGE_S_MAX)  # type: ignore[assignment]
        return limit

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count the connection, and wait for its first request no longer than for an exchange."""
        super().connection_made(transport)
        self._begin()
        self.among.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._end()
        self.among.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has come; the first of it begins another exchange.

        Browsers connect ahead of time: the wait for the first byte of all does not shorten the exchange after it.
        """
        if self._timer is None or not self._has_asked:
            self._has_asked = True
            self._end()
            self._begin()
        super().data_received(data)

    def on_response_complete(self) -> None:
        """End the exchange; while none goes on, uvicorn's own time for idle connections counts."""
        self._end()
        super().on_response_complete()
        if self.cycle is not None and not self.cycle.response_complete:
            self._begin()  # the next request had come already

    def _begin(self) -> None:
        self._begun_s = self.loop.time()
        self._timer = self.loop.call_later(EXCHANGE_S_MAX, self._look)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """End an exchange whose time is over; look again later where it may take longer."""
        limit_s = self.limit_s
        if limit_s is None:
            return
        left_s = self._begun_s + limit_s - self.loop.time()
        if left_s > 0:
            self._timer = self.loop.call_later(left_s, self._look)
        else:
            self.transport.abort()
