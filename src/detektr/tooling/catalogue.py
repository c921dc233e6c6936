"""`detektr list`: the short names for `use` and for `python:` sources on this machine, with one line each."""

from __future__ import annotations

import inspect
from pathlib import Path

from detektr.config.suggestions import listed
from detektr.errors import RefusedError
from detektr.plugins import GROUPS, Plugin, find_plugins
from detektr.registry.code_checks import UserCodeError
from detektr.registry.user_code import find

_HEADINGS = ("name", "module:Class", "package", "description")


def describe_plugins(group: str | None = None) -> str:
    """Return a table of short names; each is imported for its docstring, and one that is broken says why.

    Args:
        group: processors, sinks or sources; None: all of them.
    Raises:
        RefusedError: there is no such group.
    """
    if group is not None and group not in GROUPS:
        raise RefusedError(f"list: there are no {group!r}; write {listed(GROUPS)}")
    return "\n\n".join(_table(one) for one in (GROUPS if group is None else [group]))


def _table(group: str) -> str:
    plugins = find_plugins(group)
    if not plugins:
        return f"{group}: none; a package offers its own by an entry point in the group detektr.{group}"
    rows = [_HEADINGS, *((one.name, one.reference, one.package, _summary(one)) for one in plugins)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS) - 1)]
    lines = [
        "  ".join([*(text.ljust(width) for text, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    ]
    return "\n".join([f"{group}:", *(f"  {line}" for line in lines)])


def _summary(plugin: Plugin) -> str:
    """Return the first line of its docstring, or why it cannot be used."""
    if plugin.fault:
        return f"BROKEN: {plugin.fault}"
    try:
        found = find(plugin.reference, plugin.group, Path.cwd())
    except UserCodeError as fault:
        return f"BROKEN: {fault}"
    return (inspect.getdoc(found) or "").partition("\n")[0]
