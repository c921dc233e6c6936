"""Times as a user writes them: of the day, with a date, or so long ago. Pure."""

from __future__ import annotations

import datetime

from detektr.errors import DetektrError
from detektr.quantity import duration_ns


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
