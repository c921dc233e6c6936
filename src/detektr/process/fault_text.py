"""Puts any fault into words: an exception's text may raise, be no text, have no end or not be UTF-8."""

from __future__ import annotations

import traceback
from pathlib import Path

TEXT_CHARS_MAX = 8000


def fault_text(fault: BaseException) -> str:
    """Return what an exception says; where it cannot say it, its arguments, or why there is no text.

    Returns:
        Plain text that can be sent and written: at most `TEXT_CHARS_MAX` characters, all of which UTF-8 has.
    """
    try:
        text = str(fault)
    except BaseException as second:  # of the user's __str__, sys.exit() too: it must not end what tells of it
        return f"<its text cannot be had: __str__ raised {type(second).__name__}>"
    return _plain(text)


def shown(item: object, chars_max: int = 60) -> str:
    """Return how an object shows itself, in short; where it cannot, what it is."""
    try:
        return _plain(repr(item), chars_max)
    except BaseException as fault:  # of the user's __repr__
        return f"<a {type(item).__name__} whose __repr__ raised {type(fault).__name__}>"


def fault_line(fault: BaseException) -> str:
    """Say in one line what an exception was and where it came from: `ValueError: text (file.py:12)`."""
    text = " ".join(fault_text(fault).split())
    place = fault_place(fault)
    return f"{type(fault).__name__}{': ' if text else ''}{text}{f' ({place})' if place else ''}"


def fault_place(fault: BaseException) -> str:
    """Return where an exception was raised, as `file.py:12`; empty where that is not known."""
    frames = traceback.extract_tb(fault.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def fault_traceback(fault: BaseException) -> str:
    """Return the traceback of an exception, with those that it came from as far as they can be told."""
    try:
        lines = traceback.format_exception(fault)
    except BaseException:  # the user's class: notes, causes and names of the wrong kind
        lines = ["Traceback (most recent call last):\n", *traceback.format_tb(fault.__traceback__)]
        lines.append(f"{type(fault).__name__}: {fault_text(fault)}\n")
    return _plain("".join(lines), None)


def _plain(text: str, chars_max: int | None = TEXT_CHARS_MAX) -> str:
    """Return plain text of what may be a class derived from it, with what UTF-8 lacks written out."""
    whole = str.__getitem__(text, slice(chars_max))
    return str.encode(whole, "utf-8", "backslashreplace").decode()
