"""`env` of a node: which names and values it may have, and which of them are secrets. Pure."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping

from detektr.config.document import Document, Path, read_scalar
from detektr.options import EnvName, NodeOptions
from detektr.redaction import SECRET_CHARS_MIN, is_secret_key

OF_THE_RUN = ("DETEKTR_SHM_DIR", "DETEKTR_STATE_DIR")
"""By these the processes of one run find each other."""
_NAME = next(note for note in typing.get_args(EnvName)[1:])


def read_env(
    values: object, document: Document, path: Path, where: str, fault: Callable[[Path, str, str, str], None]
) -> dict[str, str]:
    """Return the variables that are good; each of the others is a fault on its own line, which shows no value."""
    if not isinstance(values, dict):
        what = f"{where}: `env` is {_kind(values)}"
        fault(path, what, "a mapping of names to texts", 'write for example `env: {CUDA_VISIBLE_DEVICES: "0"}`')
        return {}
    good = {}
    for name, value in values.items():
        variable = document.variables.get((*path, name))
        text = value if variable is None else variable.text
        if not re.fullmatch(_NAME.pattern, name):
            what = f"{where}: `env` has the name {name!r:.60}"
            fault((*path, name), what, _NAME.words, "correct the name of this variable")
        elif name in OF_THE_RUN:
            what = f"{where}: `env` has {name}, by which all processes of a run find each other"
            fault((*path, name), what, "variables of this node alone", "set it where detektr is started")
        elif not isinstance(text, str):
            fault(
                (*path, name), f"{where}: `env`: {name} is {_kind(text)}", "text", f'put it in quotes, as {name}: "0"'
            )
        elif "\0" in text:
            what = f"{where}: `env`: {name} has a NUL character in it"
            fault((*path, name), what, "text", "remove that character")
        else:
            good[name] = text
    return good


def _kind(value: object) -> str:
    kinds = {dict: "a mapping", list: "a list", type(None): "empty", bool: "true or false", str: "text"}
    return kinds.get(type(value), "a number")


def env_secrets(nodes: Mapping[str, NodeOptions]) -> set[str]:
    """Return the values whose names say that they are secrets; words such as `true` and numbers are none."""
    return {
        value
        for options in nodes.values()
        for name, value in options.env.items()
        if is_secret_key(name) and len(value) >= SECRET_CHARS_MIN and isinstance(read_scalar(value), str)
    }
