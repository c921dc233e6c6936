"""The meaning, range and default of a node's keys in words, read from `options`, for `--help`."""

from __future__ import annotations

import ast
import inspect
import sys
import typing
from dataclasses import MISSING, Field, fields, is_dataclass
from itertools import pairwise
from typing import Annotated, Any

from annotated_types import Ge, Le

from detektr.config.suggestions import literals
from detektr.registry.node_kinds import NodeKind

CHOICES_MAX = 9  # more of them are found in the documentation


def describe_keys(kind: NodeKind, *, is_alone: bool) -> dict[str, str]:
    """Return a paragraph for each key: what it means, what it takes where that is a range or choice, and its default.

    Args:
        kind: of the node.
        is_alone: whether the node is started by itself, without a file.
    Returns:
        By the name of the field, as `high_water_mark` or `with_`.
    """
    hints = typing.get_type_hints(kind.options, include_extras=True)
    texts = _docstrings(kind.options)
    described = {}
    for field in fields(kind.options):
        default = _default(field)
        if is_alone:
            default = kind.defaults_alone.get(field.name, default)
        notes = [_range(hints[field.name]), "" if default in (None, False) else f"default: {default}"]
        told = "; ".join(filter(None, notes))
        described[field.name] = " ".join(texts.get(field.name, "").split()) + (f" [{told}]" if told else "")
    return described


def plain_type(annotation: Any) -> type:
    """Return what a key is on a command line: bool, int, float, str, or list for one that may be given repeatedly."""
    if typing.get_origin(annotation) is Annotated:
        return plain_type(typing.get_args(annotation)[0])
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    if any(typing.get_origin(part) is list for part in parts):
        return list
    if len(parts) == 1:
        return plain_type(parts[0])
    return annotation if annotation in (bool, int, float) else str


def _default(field: Field[Any]) -> Any:
    return None if field.default is MISSING else field.default


def _range(annotation: Any) -> str:
    choices = literals(annotation)
    if 0 < len(choices) <= CHOICES_MAX:
        return ", ".join(choices)
    for part in (annotation, *typing.get_args(annotation)):
        notes = typing.get_args(part) if typing.get_origin(part) is Annotated else ()
        ends = [
            *(note.ge for note in notes if isinstance(note, Ge)),
            *(note.le for note in notes if isinstance(note, Le)),
        ]
        if len(ends) == 2:
            return f"{ends[0]} to {ends[1]}"
    return ""


def _docstrings(options: type) -> dict[str, str]:
    """Return the text below each field of a dataclass and of what it derives from."""
    found: dict[str, str] = {}
    tree = ast.parse(inspect.getsource(sys.modules[options.__module__]))
    bodies = {one.name: one.body for one in tree.body if isinstance(one, ast.ClassDef)}
    for base in reversed([one for one in options.__mro__ if is_dataclass(one)]):
        for statement, below in pairwise(bodies.get(base.__name__, [])):
            match statement, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=text)):
                    found[name] = str(text)
    return found
