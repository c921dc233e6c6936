"""Durations and sizes as a pipeline file writes them (`500ms`, `64MiB`), and what they come to."""

from __future__ import annotations

import re

SECOND_NS = 1_000_000_000
DURATION_NS_MAX = 366 * 24 * 3600 * SECOND_NS  # far below what a 64-bit word and the kernel's timers can hold
DURATION_PATTERN = r"[0-9]{1,9}(?:\.[0-9]{1,9})? ?(?:ms|s|m|h)"
SIZE_PATTERN = r"[1-9][0-9]{0,5}(?:\.[0-9]{1,3})? ?(?:KiB|MiB|GiB|kB|MB|GB)"
_UNIT_NS = {"ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS}
_UNIT_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_NUMBER_AND_UNIT = re.compile(r"([0-9.]+) ?([A-Za-z]+)")


def duration_ns(text: str) -> int:
    """Read a duration such as `500ms`, `10s`, `2m` or `1h`.

    Args:
        text: a number with a unit out of ms, s, m, h.
    Returns:
        Nanoseconds, 0 or more.
    Raises:
        ValueError: the text is not a number with a unit, or is longer than a year.
    """
    if re.fullmatch(DURATION_PATTERN, text.strip()) is None:
        raise ValueError(f"{text!r} is not a duration; write a number with a unit out of ms, s, m, h, e.g. 500ms")
    number, unit = _parts(text)
    span_ns = round(number * _UNIT_NS[unit])
    if span_ns > DURATION_NS_MAX:
        raise ValueError(f"{text!r} is longer than a year; leave the key out, or write a shorter time, e.g. 24h")
    return span_ns


def size_bytes(text: str) -> int:
    """Read a size such as `64MiB` or `1.5GiB`.

    Args:
        text: a number with a unit out of KiB, MiB, GiB (powers of 1024) and kB, MB, GB (powers of 1000).
    Returns:
        Bytes, 1 or more.
    Raises:
        ValueError: the text is not a number with a unit.
    """
    if re.fullmatch(SIZE_PATTERN, text.strip()) is None:
        raise ValueError(f"{text!r} is not a size; write a number with a unit out of KiB, MiB, GiB, e.g. 64MiB")
    number, unit = _parts(text)
    return round(number * _UNIT_BYTES[unit])


def _parts(text: str) -> tuple[float, str]:
    """Return the number and the unit of a text that has both."""
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    assert match is not None, "its pattern was checked"
    return float(match.group(1)), match.group(2)
