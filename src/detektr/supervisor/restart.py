"""Decides whether an ended process is started again after a pause, or given up. Pure: time and chance come in."""

from __future__ import annotations

import signal
from collections import deque
from dataclasses import dataclass
from typing import Literal

from detektr.options import RestartOptions

ExitKind = Literal["clean", "failure"]
JITTER_SHARE = 0.25  # a pause is up to this much shorter or longer, so that what fell together does not rise together
_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "out of memory?",
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error: shared memory full or a mapped file cut short?",
    signal.SIGABRT: "aborted by its own code",
    signal.SIGFPE: "arithmetic fault",
    signal.SIGILL: "illegal instruction: built for another processor?",
    signal.SIGTERM: "somebody asked it to end",
}


@dataclass(frozen=True)
class Verdict:
    """The decision on an ended process: start it at `restart_at_ns`, or give it up (None); `why` in words."""

    restart_at_ns: int | None
    why: str


class RestartPolicy:
    """Decides for one process. After a life as long as the longest pause, pauses begin anew."""

    def __init__(self, options: RestartOptions) -> None:
        """Begin without a failure."""
        self._options = options
        self._first_ns, self._longest_ns = options.backoff_ns
        self._limit, self._within_ns = options.limit_count_ns
        self._failures: deque[int] = deque(maxlen=self._limit + 1)
        self._in_a_row = 0

    def judge(self, ending: ExitKind, ready_ns: int | None, now_ns: int, chance: float) -> Verdict:
        """Decide after a process ended before the node's work did.

        A clean end (exit 0, as after a SIGTERM by hand) leaves the pipeline without its node, so it is followed by a
        restart too, unless the file says `never`: at once and uncounted after a good life, else as after a failure.

        Args:
            ending: how the process ended.
            ready_ns: since when it was ready, monotonic; None: it never was.
            now_ns: now, monotonic.
            chance: 0 to 1, at random; spreads the pause.
        """
        if self._options.when == "never":
            return Verdict(None, "not restarted, as its `restart` says never")
        was_good = ready_ns is not None and now_ns - ready_ns >= self._longest_ns
        if was_good:
            self._in_a_row = 0
            if ending == "clean":
                return Verdict(now_ns, "restarted at once")
        self._failures.append(now_ns)
        recent = sum(1 for failed_ns in self._failures if now_ns - failed_ns <= self._within_ns)
        if recent > self._limit and self._options.when != "always":
            return Verdict(None, f"given up after {recent} failures (its `restart` allows {self._options.limit})")
        pause_ns = min(self._longest_ns, self._first_ns << min(self._in_a_row, 62))
        pause_ns = min(self._longest_ns, round(pause_ns * (1 + JITTER_SHARE * (2 * chance - 1))))
        self._in_a_row += 1
        return Verdict(now_ns + pause_ns, f"restart in {pause_ns / 1e9:.1f} s ({recent} of {self._limit} failures)")


def describe_exit(status: int) -> str:
    """Say in words how a process ended.

    Args:
        status: exit code; or the signal's number, negative, as `subprocess` has it.
    """
    if status >= 0:
        return f"exited with {status}"
    hint = _SIGNALS.get(-status, "")
    return f"killed by signal {-status}{f' ({hint})' if hint else ''}"
