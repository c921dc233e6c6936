"""Times as a user writes them: of the day, with a date, or so long ago. Pure."""

from __future__ import annotations

import datetime
from typing import Final

from detektr.errors import DetektrError
from detektr.quantity import duration_ns

DAY_S: Final = 86_400


def local_text(utc: str) -> str:
    """Return a time of the trail, UTC, as this machine's clock shows it, as `why` and the options write times."""
    return datetime.datetime.fromisoformat(utc).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:23]


def moment(text: str, option: str, now_s: float) -> float:
    """Return the time that a text means, UTC in seconds.

    Args:
        text: `14:03`, `14:03:20` (the last time that it was so), `2026-11-30T14:03`, or `10m ago` (also `10m`).
        option: whose value it is.
        now_s: the time now.
    Raises:
        DetektrError: it is no time.
    """
    now = datetime.datetime.fromtimestamp(now_s).astimezone()
    try:
        return now_s - duration_ns(text.removesuffix(" ago")) / 1e9
    except ValueError:
        pass
    words = text.strip().replace(" ", "T")
    try:
        if "T" in words or words.count("-") == 2:
            return datetime.datetime.fromisoformat(words).astimezone().timestamp()
        found = datetime.datetime.combine(now.date(), datetime.time.fromisoformat(words)).astimezone()
    except ValueError:
        raise DetektrError(
            f"{option} {text!r} is not a time; write 14:03, 14:03:20, 2026-11-30T14:03 or 10m ago"
        ) from None
    return (found - datetime.timedelta(days=1) if found > now else found).timestamp()


def span_of_time(since: str | None, until: str | None, now_s: float) -> tuple[float, float]:
    """Return begin and end of what `--since` and `--until` mean, UTC in seconds.

    An end that is still to come means now, also one without a day that would lie before the begin otherwise.

    Args:
        since: see `moment`; None: from the beginning on.
        until: likewise; None: until now.
        now_s: the time now.
    Raises:
        DetektrError: one of them is no time.
    """
    begin_s = 0.0 if since is None else moment(since, "--since", now_s)
    end_s = now_s if until is None else moment(until, "--until", now_s)
    return begin_s, now_s if end_s < begin_s < now_s < end_s + DAY_S else min(end_s, now_s)
