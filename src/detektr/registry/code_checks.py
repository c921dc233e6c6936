"""What could not work of a user's code is refused before anything is built or run: a missing method, a wrong key.

A processor or sink is a class that has the method, an object that has it, or a function; a source is a class with
`__iter__`, an object that has it, or a generator function.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from detektr.errors import DetektrError
from detektr.process.fault_text import shown as safely_shown

GIVEN = {"process": "frame", "process_batch": "frames", "write": "event"}
"""What each method is given."""


class UserCodeError(DetektrError):
    """The user's code cannot be used: why, and what to do."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(f"{why}; {hint}")
        self.why, self.hint = why, hint


def check_worker(target: Any, arguments: Mapping[str, Any], method: str) -> None:
    """Refuse what could not be built with these keys of `with`, or not be called; nothing is built.

    Args:
        target: what was found; see `find`.
        arguments: the keys of `with`.
        method: what it must be able to do: process, process_batch or write.
    Raises:
        UserCodeError: says why, and what to do.
    """
    given = GIVEN[method]
    if inspect.isclass(target):
        _check_class(target, method, given)
        _check_arguments(target, arguments)
    elif is_object(target, method):
        if arguments:
            hint = "name its class, or leave `with` out"
            raise UserCodeError(
                f"is an object that is built already, so it takes no `with` ({', '.join(arguments)})", hint
            )
        check_call(getattr(target, method), given)
    elif callable(target) and method != "process_batch":  # a function of one frame looks like one of several
        _check_runs(target)
        _check_arguments(target, arguments, given)
    else:
        hint = f"name a class with {method}(self, {given}), an object that has it, or a function of one {given}"
        if method == "process_batch":
            hint = f"name a class with {method}(self, {given}), or remove `batch`"
        raise UserCodeError(f"is {shown(target)}, which has no {method}()", hint)


def is_object(target: Any, method: str) -> bool:
    """Whether this is neither a class nor a function, and has the method."""
    return not inspect.isclass(target) and not inspect.isroutine(target) and callable(getattr(target, method, None))


def check_pictures(target: Any, arguments: Mapping[str, Any]) -> None:
    """Refuse what could give no pictures, or not with these keys of `with`; nothing is built.

    Raises:
        UserCodeError: says why, and what to do.
    """
    if not callable(target) and not isinstance(target, Iterable):
        raise UserCodeError(f"is {shown(target)}", "expected a generator function, or a class or object with __iter__")
    if inspect.iscoroutinefunction(target) or inspect.isasyncgenfunction(target):
        raise UserCodeError("is async, and nobody awaits it", "write `def`, and `yield` each picture")
    if callable(target):
        _check_arguments(target, arguments)
    elif arguments:
        raise UserCodeError("is an object that is built already, and takes no `with`", "name its class")


def shown(item: object) -> str:
    """Say what something is that is not what was expected, in short."""
    if hasattr(item, "dtype") and hasattr(item, "shape"):
        return f"a numpy {item.dtype} array of shape {item.shape}"
    return f"{type(item).__name__} {safely_shown(item)}"


def _check_class(target: type, method: str, given: str) -> None:
    """Refuse a class whose method is missing or cannot be called, before it is built: that may take long."""
    raw = inspect.getattr_static(target, method, None)
    if not callable(getattr(target, method, None)) or getattr(raw, "__isabstractmethod__", False):
        near = difflib.get_close_matches(method, vars(target), n=1)
        hint = f"rename {near[0]}() to {method}()" if near else f"define {method}(self, {given})"
        if callable(getattr(target, "process_batch", None)) and method == "process":
            hint = "write `batch: {size: 8}` for its process_batch(), or define process(self, frame)"
        elif method == "process_batch":
            hint = f"define {method}(self, {given}), or remove `batch`"
        raise UserCodeError(f"the class {target.__name__} has no method {method}()", hint)
    if isinstance(raw, staticmethod):
        check_call(raw.__func__, given)
    elif isinstance(raw, classmethod):
        check_call(types.MethodType(raw.__func__, target), given)
    elif inspect.isfunction(raw):
        check_call(types.MethodType(raw, object()), given)


def check_call(call: Callable[..., Any], given: str) -> None:
    """Refuse what cannot be called with one frame or event alone, or would not do its work when it is called."""
    code = _check_runs(call)
    taken = ("self", given) if inspect.ismethod(code) else (given,)
    function = code.__func__ if inspect.ismethod(code) else code
    signature = _signature(function)
    if signature is None:
        return
    try:
        signature.bind(*taken)
    except TypeError:
        name = getattr(function, "__name__", "it")
        raise UserCodeError(f"it is {name}{signature}", f"expected {name}({', '.join(taken)})") from None


def _check_runs(call: Callable[..., Any]) -> Any:
    """Refuse what a call would only make ready to run; returns the function or method that is called."""
    code: Any = call
    while isinstance(code, functools.partial):
        code = code.func
    if not inspect.isroutine(code) and not inspect.isclass(code):
        code = code.__call__  # of an object
    name = getattr(code, "__name__", "it")
    if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
        hint = "write `def`, with asyncio.run() in it for what must be awaited"
        raise UserCodeError(f"{name}() is async, and nobody awaits it", hint)
    if inspect.isgeneratorfunction(code):
        hint = "return a list of events, or do the work without `yield`"
        raise UserCodeError(f"{name}() is a generator (it has `yield`), so calling it runs none of its code", hint)
    return call if isinstance(call, functools.partial) else code


def _check_arguments(target: Callable[..., Any], arguments: Mapping[str, Any], given: str | None = None) -> None:
    """Refuse keys of `with` that are missing or not taken; values are not told: they may be secrets.

    Args:
        target: what is to be called with them.
        arguments: the keys of `with`.
        given: what it is called with in front of them; None: nothing.
    """
    signature = _signature(target)
    if signature is None:
        return
    parameters = list(signature.parameters.values())
    if given is not None:
        by_position = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        if not parameters or parameters[0].kind not in (*by_position, inspect.Parameter.VAR_POSITIONAL):
            name = getattr(target, "__name__", "it")
            raise UserCodeError(f"it is {name}{signature}", f"expected {name}({given}) followed by keys of `with`")
        parameters = parameters[1:]
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    named = [one for one in parameters if one.kind in by_name]
    known = [one.name for one in named]
    takes_any = any(one.kind is one.VAR_KEYWORD for one in parameters)
    unknown = [key for key in arguments if key not in known and not takes_any]
    if unknown:
        near = difflib.get_close_matches(unknown[0], known, n=1)
        hint = f"write {near[0]!r}" if near else f"it takes: {', '.join(known) or 'no keys'}"
        raise UserCodeError(f"`with` has {unknown[0]!r}, which {target.__name__} does not take", hint)
    missing = [one.name for one in named if one.default is one.empty and one.name not in arguments]
    if missing:
        keys = ", ".join(f"{name}: ..." for name in missing)
        what = f"`with` lacks {', '.join(map(repr, missing))}, which {target.__name__} needs"
        raise UserCodeError(what, f"write `with: {{{keys}}}`")


def _signature(target: Callable[..., Any]) -> inspect.Signature | None:
    """Return how something is called; None where it is written in C and does not say: the call itself will tell."""
    try:
        return inspect.signature(target)
    except (TypeError, ValueError):
        return None
