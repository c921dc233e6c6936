"""The texts of errors, read out of the sources: what is wrong, and what to do."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCES = Path(__file__).parents[2] / "src" / "detektr"
BLANK = "…"
"""Stands where a value is put in."""


class Message(NamedTuple):
    """One text that is raised."""

    module: str
    """Where, as `config.load`."""
    error: str
    arguments: tuple[str, ...]
    """The error's arguments as texts, a blank for each value; empty where it is no text."""


Names = dict[str, list[ast.expr]]
"""What each name is set to, from the top of its function to the end."""


def raised(*errors: str, below: str = "") -> Iterator[Message]:
    """Yield what is raised as one of these errors, in the order of files and lines.

    Args:
        errors: names of classes.
        below: only of this folder of the sources.
    """
    for path in sorted((SOURCES / below).rglob("*.py")):
        module = path.relative_to(SOURCES).with_suffix("")
        for name, texts in _calls(path):
            if name in errors:
                yield Message(".".join(module.parts), name, texts)


def purpose(module: str) -> str:
    """Return what a module is for: the first sentence of its docstring."""
    path = SOURCES / f"{module.replace('.', '/')}.py"
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    return " ".join(text.split("\n\n")[0].split()).rstrip(".")


def split(text: str) -> tuple[str, str]:
    """Return what is wrong and what to do of a message; the second is empty where the first says both."""
    wrong, _, rest = text.partition("; ")
    return wrong, rest


@functools.cache
def _calls(path: Path) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return each call in a file: the name of what is called, and its arguments as texts."""
    tree = ast.parse(path.read_text())
    names: dict[ast.AST, Names] = {}
    for scope in ast.walk(tree):  # from the outside in: the innermost function counts
        if isinstance(scope, ast.Module | ast.FunctionDef):
            here = _names(scope)
            names.update((node, here) for node in ast.walk(scope))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return tuple((_called(node), tuple(_text(one, names[node]) for one in node.args)) for node in calls)


def _called(node: ast.Call) -> str:
    """Return the name of what is called; of a method too."""
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _names(scope: ast.AST) -> Names:
    """Return what names are set to in a function, or at the top of a file."""
    found: Names = {}
    for node in scope.body if isinstance(scope, ast.Module) else ast.walk(scope):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            target = node.targets[0]
            if isinstance(target, ast.Name):
                found.setdefault(target.id, []).append(node.value)
            elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for one, value in zip(target.elts, node.value.elts, strict=False):
                    if isinstance(one, ast.Name):
                        found.setdefault(one.id, []).append(value)
    return found


def _text(node: ast.expr, names: Names, depth: int = 0) -> str:
    """Return an expression as a text with blanks."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part, names, depth) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _text(node.left, names, depth) + _text(node.right, names, depth)
    if isinstance(node, ast.FormattedValue):
        return _text(node.value, names, depth) if isinstance(node.value, ast.Name) else BLANK
    if isinstance(node, ast.Name) and depth < 3:
        before = sorted(
            (one for one in names.get(node.id, []) if one.lineno <= node.lineno), key=lambda one: one.lineno
        )
        if before and isinstance(before[-1], ast.Constant | ast.JoinedStr | ast.BinOp):
            return _text(before[-1], names, depth + 1)
    return BLANK


def is_text(text: str) -> bool:
    """Whether a message has words of its own, beside what is put in."""
    return len(re.findall(r"[A-Za-z]{2,}", text)) >= 3
