"""The user's code: found by `module:Name` or a short name, judged before it is needed, its faults told with a place."""

from __future__ import annotations

import contextlib
import difflib
import functools
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from detektr import plugins
from detektr.errors import EndedEarlyError, RefusedError, SourceError
from detektr.process.fault_text import fault_text
from detektr.process.user_boundary import call_user
from detektr.registry.code_checks import (
    GIVEN,
    UserCodeError,
    check_call,
    check_pictures,
    check_worker,
    is_object,
    shown,
)

_NAMES_MAX = 9
_OURS = (
    "detektr.registry.user_code",
    "detektr.process.",
    "detektr.sources.",
    "detektr.nodes.",
    "detektr.testing",
)
_importing = 0  # so many imports of user code are under way


def is_importing() -> bool:
    """Whether the user's module is just being imported by a node, and not run as a script."""
    return _importing > 0


def find(reference: str, group: str, folder: Path) -> Any:
    """Import what `module:Name`, `module:Outer.Inner` or a short name stands for.

    Args:
        reference: what the file has.
        group: one of `plugins.GROUPS`, for short names.
        folder: looked in last, after PYTHONPATH and what is installed: a file there hides no installed module.
    Raises:
        UserCodeError: there is no such module or name, or importing it raised; says which file was imported.
        RefusedError: the short name is not known.
    """
    if ":" not in reference:
        reference = plugins.resolve(group, reference)
    module_name, _, name = reference.partition(":")
    if not module_name or not name:
        raise UserCodeError("is not module:Name", "write for example my_module:MyClass")
    folder = folder.absolute()
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    found: Any = _import(module_name, folder)
    for part in name.split("."):
        owner = found
        try:
            found = getattr(owner, part)
        except AttributeError:
            raise _missing(owner, part, module_name, folder) from None
        except (KeyboardInterrupt, EndedEarlyError):
            raise
        except BaseException as fault:  # a module's __getattr__
            raise UserCodeError(f"getting {name!r} from {module_name} raised {told(fault)}", "mend it") from fault
    return found


def build_worker(
    use: str, arguments: Mapping[str, Any], method: str, group: str, folder: Path
) -> tuple[Any, Callable[[Any], Any]]:
    """Find and build a processor or sink.

    Args:
        use: `module:Name` or a short name.
        arguments: the keys of `with`.
        method: what it must be able to do: process or write.
        group: one of `plugins.GROUPS`, for short names.
        folder: where modules are looked for last.
    Returns:
        The object (or function), and what is to be called with each frame or event.
    Raises:
        RefusedError: it is not found, cannot be built, or could not be called so; says which and what to do.
    """
    try:
        return make_worker(find(use, group, folder), arguments, method)
    except (UserCodeError, RefusedError) as fault:
        raise RefusedError(f"use: {use}: {fault}") from fault.__cause__


def make_worker(target: Any, arguments: Mapping[str, Any], method: str) -> tuple[Any, Callable[[Any], Any]]:
    """Build a processor or sink of what was found; see `build_worker`.

    Raises:
        UserCodeError: it cannot be built, or could not be called so.
    """
    check_worker(target, arguments, method)
    given = GIVEN[method]
    if inspect.isclass(target):
        thing = _built(target, arguments)
    elif is_object(target, method):
        thing = target
    else:
        thing = functools.partial(target, **arguments) if arguments else target
        return thing, thing
    call = getattr(thing, method, None)
    if not callable(call):
        raise UserCodeError(f"the object that it builds has no {method}()", f"define {method}(self, {given})")
    check_call(call, given)
    return thing, call


class PictureCode:
    """A `python:` source's code: a generator function, or a class or object with `__iter__`.

    Args:
        source: as the file has it: `python:module:Name` or `python:name`.
        arguments: the keys of `with`.
        folder: where modules are looked for last.
    Raises:
        SourceError: the module or name is not found, or gives no pictures.
    """

    def __init__(self, source: str, arguments: Mapping[str, Any], folder: Path) -> None:
        self._source, self._with = source, arguments
        try:
            self._found = find(source.partition(":")[2], "sources", folder)
            check_pictures(self._found, arguments)
        except UserCodeError as fault:
            raise self.fault(fault.why, fault.hint) from fault.__cause__
        except RefusedError as fault:
            raise SourceError(f"source {source}: {fault}") from None

    def build(self) -> Iterable[Any]:
        """Return what yields the pictures of one round.

        Raises:
            SourceError: building it with the keys of `with` raises, or gives something without pictures.
        """
        try:
            product: object = call_user(self._found, **self._with) if callable(self._found) else self._found
        except BaseException as error:  # sys.exit() too
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


def told(error: BaseException) -> str:
    """Say what was raised and where, as far as the user's own code goes."""
    text = fault_text(error)
    frames = _foreign(error)
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{': ' if text else ''}{text}{where}"


def _foreign(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the steps of a traceback that are neither ours nor Python's import."""
    frames: list[traceback.FrameSummary] = []
    step = error.__traceback__
    while step is not None:
        file, module = step.tb_frame.f_code.co_filename, str(step.tb_frame.f_globals.get("__name__"))
        is_import = file.startswith("<frozen importlib") or file == importlib.__file__
        if not is_import and not module.startswith(_OURS):
            frames += traceback.extract_tb(step, limit=1)
        step = step.tb_next
    return frames


@contextlib.contextmanager
def _counted() -> Iterator[None]:
    global _importing
    _importing += 1
    try:
        yield
    finally:
        _importing -= 1


def _import(name: str, folder: Path) -> ModuleType:
    try:
        with _counted():
            return call_user(importlib.import_module, name)
    except KeyboardInterrupt:
        raise
    except ModuleNotFoundError as fault:
        frames = _foreign(fault)
        if frames:
            where = f"{frames[-1].filename}:{frames[-1].lineno}"
            why = f"importing {name} raised {told(fault)}: {where} imports {fault.name!r}, which is not there"
            raise UserCodeError(why, f"install it for {sys.executable}, or correct that line") from fault
        parent = sys.modules.get(str(fault.name).rpartition(".")[0])
        if parent is None:
            hint = f"put it on PYTHONPATH or in {folder}, or correct the name"
            raise UserCodeError(f"there is no module {fault.name!r}", hint) from None
        raise UserCodeError(
            f"there is no module {fault.name!r} in {_file_of(parent)}", _hidden(parent.__name__, folder)
        ) from None
    except EndedEarlyError:
        raise
    except BaseException as fault:  # sys.exit() too
        raise UserCodeError(f"importing {name} raised {told(fault)}", "mend it, then start again") from fault


def _missing(owner: Any, part: str, module_name: str, folder: Path) -> UserCodeError:
    """Return the error that says which file was imported, what it has, and whether it hides one of the user's."""
    if not isinstance(owner, ModuleType):
        return UserCodeError(f"{getattr(owner, '__qualname__', shown(owner))} has no {part!r}", "correct the name")
    values = vars(owner)
    known = [key for key in values if not key.startswith("_") and not isinstance(values[key], ModuleType)]
    own = [key for key in known if getattr(values[key], "__module__", module_name) == module_name]
    near = difflib.get_close_matches(part, known, n=1)
    hint = _hidden(module_name, folder)
    if "rename" not in hint:
        hint = f"write {module_name}:{near[0]}" if near else f"it has: {', '.join(own[:_NAMES_MAX]) or 'nothing'}"
    return UserCodeError(f"module {module_name} ({_file_of(owner)}) has no {part!r}", hint)


def _file_of(module: ModuleType) -> str:
    file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), None)
    return str(file) if file else "built into Python"


def _hidden(module_name: str, folder: Path) -> str:
    """Say what to do where another module of this name was imported than the one beside the pipeline file."""
    module, place = sys.modules[module_name], folder.joinpath(*module_name.split("."))
    for beside in (place.with_suffix(".py"), place / "__init__.py", place):
        if beside.exists():
            file = Path(_file_of(module))
            if file.exists() and file.samefile(beside):
                break
            return f"it hides your {beside}, as a module of that name is installed: rename yours"
    return "correct the name"


def _built(target: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    try:
        return call_user(target, **arguments)
    except (KeyboardInterrupt, EndedEarlyError, RefusedError):  # the last one says all that is to be said
        raise
    except BaseException as fault:  # sys.exit() too
        raise UserCodeError(f"its constructor raised {told(fault)}", "mend it, then start again") from fault
