"""Short names of processors, sinks and sources: detektr's own, and those that installed packages offer.

A package offers its own by an entry point (group `detektr.processors`, `detektr.sinks` or `detektr.sources`), whose
name is the short name and whose value is `module:Class`. A package that is broken is told of, and disturbs no other.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from detektr.errors import RefusedError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SHORT_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
REFERENCE = r"\w+(\.\w+)*:\w+(\.\w+)*"
OWN_PACKAGE = "detektr"
GROUPS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "processors": {"motion": "detektr.processors.motion:Motion"},
        "sinks": {"jsonl": "detektr.sinks.jsonl:JsonLines"},
        "sources": {},
    }
)
"""Each group with detektr's own: a table, so that a source tree needs no metadata, and no package replaces one."""

STATEFUL = frozenset({"detektr.processors.motion:Motion"})
"""Those of detektr's own that keep state for each camera (`stateful = True`): known without importing them."""


BATCHING: frozenset[str] = frozenset()
"""Those of detektr's own processors that have `process_batch`."""


@dataclass(frozen=True)
class Plugin:
    """What one short name stands for, as one package says."""

    group: str
    """One of `GROUPS`."""
    name: str
    reference: str
    """module:Class, as the package wrote it."""
    package: str
    fault: str = ""
    """Why it cannot be used; empty where nothing is known against it. Nothing has been imported."""


def find_plugins(group: str) -> tuple[Plugin, ...]:
    """Return all short names of a group, detektr's own first, then in the order of names.

    Args:
        group: one of `GROUPS`.
    Returns:
        Broken ones too, with their fault. A name that two packages offer stands there twice.
    """
    return _found(group, tuple(sys.path))


def resolve(group: str, name: str) -> str:
    """Return the module:Class that a short name stands for.

    Args:
        group: one of `GROUPS`.
        name: the short name.
    Raises:
        RefusedError: no package offers it, several do, or the one that does is broken; says which and what to write.
    """
    own = GROUPS[group].get(name)
    if own is not None:  # without a look at what else is installed
        return own
    found = [plugin for plugin in find_plugins(group) if plugin.name == name]
    whole = [plugin for plugin in found if not plugin.fault]
    if len(whole) == 1:
        return whole[0].reference
    if whole:
        offers = ", ".join(f"{plugin.reference} ({plugin.package})" for plugin in whole)
        raise RefusedError(f"{len(whole)} packages offer {name!r}: write one as module:Class: {offers}")
    if found:
        raise RefusedError(f"{name!r} of the package {found[0].package} is broken: {found[0].fault}; mend that package")
    known = ", ".join(names(group)) or "none"
    raise RefusedError(f"no installed package offers {name!r}; known: {known}; install one, or write module:Class")


def is_known_stateful(group: str, use: str) -> bool:
    """Whether `use` is one of detektr's own that keeps state for each camera; of others only their class can tell."""
    return GROUPS[group].get(use, use) in STATEFUL


def takes_single_frames(name: str) -> bool:
    """Whether a short name is that of a processor of detektr's own without `process_batch`."""
    return name in GROUPS["processors"] and name not in BATCHING


def names(group: str) -> list[str]:
    """Return the short names of a group that can be written."""
    return list(dict.fromkeys(plugin.name for plugin in find_plugins(group) if not plugin.fault))


@functools.lru_cache(maxsize=len(GROUPS))
def _found(group: str, path: tuple[str, ...]) -> tuple[Plugin, ...]:
    """Look at the packages on `path`, which is what `sys.path` holds."""
    from importlib.metadata import distributions  # costs more than all that most files need of this module

    own = [Plugin(group, name, reference, OWN_PACKAGE) for name, reference in GROUPS[group].items()]
    others: list[Plugin] = []
    seen = {OWN_PACKAGE}  # its metadata may be of another state of the source tree
    for distribution in distributions():
        package = "unknown"
        try:
            package = distribution.metadata["Name"]
            if package in seen:  # found further back on the path too, where Python does not look
                continue
            seen.add(package)
            entries = [entry for entry in distribution.entry_points if entry.group == f"detektr.{group}"]
        except Exception as fault:  # whatever some package's files hold
            others.append(Plugin(group, "?", "?", str(package), f"its metadata cannot be read: {fault}"))
            continue
        others += [Plugin(group, entry.name, entry.value, package, _fault(group, entry)) for entry in entries]
    return (*own, *sorted(others, key=lambda plugin: (plugin.name, plugin.package)))


def _fault(group: str, entry: EntryPoint) -> str:
    if not re.fullmatch(SHORT_NAME, entry.name):
        return f"the name {entry.name!r} is not a short name; use a letter, then digits, _ or - or more of them"
    if not re.fullmatch(REFERENCE, entry.value):
        return f"its entry point is {entry.value!r}, which is not module:Class"
    if entry.name in GROUPS[group]:
        return f"{entry.name!r} is detektr's own; write {entry.value} to use this one"
    return ""
