"""The events of one pipeline for all who listen: numbered, the last ones kept, and a bound for each listener. Pure."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterable
from typing import Any

KEPT_MAX = 10_000
QUEUED_MAX = 256
ALL_RESULTS = "all"
_ID = re.compile(r"^([0-9a-z-]{1,40})-([0-9]{1,15})\Z")


class Listener:
    """What waits for one client; what finds no room is dropped, and it is told how much that was."""

    def __init__(self, results: str = "") -> None:
        """Begin without anything.

        Args:
            results: the node whose results it wants too, or `all`; empty: none.
        """
        self.results = results
        self._queue: deque[str] = deque()
        self._missed = 0

    @property
    def is_waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._queue or self._missed)

    def put(self, text: str) -> None:
        """Queue an event, or count it as missed."""
        if len(self._queue) >= QUEUED_MAX:
            self._missed += 1
        else:
            self._queue.append(text)

    def take(self) -> list[str]:
        """Return what waits, with a `lag` behind it where something was dropped."""
        texts = [*self._queue]
        self._queue.clear()
        if self._missed:
            texts.append(as_text(None, "lag", {"missed": self._missed}))
            self._missed = 0
        return texts


class Feed:
    """See the module's first line."""

    def __init__(self, run: str) -> None:
        """Begin to number the events of a run; `run` is part of each number."""
        self.run = run
        self.listeners: set[Listener] = set()
        self._kept: deque[tuple[int, str]] = deque(maxlen=KEPT_MAX)
        self._count = 0

    def add(self, kind: str, content: dict[str, Any]) -> None:
        """Number an event, keep it, and give it to all who listen."""
        self._count += 1
        text = as_text(self.last_id, kind, content)
        self._kept.append((self._count, text))
        for listener in self.listeners:
            listener.put(text)

    def pass_on(self, results: Iterable[tuple[str, str]]) -> None:
        """Give results, by node and as JSON, to who wants them; they have no number, and are not kept."""
        for node, line in results:
            text = f"event: result\ndata: {line}\n\n"
            for listener in self.listeners:
                if listener.results in (node, ALL_RESULTS):
                    listener.put(text)

    @property
    def wanted(self) -> frozenset[str]:
        """The nodes whose results somebody wants; with `all` in it: all of them."""
        return frozenset(listener.results for listener in self.listeners if listener.results)

    @property
    def last_id(self) -> str:
        """Number of the last event."""
        return f"{self.run}-{self._count}"

    def since(self, last_id: str) -> list[str] | None:
        """Return the events after one; None: they are not kept any more, or it is of another run."""
        match = _ID.match(last_id)
        if match is None or match[1] != self.run:
            return None
        number, first = int(match[2]), self._kept[0][0] if self._kept else self._count + 1
        if not first - 1 <= number <= self._count:
            return None
        return [text for count, text in self._kept if count > number]


def as_text(id_: str | None, kind: str, content: Any) -> str:
    """Write an event as it goes over the wire."""
    head = "" if id_ is None else f"id: {id_}\n"
    return f"{head}event: {kind}\ndata: {json.dumps(content)}\n\n"
