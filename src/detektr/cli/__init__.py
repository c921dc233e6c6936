"""The command line: each command imports, and calls, only the modules that it needs."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from detektr.cli import dead_letters, looking, machine, nodes, operating, pipelines, trail, web
from detektr.cli.answering import PLAIN
from detektr.process.standard_streams import open_streams

app = typer.Typer(
    cls=nodes.NodeGroup,
    help="Video dataflow on one machine, every frame accounted for.",
    pretty_exceptions_enable=False,
    **{**PLAIN, "add_completion": True},
)
app.add_typer(pipelines.app)  # `detektr up` is `detektr pipeline up`
app.add_typer(looking.app)
app.add_typer(trail.app)
app.add_typer(operating.app)
app.add_typer(web.app)
app.add_typer(nodes.app)
app.add_typer(machine.app)
app.add_typer(pipelines.app, name="pipeline", help="Whole pipelines: start, check, look, end (as above).")
app.add_typer(machine.shm_app, name="shm")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(trail.audit_app, name="audit")


def main() -> None:
    """Answer the command line."""
    open_streams()
    # A shell's `&` lets its jobs ignore SIGINT, yet who sends it to one of them means it: see `SignalPipe`.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    app(prog_name="detektr")


def _show_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.machinery import EXTENSION_SUFFIXES
        from importlib.metadata import PackageNotFoundError, version
        from importlib.util import find_spec

        spec = find_spec("detektr.descriptor")
        is_compiled = spec is not None and str(spec.origin).endswith(tuple(EXTENSION_SUFFIXES))
        try:
            print(f"detektr {version('detektr')}, {'compiled' if is_compiled else 'from its Python files'}")
        except PackageNotFoundError:
            print("detektr (from its source: not installed, so it has no version)")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Take the options that belong to no command; `--version` answers before this is reached."""
