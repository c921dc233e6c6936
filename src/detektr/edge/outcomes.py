"""Reports the outcomes of frames as events, and saves dead letters."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from detektr.edge.edge import Edge
from detektr.edge.edge_options import FrameOutcome, OutcomeKind
from detektr.errors import DetektrError
from detektr.events import FrameDeadLettered, FrameDropped, FrameRedelivered, ResultRefused, RunEvent
from detektr.process.fault_text import fault_text

SAVED_MAX = 10  # dead letters are saved at most ...
SAVED_WITHIN_NS = 10_000_000_000  # ... within this time
_log = logging.getLogger(__name__)


class OutcomeReporter:
    """Reports the outcomes of one producer's edges."""

    def __init__(
        self,
        producer: str,
        report: Callable[[RunEvent], None],
        identify: Callable[[bytes], str],
        save_dead_letter: Callable[[bytes, str], str],
    ) -> None:
        """See `EdgePublisher` for what the functions do."""
        self._producer = producer
        self._report, self._identify, self._save_dead_letter = report, identify, save_dead_letter
        self._dead_letters = 0
        self._saved_ns: deque[int] = deque()

    def report(self, edge: Edge) -> None:
        """Report the outcomes of frames on this edge since the last call."""
        for outcome in edge.take_outcomes():
            self._report(self._event(edge.consumer, outcome))

    def _may_save(self, now_ns: int) -> bool:
        """Whether one more dead letter may be written: a fault on every frame must not flood the disk."""
        while self._saved_ns and now_ns - self._saved_ns[0] > SAVED_WITHIN_NS:
            self._saved_ns.popleft()
        if len(self._saved_ns) >= SAVED_MAX:
            return False
        self._saved_ns.append(now_ns)
        return True

    def _event(self, consumer: str, outcome: FrameOutcome) -> RunEvent:
        name = self._producer
        frame = self._identify(outcome.payload) if outcome.payload else ""
        if outcome.kind is OutcomeKind.DROPPED:
            return FrameDropped(name, consumer, frame, outcome.sequence, outcome.reason, outcome.frames)
        if outcome.kind is OutcomeKind.REFUSED:
            return ResultRefused(name, consumer, frame, outcome.sequence)
        if outcome.kind is OutcomeKind.REDELIVERED:
            return FrameRedelivered(
                name, consumer, frame, outcome.sequence, outcome.attempts, _last_line(outcome.reason)
            )
        try:
            is_storm = not self._may_save(time.monotonic_ns())
            saved = "nowhere: too many at once" if is_storm else self._save_dead_letter(outcome.payload, outcome.reason)
        except (OSError, DetektrError) as fault:  # a full disk must not stop the frames that are well
            saved = f"nowhere: {fault_text(fault)}"
        self._dead_letters += 1
        if self._dead_letters.bit_count() == 1:  # 1, 2, 4, 8, ...: a fault on every frame must not drown the others
            last = _last_line(outcome.reason)
            tries, all_ = outcome.attempts, self._dead_letters
            _log.error(
                "%s: %s gave up after %d attempts (%s); saved: %s; %d so far", frame, consumer, tries, last, saved, all_
            )
        return FrameDeadLettered(name, consumer, frame, outcome.sequence, outcome.reason, saved)


def _last_line(reason: str) -> str:
    """Return the last line of a traceback, which says what was raised; empty where the reason is blank."""
    lines = reason.strip().splitlines()
    return lines[-1] if lines else ""


def stall_words(edge: Edge, now_ns: int) -> str:
    """Say how many frames wait, and for whom."""
    hanging = ", ".join(
        f"{name} (no progress for {(now_ns - since_ns) / 1e9:.1f} s)" for name, since_ns in edge.hanging
    )
    absent = ", ".join(f"{edge.consumer}.{number}" for number in edge.absent_owners() if number >= 0)
    if absent and not hanging:
        return f"{edge.queued} frames are queued, some for cameras of {absent}, which takes none"
    if not hanging:
        return f"{edge.queued} frames are queued, and no consumer takes them"
    return f"{edge.queued} frames wait for consumers that hang: {hanging}; `detektr pipeline stacks` says where"
