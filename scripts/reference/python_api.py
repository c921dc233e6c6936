"""The page of the Python API: what may be imported, for the site to fill in from the docstrings."""

from __future__ import annotations

import inspect

import detektr
import detektr.http
import detektr.metrics
import detektr.testing
from scripts.reference.markdown import code, document, first_paragraph, sentence, table

MODULES = (
    ("detektr.metrics", detektr.metrics, detektr.metrics.__all__),
    ("detektr.testing", detektr.testing, ("frame", "frames", "event", "run_processor", "run_sink", "clear_metrics")),
    ("detektr.http", detektr.http, ("frames", "PulledFrame")),
)


def page() -> str:
    """Return the page."""
    names = [name for name in detektr.__all__ if name in detektr._HOMES]
    head = (
        "You may import what is listed here; it keeps its name and meaning over all releases of one minor version."
        " Everything else is internal to detektr."
    )
    parts = [f"## `detektr`\n\n{_table('detektr', detektr, names)}"]
    parts += [f"## `{name}`\n\n{_table(name, module, all_)}" for name, module, all_ in MODULES]
    directives = [f"::: {detektr._HOMES[name]}.{name}" for name in names]
    directives += [f"::: {name}" for name, *_ in MODULES]
    return document("Python", head, *parts, "## In full", *directives)


def _table(path: str, module: object, names: object) -> str:
    assert isinstance(names, list | tuple)
    things = [(name, getattr(module, name)) for name in names]
    rows = [(code(f"{path}.{name}"), sentence(_summary(thing))) for name, thing in things]
    return table(("name", "what"), rows)


def _summary(thing: object) -> str:
    is_documented = inspect.isclass(thing) or inspect.isfunction(thing)
    return first_paragraph(thing) if is_documented else f"A constant: {thing}"
