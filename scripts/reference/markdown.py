"""What the pages are made of: headings, tables, and the note that says who writes them."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Sequence
from itertools import pairwise

NOTE = "<!-- Written by `python -m scripts.reference` out of the code: change the code, then run it. -->"


def document(title: str, *parts: str) -> str:
    """Return a page: its title, the note, and its parts, one line free between them."""
    return "\n\n".join((f"# {title}", NOTE, *(part.strip("\n") for part in parts if part))) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; what stands in a cell cannot end it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell(one) for one in line)} |" for line in lines)


def cell(text: str) -> str:
    """Return a text as a table holds it: on one line, and no bar in it."""
    return " ".join(text.split()).replace("|", "\\|")


def code(text: str) -> str:
    """Return a text as code; nothing of nothing."""
    return f"`{text}`" if text else ""


def sentence(text: str) -> str:
    """Return a text that begins as a sentence and ends as one."""
    text = " ".join(text.split())
    first, _, _ = text.partition(" ")  # a value of a key keeps its letters, as `keyframes:` does
    begin = text[:1].upper() if first.rstrip(",;").isalpha() else text[:1]
    return text and begin + text[1:] + ("" if text.endswith((".", "!", "?", ":")) else ".")


def first_paragraph(thing: object) -> str:
    """Return the first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())


def docstrings_of_fields(cls: type) -> dict[str, str]:
    """Return the text below each field of a class."""
    (body,) = (one.body for one in ast.parse(inspect.getsource(cls)).body if isinstance(one, ast.ClassDef))
    return {
        statement.target.id: str(below.value.value)
        for statement, below in pairwise(body)
        if isinstance(statement, ast.AnnAssign)
        and isinstance(statement.target, ast.Name)
        and isinstance(below, ast.Expr)
        and isinstance(below.value, ast.Constant)
    }
