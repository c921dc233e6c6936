"""Decides the pause before a live source is tried again. No clock: the history comes in, a pause goes out."""

from __future__ import annotations

from dataclasses import dataclass

from detektr.options import SECOND_NS

REFUSALS = ("unauthorized", "forbidden", "not_found", "tls_failed")  # answers that a quick repetition does not change
JITTER = 0.2  # so that cameras behind one switch do not all come at once


@dataclass
class Reconnect:
    """Pauses between tries: doubling, never ending, short again once pictures have come for a good while."""

    first_ns: int = SECOND_NS
    longest_ns: int = 60 * SECOND_NS
    refused_ns: int = 30 * SECOND_NS
    """The least after a refusal: cameras lock accounts out that fail too often."""
    good_after_ns: int = 30 * SECOND_NS
    """Pictures for this long, and the next pause is the first again."""
    _next_ns: int = 0

    def pause_ns(self, state: str, good_ns: int, chance: float) -> int:
        """Return how long to wait, in nanoseconds.

        Args:
            state: of the `SourceError` that ended the last try.
            good_ns: for how long pictures came in it.
            chance: 0 to 1, from a source of randomness.
        """
        if not self._next_ns or good_ns > self.good_after_ns:
            self._next_ns = self.first_ns
        pause_ns = self._next_ns
        self._next_ns = min(2 * pause_ns, self.longest_ns)
        pause_ns = round(pause_ns * (1 - JITTER + 2 * JITTER * chance))
        return max(pause_ns, self.refused_ns) if state in REFUSALS else pause_ns
