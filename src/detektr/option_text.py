"""What the values of options may be: names, times, rates and choices, each with a pattern and its words. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from detektr.picture import ALIASES, FORMATS
from detektr.plugins import REFERENCE, SHORT_NAME
from detektr.quantity import DURATION_PATTERN, SIZE_PATTERN, duration_ns, size_bytes

NAME_PATTERN = r"^[A-Za-z][A-Za-z0-9_-]{0,31}$"
STRICT: dict[str, Any] = {"extra": "forbid", "use_attribute_docstrings": True}


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
POLICIES: tuple[WhenFull, ...] = get_args(WhenFull)
Lane = Literal["zmq", "shm"]
Name = Annotated[str, Text(NAME_PATTERN, "a name (a letter, then at most 31 letters, digits, _ or -)")]
Duration = Annotated[str, Text(rf"^{DURATION_PATTERN}$", "a time such as 500ms, 10s, 2m or 1h")]
Size = Annotated[str, Text(rf"^{SIZE_PATTERN}$", "a size such as 64MiB or 1GiB")]
Pauses = Annotated[
    str, Text(rf"^{DURATION_PATTERN}\.\.{DURATION_PATTERN}$", "a first and a longest pause such as 1s..60s")
]
Rate = Annotated[str, Text(rf"^[0-9]{{1,4}} in {DURATION_PATTERN}$", "a count and a time such as 5 in 10m")]
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


def size_of(name: str, text: str, least: str, most: str) -> int:
    """Read a size that an option has, in bytes.

    Raises:
        OptionError: it is none, or is not between the sizes `least` and `most`.
    """
    try:
        nbytes = size_bytes(text)
    except ValueError:
        nbytes = 0
    if not size_bytes(least) <= nbytes <= size_bytes(most):
        raise OptionError(name, text, f"a size from {least} to {most}", "256MiB")
    return nbytes
