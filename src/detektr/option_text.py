"""What the values of options may be: names, times, rates and choices, each with a pattern and its words. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from detektr.picture import ALIASES, FORMATS
from detektr.plugins import REFERENCE, SHORT_NAME

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
SECOND_NS = 1_000_000_000
DURATION_NS_MAX = 366 * 24 * 3600 * SECOND_NS  # far below what a 64-bit word and the kernel's timers can hold
STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}
_UNIT_NS = {"ms": 1_000_000, "s": SECOND_NS, "m": 60 * SECOND_NS, "h": 3600 * SECOND_NS}
_DURATION_PATTERN = r"[0-9]{1,9}(?:\.[0-9]{1,9})? ?(?:ms|s|m|h)"
_DURATION = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(ms|s|m|h)\s*")


@dataclass(frozen=True)
class Text:
    """What a text must look like: for the validator, for editors (a pattern) and for people (words)."""

    pattern: str
    words: str
    choices: tuple[str, ...] = ()
    """All texts that there are, where they are few."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Add the pattern to the schema of a text; pydantic asks for this by name, so it need not be imported."""
        return {**handler(source), "pattern": self.pattern}


WhenFull = Literal["drop-oldest", "drop-newest", "block"]
Lane = Literal["zmq", "shm"]
Name = Annotated[str, Text(NAME_PATTERN, "a name (a letter, then at most 31 letters, digits, _ or -)")]
Duration = Annotated[str, Text(rf"^{_DURATION_PATTERN}$", "a time such as 500ms, 10s, 2m or 1h")]
Pauses = Annotated[
    str, Text(rf"^{_DURATION_PATTERN}\.\.{_DURATION_PATTERN}$", "a first and a longest pause such as 1s..60s")
]
Rate = Annotated[str, Text(rf"^[0-9]{{1,4}} in {_DURATION_PATTERN}$", "a count and a time such as 5 in 10m")]
_FORMATS = (*FORMATS, *ALIASES)
PixelFormatName = Annotated[
    str,
    Text(f"^({'|'.join(_FORMATS)})$", "FFmpeg's name of a pixel format such as yuv420p or bgr24", choices=_FORMATS),
]
VideoStreamChoice = Annotated[
    str, Text(r"^(best|[1-9][0-9]{0,4}p|[1-9][0-9]{0,6}k|#[0-9]{1,3})$", "best, a height such as 720p, 1500k, or #1")
]
EnvName = Annotated[
    str, Text(r"^[A-Za-z_][A-Za-z0-9_]{0,254}$", "a name of A-Z, a-z, 0-9 and _ that begins with no digit")
]
CPU_MAX = 8191  # the most that Linux can be built for
Reference = Annotated[
    str,
    Text(
        rf"^({REFERENCE}|{SHORT_NAME})$",
        "a module and what is in it such as my.module:MyClass, or a short name such as motion",
    ),
]


class OptionError(ValueError):
    """A value that its kind allows, and the option does not."""

    def __init__(self, name: str, value: object, expected: str, example: str) -> None:
        """Say which option it is, its value, what is expected, and an example of that."""
        super().__init__(f"{name} {value!r} must be {expected}; e.g. {example}")
        self.name, self.expected = name, expected


def duration_ns(text: str) -> int:
    """Read a duration such as `500ms`, `10s`, `2m` or `1h`.

    Args:
        text: a number with a unit out of ms, s, m, h.
    Returns:
        Nanoseconds, 0 or more.
    Raises:
        ValueError: the text is not a number with a unit, or is longer than a year.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration; write a number with a unit out of ms, s, m, h, e.g. 500ms")
    span_ns = round(float(match.group(1)) * _UNIT_NS[match.group(2)])
    if span_ns > DURATION_NS_MAX:
        raise ValueError(f"{text!r} is longer than a year; leave the key out, or write a shorter time, e.g. 24h")
    return span_ns


def option_ns(name: str, text: str) -> int:
    """Read the duration that an option has, in nanoseconds.

    Raises:
        OptionError: it is longer than a year, or no duration.
    """
    try:
        return duration_ns(text)
    except ValueError:
        raise OptionError(name, text, "a duration of at most a year", "24h") from None


def pauses_ns(name: str, text: str) -> tuple[int, int]:
    """Read a first and a longest pause such as `1s..60s`, in nanoseconds.

    Raises:
        OptionError: it is none, or the second is shorter than the first.
    """
    first, dots, longest = text.partition("..")
    if not dots:
        raise OptionError(name, text, "first..longest", "1s..60s")
    pauses = option_ns(name, first), option_ns(name, longest)
    if not 0 < pauses[0] <= pauses[1]:
        raise OptionError(name, text, "a growing range above nothing", "1s..60s")
    return pauses
