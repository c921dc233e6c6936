"""Decides when a sink tries an event again, and when it gives the event up. Pure: time and chance come in."""

from __future__ import annotations

from dataclasses import dataclass

from detektr.options import RetryOptions

JITTER = 0.2  # so that sinks that were refused together do not all come back together
_DOUBLINGS_MAX = 62


@dataclass(frozen=True, kw_only=True)
class Outage:
    """What is known while the events of one input cannot be written: from a first failure to the next success."""

    since_ns: int
    """Monotonic time of the first failure."""
    failures: int
    """Failures since then, of all events."""
    key: int
    """Stream key of the event that was tried last ..."""
    sequence: int
    """... and its sequence."""
    tries: int
    """Failed tries at that event."""
    first: str
    """The first failure of that event, in one line."""
    last: str
    """The last failure, in one line."""
    due_ns: int
    """Monotonic time at which that event is tried again."""

    def is_about(self, key: int, sequence: int) -> bool:
        """Whether an event is the one that was tried last."""
        return (self.key, self.sequence) == (key, sequence)


def after_failure(
    outage: Outage | None,
    options: RetryOptions,
    *,
    key: int,
    sequence: int,
    captured_ns: int,
    what: str,
    now_ns: int,
    chance: float,
    is_hasty: bool = False,
) -> tuple[Outage, bool]:
    """Return what is known after another failure, and whether the event is to be given up.

    An event has waited since it came or, where the sink was well then, since the first failure. So events that come
    during a long outage are given up one after the other, each when it has waited for the whole time.

    Args:
        outage: known before; None: all was well.
        options: the pauses, and how long an event may wait.
        key: the event's stream key ...
        sequence: ... and sequence.
        captured_ns: monotonic time of the capture of its frame.
        what: the failure in one line.
        now_ns: the monotonic time.
        chance: 0 to 1, at random; spreads the pause.
        is_hasty: the run ends soon, so that each pause is the first.
    """
    is_same = outage is not None and outage.is_about(key, sequence)
    since_ns, failures, tries, first = now_ns, 1, 1, what
    if outage is not None:
        since_ns, failures = outage.since_ns, outage.failures + 1
        if is_same:
            tries, first = outage.tries + 1, outage.first
    first_ns, longest_ns = options.backoff_ns
    pause_ns = first_ns if is_hasty else min(longest_ns, first_ns << min(failures - 1, _DOUBLINGS_MAX))
    pause_ns = min(longest_ns, round(pause_ns * (1 - JITTER + 2 * JITTER * chance)))
    over_ns = max(since_ns, captured_ns) + options.for_ns
    due_ns = min(now_ns + pause_ns, over_ns)
    known = Outage(
        since_ns=since_ns,
        failures=failures,
        key=key,
        sequence=sequence,
        tries=tries,
        first=first,
        last=what,
        due_ns=due_ns,
    )
    return known, now_ns >= over_ns


def given_up_words(outage: Outage, options: RetryOptions, traceback: str) -> str:
    """Say why an event was given up: its first failure, the traceback of the last one, and a line that sums it up.

    Args:
        outage: after the last failure.
        options: how long an event may wait.
        traceback: of the last failure.
    """
    tries = f"{outage.tries} tries" if outage.tries > 1 else "1 try"
    return (
        f"first failure: {outage.first}\n{traceback.rstrip()}\n"
        f"{outage.last}; given up after {tries}, as it had waited for {options.for_} (`for` of `retry`)"
    )
