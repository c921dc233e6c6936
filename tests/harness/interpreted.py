"""Modules as their Python files say them, also where they were compiled, so that stand-ins and traps can be put in."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, ModuleSpec, SourceFileLoader
from types import ModuleType


class Sources(MetaPathFinder):
    """Finds the Python files of detektr; put before all others, it passes by what was compiled of them."""

    def __init__(self, names: Collection[str] | None = None) -> None:
        """Find these alone; None: all."""
        self._names = names

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the Python file's; None: not a module within detektr, or not one to be found."""
        if not name.startswith("detektr.") or path is None or (self._names is not None and name not in self._names):
            return None
        specs = (FileFinder(folder, (SourceFileLoader, SOURCE_SUFFIXES)).find_spec(name) for folder in path)
        return next(filter(None, specs), None)


def interpreted(*names: str) -> list[ModuleType]:
    """Import these modules from their Python files, each seeing those before it; everybody else keeps what is there."""
    kept = {name: sys.modules.pop(name, None) for name in names}
    finder = Sources(names)  # what they import beside is everybody's
    sys.meta_path.insert(0, finder)
    try:
        return [importlib.import_module(name) for name in names]
    finally:
        sys.meta_path.remove(finder)
        for name, module in kept.items():
            folder, _, last = name.rpartition(".")
            sys.modules.pop(name, None)
            if folder in sys.modules:  # else the import has failed before it came to that
                vars(sys.modules[folder]).pop(last, None)  # where `from folder import last` looks
            if module is not None:
                sys.modules[name] = module
                setattr(sys.modules[folder], last, module)
