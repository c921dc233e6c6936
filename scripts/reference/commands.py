"""The page of the command line: each command with its arguments and options, as `--help` has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from detektr.cli import app
from detektr.cli.nodes import node_command
from detektr.registry.node_kinds import NODE_KINDS
from scripts.reference.markdown import code, document, sentence, table

ALIASES = "pipeline"
"""The group whose commands stand at the top as well."""


def page() -> str:
    """Return the page."""
    parts = [
        "`detektr COMMAND --help` says the same at a terminal, and `detektr --install-completion` makes the shell"
        f" complete it. The commands of whole pipelines (`up`, `validate` and so on) are"
        f" also those of `detektr {ALIASES}`. Each command ends with one of the [exit codes](exit-codes.md)."
    ]
    parts += [_command(path, command) for path, command in commands()]
    return document("Commands", *parts)


def commands() -> Iterator[tuple[str, Any]]:
    """Yield each command by what is typed, once, in the order of `detektr --help`."""
    top = typer.main.get_command(app)
    yield from _below("detektr", top)


def _below(path: str, group: Any) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if command.hidden or name == ALIASES:
            continue
        if hasattr(command, "commands"):
            yield from _below(f"{path} {name}", command)
        else:
            yield f"{path} {name}", node_command(NODE_KINDS[name]) if name in NODE_KINDS else command


def _command(path: str, command: Any) -> str:
    rows = []
    for parameter in command.params:
        if parameter.name == "help":
            continue
        is_option = parameter.param_type_name == "option"
        names = ", ".join(parameter.opts) if is_option else _metavar(parameter)
        value = f" {_metavar(parameter)}" if is_option and not parameter.is_flag else ""
        default = parameter.default
        told = "" if default in (None, False, "") or callable(default) else code(str(default))
        text = sentence(" ".join((getattr(parameter, "help", "") or "").split()))
        rows.append((code(names + value), text, told))
    usage = [path]
    usage += [_metavar(one) for one in command.params if one.param_type_name == "argument"]
    help_ = " ".join((command.help or "").split())
    text = f"## {path}\n\n{sentence(help_)}\n\n```text\n{' '.join(usage)}{' [OPTIONS]' if rows else ''}\n```"
    return f"{text}\n\n{table(('argument or option', 'meaning', 'default'), rows)}" if rows else text


def _metavar(parameter: Any) -> str:
    return str(parameter.metavar or parameter.name.strip("_").upper())
