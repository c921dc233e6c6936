"""What became of frames, told: facts of an edge become events, and what nobody could work on is kept."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from detektr.edge.edge import Edge
from detektr.edge.edge_options import Fact
from detektr.errors import DetektrError
from detektr.events import Event, FrameDeadLettered, FrameDropped, FrameRedelivered, ResultRefused

LETTERS_MAX = 10  # dead letters ...
LETTERS_NS = 10_000_000_000  # ... within this time
_log = logging.getLogger(__name__)


class Account:
    """Tells the facts of one producer's edges."""

    def __init__(
        self,
        producer: str,
        report: Callable[[Event], None],
        identify: Callable[[bytes], str],
        save_letter: Callable[[bytes, str], str],
    ) -> None:
        """See `Outlet` for what the functions do."""
        self._producer = producer
        self._report, self._identify, self._save_letter = report, identify, save_letter
        self._letters = 0
        self._saved_ns: deque[int] = deque()

    def tell(self, edge: Edge) -> None:
        """Report what became of frames on this edge since the last call."""
        facts, edge.facts = edge.facts, []
        for fact in facts:
            self._report(self._event(edge.consumer, fact))

    def _may_save(self, now_ns: int) -> bool:
        """Whether one more letter may be written: a fault on every frame must not turn into a storm on the disk."""
        while self._saved_ns and now_ns - self._saved_ns[0] > LETTERS_NS:
            self._saved_ns.popleft()
        if len(self._saved_ns) >= LETTERS_MAX:
            return False
        self._saved_ns.append(now_ns)
        return True

    def _event(self, consumer: str, fact: Fact) -> Event:
        name = self._producer
        frame = self._identify(fact.payload) if fact.payload else ""
        if fact.what == "dropped":
            return FrameDropped(name, consumer, frame, fact.sequence, fact.reason, fact.frames)
        if fact.what == "refused":
            return ResultRefused(name, consumer, frame, fact.sequence)
        if fact.what == "redelivered":
            return FrameRedelivered(name, consumer, frame, fact.sequence, fact.attempts, _last_line(fact.reason))
        try:
            is_storm = not self._may_save(time.monotonic_ns())
            saved = "nowhere: too many at once" if is_storm else self._save_letter(fact.payload, fact.reason)
        except (OSError, DetektrError) as fault:  # a full disk must not stop the frames that are well
            saved = f"nowhere: {fault}"
        self._letters += 1
        if self._letters.bit_count() == 1:  # 1, 2, 4, 8, ...: a fault on every frame must not drown the others
            last = _last_line(fact.reason)
            tries, all_ = fact.attempts, self._letters
            _log.error(
                "%s: %s gave up after %d attempts (%s); saved: %s; %d so far", frame, consumer, tries, last, saved, all_
            )
        return FrameDeadLettered(name, consumer, frame, fact.sequence, fact.reason, saved)


def _last_line(reason: str) -> str:
    """Return the last line of a traceback, which says what was raised; empty where the reason is blank."""
    lines = reason.strip().splitlines()
    return lines[-1] if lines else ""
