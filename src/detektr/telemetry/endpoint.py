"""A small HTTP endpoint for scrapers: one thread, bounded connections, bounded time for each."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections.abc import Callable
from typing import NamedTuple

from detektr.errors import RefusedError

CONNECTIONS_MAX = 32
REQUEST_BYTES_MAX = 8192
EXCHANGE_S_MAX = 5.0  # from the connection to the last byte of the answer
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}
_REASONS |= {431: "Request Header Fields Too Large", 503: "Service Unavailable"}
_PLAIN = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """What goes back: status, content type, body."""

    status: int
    content_type: str
    body: bytes


class Endpoint:
    """Answers GET and HEAD, one request a connection.

    A client that is slow loses its connection after `EXCHANGE_S_MAX`; one connection more than `CONNECTIONS_MAX` ends
    the oldest, so that clients that hang cannot keep out one that asks.
    """

    def __init__(self, answer: Callable[[str, str], Answer], host: str, port: int) -> None:
        """Begin to listen; `answer` is called with path (without query) and Accept header, in the endpoint's thread.

        Raises:
            RefusedError: the port is in use or not allowed, or the host is not one of this machine.
        """
        self._answer = answer
        self._socket = _listen(host, port)
        self._port = int(self._socket.getsockname()[1])
        self._exchanges: dict[asyncio.Task[None], None] = {}  # in order of arrival
        self._loop = asyncio.new_event_loop()
        self._closing = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    def close(self) -> None:
        """Stop listening and end all connections."""
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._closing.set)  # also before the thread has come to run the loop
        self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._exchange, sock=self._socket, limit=REQUEST_BYTES_MAX)
        await self._closing.wait()
        server.close()
        exchanges = asyncio.all_tasks() - {asyncio.current_task()}
        for task in exchanges:
            task.cancel()
        await asyncio.gather(*exchanges, return_exceptions=True)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._exchanges[task] = None
        if len(self._exchanges) > CONNECTIONS_MAX:
            oldest = next(iter(self._exchanges))
            del self._exchanges[oldest]  # now, or the next connection would end the same one again
            oldest.cancel()
        try:
            async with asyncio.timeout(EXCHANGE_S_MAX):
                writer.write(await self._response(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (TimeoutError, OSError, asyncio.CancelledError):
            # Nobody waits for this task: its end is the connection's end, whoever wanted it.
            writer.transport.abort()
        finally:
            self._exchanges.pop(task, None)

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        method = ""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            method, target, _ = head[0].split(" ")
        except asyncio.LimitOverrunError:
            answer = Answer(431, _PLAIN, f"a request may be {REQUEST_BYTES_MAX} bytes\n".encode())
        except (asyncio.IncompleteReadError, ValueError):
            answer = Answer(400, _PLAIN, b"not an HTTP request\n")
        else:
            if method in ("GET", "HEAD"):
                headers = dict(line.lower().split(":", 1) for line in head[1:] if ":" in line)
                answer = self._answer(target.partition("?")[0], headers.get("accept", "").strip())
            else:
                answer = Answer(405, _PLAIN, b"only GET and HEAD are answered\n")
        lines = (
            f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            "Cache-Control: no-store",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode("latin-1") + (b"" if method == "HEAD" else answer.body)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as fault:
        hint = {
            errno.EADDRINUSE: "another program uses it; set another port, or 0 for any free one",
            errno.EACCES: "this user is not allowed to; set a port of 1024 or more",
            errno.EADDRNOTAVAIL: "the host is not an address of this machine; 127.0.0.1 is",
        }.get(fault.errno or 0, f"{fault.strerror or fault}; set a host that is an address of this machine")
        raise RefusedError(f"metrics: cannot listen on port {port} of {host!r}: {hint}") from None
