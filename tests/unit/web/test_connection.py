"""How long a connection may take: a browser that connects ahead of time has its whole time once it asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

from detektr.web.connection import EXCHANGE_S_MAX, BoundedConnection, Connections


@dataclass
class Timer:
    due_s: float
    call: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


@dataclass
class LoopByHand:
    now_s: float = 0.0
    timers: list[Timer] = field(default_factory=list)

    def time(self) -> float:
        return self.now_s

    def call_later(self, delay_s: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now_s + delay_s, call))
        return self.timers[-1]

    def until(self, now_s: float) -> None:
        self.now_s = now_s
        for timer in [one for one in self.timers if one.due_s <= now_s]:
            self.timers.remove(timer)
            if not timer.is_cancelled:
                timer.call()


@dataclass
class Transport:
    is_aborted: bool = False

    def abort(self) -> None:
        self.is_aborted = True

    def get_extra_info(self, name: str, default: object = None) -> object:
        return default


@pytest.fixture
def loop() -> LoopByHand:
    return LoopByHand()


@pytest.fixture
def connection(loop: LoopByHand) -> BoundedConnection:
    async def app(_scope: object, _receive: object, _send: object) -> None:
        raise AssertionError("no whole request is sent here")

    config = uvicorn.Config(cast("Any", app), log_config=None)
    config.load()
    kind = Connections().protocol()
    made = kind(config, ServerState(), {}, cast("Any", loop))
    assert isinstance(made, BoundedConnection)
    made.connection_made(cast("Any", Transport()))
    return made


def is_aborted(connection: BoundedConnection) -> bool:
    return cast("Transport", connection.transport).is_aborted


def test_a_connection_on_which_nothing_is_asked_ends(loop: LoopByHand, connection: BoundedConnection) -> None:
    loop.until(EXCHANGE_S_MAX - 0.1)
    assert not is_aborted(connection)
    loop.until(EXCHANGE_S_MAX)
    assert is_aborted(connection)


def test_time_before_the_first_byte_is_not_taken_from_its_exchange(
    loop: LoopByHand, connection: BoundedConnection
) -> None:
    loop.until(EXCHANGE_S_MAX - 0.1)
    connection.data_received(b"GET / HT")
    loop.until(EXCHANGE_S_MAX + 0.1)
    assert not is_aborted(connection)
    connection.data_received(b"TP/1.1\r\n")  # who sends a head bit by bit has no more time for it
    loop.until(2 * EXCHANGE_S_MAX - 0.05)
    assert is_aborted(connection)
