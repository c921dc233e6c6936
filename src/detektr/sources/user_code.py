"""What a `python:` source names: the user's code found, built, and what it did wrong said with its place."""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable, Iterable
from functools import reduce
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from detektr.errors import SourceError
from detektr.fault_text import fault_text
from detektr.fault_text import shown as safely_shown
from detektr.options import CaptureOptions
from detektr.user_boundary import call_user


class UserCode:
    """A generator function or a class with `__iter__`, and how each round of its pictures is begun.

    Raises:
        SourceError: the module or name is not found, or is nothing to be called.
    """

    def __init__(self, options: CaptureOptions, folder: Path) -> None:
        self._source, self._with = options.source, options.with_
        self._factory = self._find(folder)

    def build(self) -> Iterable[Any]:
        """Return what yields the pictures of one round.

        Raises:
            SourceError: building it with the keys of `with` raises, or gives something without pictures.
        """
        try:
            product: object = call_user(self._factory, **self._with)
        except BaseException as error:  # sys.exit() too, here and below
            raise self.fault(
                f"cannot be built: {told(error)}", f"keys of with: {', '.join(self._with) or 'none'}"
            ) from error
        if not isinstance(product, Iterable):
            hint = "expected a generator function or a class with __iter__"
            raise self.fault(f"gives {shown(product)}, which has no pictures", hint)
        return product

    def fault(self, why: str, hint: str) -> SourceError:
        """Return the error that says which source it is, why, and what to do."""
        return SourceError(f"source {self._source}: {why}; {hint}")

    def _find(self, folder: Path) -> Callable[..., Iterable[Any]]:
        module_name, _, name = self._source.partition(":")[2].partition(":")
        if not module_name or not name:
            raise self.fault("is not python:module:name", "e.g. python:my.module:pictures")
        if str(folder.absolute()) not in sys.path:
            sys.path.append(str(folder.absolute()))  # last, so that a file there hides no installed module
        try:
            found = reduce(getattr, name.split("."), call_user(importlib.import_module, module_name))
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                raise self.fault(f"its module raises: {told(error)}", "install what it imports") from error
            hint = f"put it on PYTHONPATH or in {folder}"
            raise self.fault(f"there is no module {error.name!r}", hint) from None
        except AttributeError as error:
            if error.obj is None or not _is_ours(_last(error.__traceback__)):
                raise self.fault(f"its module raises: {told(error)}", "mend it") from error
            raise self.fault(f"module {module_name!r} has no {name!r}", "name a function or class of it") from None
        except BaseException as error:
            raise self.fault(f"its module raises: {told(error)}", "mend it") from error
        if not callable(found):
            raise self.fault(f"{name!r} is {shown(found)}", "expected a generator function or a class with __iter__")
        return found


def shown(item: object) -> str:
    """Say what something is that is no picture, in short."""
    if isinstance(item, np.ndarray):
        return f"a numpy {item.dtype} array of shape {item.shape}"
    return f"{type(item).__name__} {safely_shown(item)}"


def told(error: BaseException) -> str:
    """Say what was raised and where, as far as the user's own code goes."""
    last = _last(error.__traceback__)
    where = "" if last is None or _is_ours(last) else f" ({_place(last)})"
    return f"{type(error).__name__}: {fault_text(error)}{where}"


def _last(step: TracebackType | None) -> TracebackType | None:
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return step


def _is_ours(step: TracebackType | None) -> bool:
    """Whether it was raised in our call of the user's code, and not further in."""
    name = "" if step is None else str(step.tb_frame.f_globals.get("__name__"))
    return name.startswith("detektr.sources.") or name == "detektr.user_boundary"


def _place(step: TracebackType) -> str:
    [place] = traceback.extract_tb(step)
    return f"{Path(place.filename).name}:{place.lineno}"
