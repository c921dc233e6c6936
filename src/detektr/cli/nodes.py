"""`detektr capture|buffer|processor|sink|pull`: one node by itself, of a file or without one.

The options of a command are the keys of its kind; they are looked up when that command is asked for, so that the list
of commands stays quick.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import Any, get_type_hints

import typer
from typer.core import TyperGroup

from detektr.cli.answering import PLAIN, answering, say
from detektr.registry.node_kinds import NODE_KINDS, NodeKind

app = typer.Typer(**PLAIN)

_WITHOUT = "Without a file"
_METAVARS = {
    **{"source": "SOURCE", "input": "NAME", "with_": "KEY=VALUE", "camera": "NAME", "format": "FORMAT", "fps": "RATE"},
    **{"width": "PIXELS", "height": "PIXELS", "when_full": "POLICY", "transport": "HOW", "decode": "WHAT"},
    **{"hwaccel": "HOW", "event_bytes": "BYTES", "env": "NAME=VALUE", "cpus": "N"},
    **dict.fromkeys(("drain", "timeout", "max_age", "open_timeout", "stall_timeout"), "TIME"),
}
_HELP = {
    "input": f"{_WITHOUT}: the node to read from; may be repeated.",
    "with_": "An argument for your code; may be repeated.",
    "env": "An environment variable of this process; may be repeated. `ps` shows it: set a secret outside.",
    "cpus": "A CPU on which the process may run, by its number in `lscpu -e`; may be repeated.",
}
_EXAMPLES = {
    **{"capture": "--name cam --source clip.mp4", "buffer": "--name b --input cam", "pull": "--name p --input b"},
}


class NodeGroup(TyperGroup):
    """Knows the commands of nodes by name and summary, and gives them their options when one is asked for."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """See click: for running a command, for its help, and for completing it."""
        name, command, rest = super().resolve_command(ctx, args)
        kind = NODE_KINDS.get(str(name))
        if kind is not None and not ctx.resilient_parsing:
            _refuse_keys_of_files(kind, rest)
        return name, command if kind is None else node_command(kind), rest


def _refuse_keys_of_files(kind: NodeKind, arguments: list[str]) -> None:
    """End with a refusal where an option is a key that a node by itself cannot have."""
    given = {argument.partition("=")[0] for argument in arguments}
    for key in sorted(kind.file_only):
        if (option := f"--{key.replace('_', '-')}") in given:
            hint = f"write `{key}` at the node there, and start it with --pipeline FILE --node NAME"
            raise SystemExit(say(f"{kind.name}: {option} means something in a pipeline file only; {hint}", 2))


def node_command(kind: NodeKind) -> Any:
    """Return the command of a kind of nodes, with an option for each of its keys."""
    alone = typer.Typer(**PLAIN)
    alone.command(kind.name, help=_help(kind))(_with_options(kind))
    return typer.main.get_command(alone)


def _help(kind: NodeKind) -> str:
    example = _EXAMPLES.get(kind.name, "my.module:Class --input NAME")
    return f"{kind.summary}\n\nStart a node of a file (--pipeline FILE --node NAME), or one without a file: {example}."


def _stub(kind: NodeKind) -> None:
    @app.command(kind.name, help=_help(kind))
    def _run() -> None:
        raise AssertionError("NodeGroup has resolved it")


def _with_options(kind: NodeKind) -> Any:
    """Return what runs a node, with a signature that typer reads the options from."""
    from detektr.config.key_words import describe_keys, plain_type

    words = describe_keys(kind, is_alone=True) | _HELP
    types = {name: plain_type(hint) for name, hint in get_type_hints(kind.options, include_extras=True).items()}
    parameters: dict[str, tuple[Any, Any]] = {}
    if "use" in types:
        text = f"{_WITHOUT}: your code, as my.module:Class or a short name (`detektr list`)."
        parameters["use"] = str | None, typer.Argument(None, metavar="[MODULE:CLASS]", help=text)
    text = "A pipeline file that has the node."
    parameters["file"] = Path | None, typer.Option(None, "--pipeline", metavar="FILE", help=text)
    text = "With --pipeline: the node."
    parameters["node"] = str | None, typer.Option(None, "--node", metavar="NAME", help=text)
    if "replicas" in types:
        text = "With --pipeline: the replica, counted from 0."
        parameters["replica"] = int, typer.Option(0, "--replica", metavar="N", help=text)
    text = f"{_WITHOUT}: the node's name."
    parameters["name"] = str | None, typer.Option(None, "--name", metavar="NAME", help=text)
    text = f"{_WITHOUT}: the pipeline it belongs to."
    parameters["pipeline"] = str, typer.Option("local", "--pipeline-name", "--in", metavar="NAME", help=text)
    for key, plain in types.items():
        if key in kind.file_only or key not in words or key in ("kind", "use", "replicas"):
            continue
        option, metavar = (
            f"--{key.rstrip('_').replace('_', '-')}",
            _METAVARS.get(key, "N" if plain in (int, float) else "WORD"),
        )
        if plain is bool:
            parameters[key] = bool, typer.Option(False, option, help=words[key])
        elif plain is list or key in ("with_", "env"):
            parameters[key] = list[str] | None, typer.Option(None, option, metavar=metavar, help=words[key])
        else:
            parameters[key] = plain | None, typer.Option(None, option, metavar=metavar, help=words[key])
    text = "Serve this process's metrics on this port of 127.0.0.1."
    parameters["metrics_port"] = int | None, typer.Option(None, "--metrics-port", metavar="PORT", help=text)

    def run(**given: Any) -> None:
        _run_standalone(kind, **given)

    command: Any = answering(run)
    by_name = inspect.Parameter.KEYWORD_ONLY
    command.__signature__ = inspect.Signature(
        [inspect.Parameter(name, by_name, default=info, annotation=hint) for name, (hint, info) in parameters.items()]
    )
    command.__annotations__ = {name: hint for name, (hint, _) in parameters.items()}
    return command


def _run_standalone(
    kind: NodeKind,
    *,
    file: Path | None,
    node: str | None,
    name: str | None,
    pipeline: str,
    metrics_port: int | None,
    replica: int = 0,
    **keys: Any,
) -> None:
    from detektr.nodes.ending import Ending
    from detektr.nodes.spec import NodeSpec
    from detektr.process.placement import take_over
    from detektr.process.standard_streams import keep_streams
    from detektr.supervisor.entry import end_process
    from detektr.supervisor.standalone import run_standalone, spec_for

    given = {key.rstrip("_"): value for key, value in keys.items()}
    chosen = name or (None if "use" in given else {"capture": "cam"}.get(kind.name, kind.name))
    handed_over = take_over()
    if handed_over is None:
        spec = spec_for(kind.name, file, node, replica, pipeline, chosen, given)
        if spec.options.env:
            spec.placement.start_anew(sys.orig_argv[1:], handed_over=spec.as_json())
    else:  # by this very command, in the environment of the node
        spec = NodeSpec.from_json(handed_over)
    keep_streams()
    ending = Ending(spec, None)
    end_process(run_standalone(spec, metrics_port=metrics_port, ending=ending), ending)


for _kind in NODE_KINDS.values():
    _stub(_kind)
