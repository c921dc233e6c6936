"""Reports the outcomes of frames as events, and saves dead letters."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from detektr.edge.edge import Edge
from detektr.edge.edge_options import FrameOutcome, OutcomeKind
from detektr.edge.frame_trail import EdgeTrail, FrameTrail
from detektr.errors import DetektrError
from detektr.events import FrameDeadLettered, FrameRedelivered, ResultRefused, RunEvent
from detektr.process.fault_text import fault_text

_log = logging.getLogger(__name__)


class OutcomeReporter:
    """Reports the outcomes of one producer's edges."""

    def __init__(
        self,
        producer: str,
        report: Callable[[RunEvent], None],
        identify: Callable[[bytes], str],
        save_dead_letter: Callable[[str, FrameOutcome], str],
        trail: FrameTrail | None = None,
        *,
        are_events: bool = False,
    ) -> None:
        """See `EdgePublisher` for what the functions do.

        Args:
            producer: the process.
            report: takes events: about all outcomes but drops, of which the trail has each.
            identify: returns the id of the frame that a payload is about.
            save_dead_letter: returns where.
            trail: of the process; None: nobody wants to know of single frames.
            are_events: its edges carry events.
        """
        self._producer, self._trail, self._are_events = producer, trail, are_events
        self._report, self._identify, self._save_dead_letter = report, identify, save_dead_letter
        self._dead_letters = 0
        self._saved: dict[str, deque[str]] = {}  # by consumer: where those are that were not reported yet

    def keeper(self, consumer: str) -> Callable[[FrameOutcome], None]:
        """Return what saves the dead letters of a new edge, before the edge counts them; `report` tells where."""
        places = self._saved[consumer] = deque[str]()

        def keep(outcome: FrameOutcome) -> None:
            try:
                places.append(self._save_dead_letter(consumer, outcome))
            except (OSError, DetektrError, ValueError) as fault:  # a full disk must not stop the frames that are well
                places.append(f"nowhere: {fault_text(fault)}")

        return keep

    def trail_of(self, consumer: str) -> EdgeTrail | None:
        """Return what takes the life of each frame on a new edge."""
        return None if self._trail is None else self._trail.of_edge(consumer, are_events=self._are_events)

    def forget(self, edge: Edge) -> None:
        """Let go of an edge that is no more."""
        if edge.trail is not None:
            edge.trail.leave()

    def report(self, edge: Edge) -> None:
        """Report the outcomes of frames on this edge since the last call."""
        for outcome in edge.take_outcomes():
            if outcome.kind is OutcomeKind.DROPPED:
                continue
            self._report(self._event(edge.consumer, outcome))

    def _event(self, consumer: str, outcome: FrameOutcome) -> RunEvent:
        name = self._producer
        frame = self._identify(outcome.payload) if outcome.payload else ""
        if outcome.kind is OutcomeKind.REFUSED:
            return ResultRefused(name, consumer, frame, outcome.sequence)
        if outcome.kind is OutcomeKind.REDELIVERED:
            return FrameRedelivered(
                name, consumer, frame, outcome.sequence, outcome.attempts, _last_line(outcome.reason)
            )
        saved = self._saved[consumer].popleft()  # they are reported in the order in which they were saved
        self._dead_letters += 1
        if self._dead_letters.bit_count() == 1:  # 1, 2, 4, 8, ...: a fault on every frame must not drown the others
            last = _last_line(outcome.reason)
            told = frame, consumer, outcome.attempts, last, saved, self._dead_letters
            _log.error("%s: %s gave it up at delivery %d (%s); saved: %s; %d so far", *told)
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
    return f"{edge.queued} frames wait for consumers that hang: {hanging}; `detektr stacks` says where"
