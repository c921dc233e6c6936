"""A collector, and what waits for it: in order and bounded; where there is no room the oldest goes, and is counted."""

from __future__ import annotations

import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from detektr.errors import RefusedError
from detektr.memory.run_folder import RunFolder
from detektr.observe.run_state import read_run_state
from detektr.redaction import mask, redact

EACH_S = 1.0
BATCH = 512
WAITING_MAX = 20_000
WAITING_BYTES_MAX = 32 << 20
TIMEOUT_S = 5.0
WHY_CHARS_MAX = 200
Item = TypeVar("Item")
Exporter = TypeVar("Exporter")


def endpoint(url: str, path: str) -> str:
    """Return where a collector takes one kind of things.

    Args:
        url: of the collector, such as `http://127.0.0.1:4318`.
        path: `v1/traces`, `v1/logs`.
    Raises:
        RefusedError: it is no such URL.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # its port is no number, or its host no address
        is_one = False
    if not is_one:
        raise RefusedError(f"--to: {redact(url)!r:.200} is no address; write one such as http://127.0.0.1:4318")
    return f"{url.rstrip('/')}/{path}"


def made(make: Callable[..., Exporter], url: str, path: str) -> Exporter:
    """Return an exporter of OpenTelemetry's; it reads headers and certificates from its own `OTEL_` variables.

    Args:
        make: its class.
        url: see `endpoint`.
        path: see `endpoint`.
    Raises:
        RefusedError: the URL is none, or one of those variables cannot be used.
    """
    where = endpoint(url, path)
    try:
        return make(where, timeout=TIMEOUT_S)
    except (ImportError, OSError, RuntimeError, ValueError) as fault:
        raise refused_settings(fault) from None


def refused_settings(fault: Exception) -> RefusedError:
    """Return in words that OpenTelemetry cannot use one of its own variables."""
    return RefusedError(
        f"environment: OpenTelemetry refuses a setting ({mask(str(fault))!r:.200}); correct its variables that begin"
        " with OTEL_"
    )


class Waiting(Generic[Item]):
    """What waits to be taken."""

    def __init__(self, export: Callable[[list[Item]], bool], size_of: Callable[[Item], int]) -> None:
        """Begin with nothing.

        Args:
            export: sends some, and says whether they were taken.
            size_of: says about how many bytes of memory one takes.
        """
        self._export, self._size_of = export, size_of
        self._items: deque[Item] = deque()
        self._bytes = 0
        self.sent = 0
        """What the collector has taken."""
        self.lost = 0
        """What was let go of, as it took too little."""

    @property
    def missing(self) -> int:
        """What the collector has not taken so far, or never will."""
        return self.lost + len(self._items)

    @property
    def is_due(self) -> bool:
        """Whether as many wait as are sent at once."""
        return len(self._items) >= BATCH

    def add(self, item: Item) -> None:
        """Let one wait; the oldest ones go if there is no room."""
        self._items.append(item)
        self._bytes += self._size_of(item)
        while len(self._items) > WAITING_MAX or self._bytes > WAITING_BYTES_MAX:
            self._bytes -= self._size_of(self._items.popleft())
            self.lost += 1

    def send(self) -> bool:
        """Send all that waits; stops and says no as soon as some are not taken: they wait on."""
        while self._items:
            batch = [self._items[place] for place in range(min(BATCH, len(self._items)))]
            if not self._export(batch):
                return False
            for item in batch:
                self._items.popleft()
                self._bytes -= self._size_of(item)
            self.sent += len(batch)
        return True


class Sender(Protocol):
    """Sends one kind of things of a run."""

    run: str
    """Its whole id."""
    what: str
    """In words: `spans`."""

    @property
    def waiting(self) -> Waiting[Any]:
        """What waits to be taken."""

    def look(self, now_s: float) -> bool:
        """Take what has come by now, and send it; whether the collector has taken all."""


class Heard(logging.Handler):
    """Keeps the last thing that OpenTelemetry has said."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__(logging.WARNING)
        self._last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it, without secrets."""
        self._last = mask(record.getMessage())[:WHY_CHARS_MAX]

    def words(self) -> str:
        """Return it as one more clause; empty where it has said nothing."""
        return f" ({self._last})" if self._last else ""


@contextlib.contextmanager
def hearing() -> Iterator[Heard]:
    """Keep what OpenTelemetry says, and print none of it: we say it in a line."""
    heard, log = Heard(), logging.getLogger("opentelemetry")
    before = log.propagate
    log.propagate = False
    log.addHandler(heard)
    try:
        yield heard
    finally:
        log.removeHandler(heard)
        log.propagate = before


def send_all(
    sender: Sender, pipeline: str, url: str, heard: Heard, tell: Callable[[str], None], *, follow: bool
) -> tuple[int, int]:
    """Send what there is and, with `follow`, what comes until the run has ended.

    Args:
        sender: of a run.
        pipeline: its name.
        url: of the collector.
        heard: what OpenTelemetry says meanwhile.
        tell: takes lines for people.
        follow: go on until the run has ended.
    Returns:
        How many things the collector has taken, and how many it has not.
    Raises:
        DetektrError: what is to be sent cannot be read.
    """
    folder, waiting, where = RunFolder(pipeline), sender.waiting, redact(url)
    is_over, told, was_taken = False, 0, True
    while not is_over:
        is_over = not follow or read_run_state(folder).get("run") != sender.run  # before the look, the last one then
        is_taken = sender.look(time.time())
        if is_over and waiting.missing:
            tell(
                f"{where} has not taken {waiting.missing} {sender.what}; see whether a collector listens there, and"
                f" has time{heard.words()}"
            )
        elif waiting.lost > told:
            told = waiting.lost
            tell(f"{where} is too slow: {told} {sender.what} lost so far, the oldest{heard.words()}")
        elif is_taken and not was_taken:
            tell(f"{where} takes {sender.what} again; lost so far: {waiting.lost}")
        elif was_taken and not is_taken:
            tell(
                f"{where} takes no {sender.what} now; they wait, and are sent again: see whether a collector listens"
                f" there{heard.words()}"
            )
        was_taken = is_taken
        if not is_over:
            time.sleep(EACH_S)
    return waiting.sent, waiting.missing
