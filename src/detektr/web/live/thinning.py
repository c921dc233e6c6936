"""Thins results for whoever watches: of each node and camera those of the newest frame, so often a second. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KEYS_MAX = 1024  # nodes times cameras
EVENTS_MAX = 64  # of one frame


@dataclass
class _Pending:
    """The results of one node about one camera."""

    told_ns: int = 0
    frame: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    skipped: int = 0


class Thinner:
    """See the module's first line."""

    def __init__(self, each_ns: int) -> None:
        """Let the results of one frame through each `each_ns`, for each node and camera."""
        self._each_ns = each_ns
        self._pending: dict[tuple[str, str], _Pending] = {}

    def put(self, event: dict[str, Any]) -> None:
        """Take a result; those of an older frame that wait are skipped for it, and counted."""
        key = str(event.get("node", "")), str(event.get("camera", ""))
        one = self._pending.pop(key, None) or _Pending()
        self._pending[key] = one  # the one that was changed last is the last
        while len(self._pending) > KEYS_MAX:
            del self._pending[next(iter(self._pending))]
        frame = str(event.get("frame", ""))
        if frame != one.frame:
            one.skipped += bool(one.events)
            one.frame, one.events = frame, []
        if len(one.events) < EVENTS_MAX:
            one.events.append(event)

    def due_ns(self) -> int | None:
        """Return the time at which something is to be taken; None: nothing waits."""
        return min((one.told_ns + self._each_ns for one in self._pending.values() if one.events), default=None)

    def take(self, now_ns: int) -> list[dict[str, Any]]:
        """Return the results whose time has come, each with `skipped`: frames before it whose results were left out."""
        found: list[dict[str, Any]] = []
        for one in self._pending.values():
            if one.events and now_ns - one.told_ns >= self._each_ns:
                found += [event | {"skipped": one.skipped} for event in one.events]
                one.told_ns, one.events, one.skipped = now_ns, [], 0
        return found
