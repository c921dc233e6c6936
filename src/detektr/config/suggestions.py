"""Puts the values of a type annotation into words; lists and matches choices. Pure."""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from detektr.options import Text


def nearest(word: str, choices: Iterable[str]) -> str | None:
    """Return the choice that looks most like a word; None where none does."""
    lowered = {choice.lower(): choice for choice in choices}
    for choice in lowered:
        if len(word) < 64 and sorted(choice) == sorted(word.lower()):  # two letters changed places: rstp
            return lowered[choice]
    found = difflib.get_close_matches(word[:64].lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else None


def listed(choices: Iterable[str]) -> str:
    """Return choices as a sentence has them: `a, b or c`."""
    names = list(choices)
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}" if names else "nothing"


def _parts(annotation: Any) -> tuple[Any, ...]:
    """Return the members of a union without None, or the annotation itself."""
    if typing.get_origin(annotation) in (types.UnionType, typing.Union):
        return tuple(part for part in typing.get_args(annotation) if part is not types.NoneType)
    return (annotation,)


def plain_types(annotation: Any) -> set[Any]:
    """Return what a key takes, as str, int, float, bool or a container; a choice of words is a str."""
    plain = {typing.get_args(part)[0] if typing.get_origin(part) is Annotated else part for part in _parts(annotation)}
    return {str if typing.get_origin(part) is Literal else part for part in plain}


def section_of(annotation: Any) -> type | None:
    """Return the dataclass that a key takes as a mapping, whether it may be left empty or not; None: it takes none."""
    parts = _parts(annotation)
    is_section = len(parts) == 1 and isinstance(parts[0], type) and dataclasses.is_dataclass(parts[0])
    return parts[0] if is_section else None


def literals(annotation: Any) -> list[str]:
    """Return the words that a key may be; empty where it takes more than that."""
    choices: list[str] = []
    for part in _parts(annotation):
        if typing.get_origin(part) is Literal:
            choices += typing.get_args(part)
        elif typing.get_origin(part) is Annotated:
            choices += (
                choice for note in typing.get_args(part)[1:] if isinstance(note, Text) for choice in note.choices
            )
    return choices


def item_type(annotation: Any) -> Any:
    """Return what the items are of a key that takes a list; text where it takes none."""
    lists = (part for part in _parts(annotation) if typing.get_origin(part) is list)
    return next((typing.get_args(part)[0] for part in lists), str)


def words_of(annotation: Any) -> str:
    """Say what a key takes."""
    parts = _parts(annotation)
    return listed("a list of them" if _is_list_of(part, parts) else _part_words(part) for part in parts)


def _is_list_of(part: Any, others: tuple[Any, ...]) -> bool:
    return typing.get_origin(part) is list and all(one in others for one in _parts(typing.get_args(part)[0]))


def _part_words(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return listed(arguments)
    if origin is Annotated:
        text = next((note for note in arguments[1:] if isinstance(note, Text)), None)
        if text is not None:
            return text.words
        low = next(note.ge for note in arguments[1:] if isinstance(note, Ge))
        high = next(note.le for note in arguments[1:] if isinstance(note, Le))
        return f"{_part_words(arguments[0])} from {low} to {high}"
    if origin is list:
        return f"a list, each of it {words_of(arguments[0])}"
    plain = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return plain.get(annotation, "a mapping")


def key_of(name: str) -> str:
    """Return how a file writes a field's name."""
    return name.rstrip("_")
