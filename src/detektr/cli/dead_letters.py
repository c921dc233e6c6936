"""`detektr dead-letters ...`: what was given up, while its pipeline runs and afterwards."""

from __future__ import annotations

from typing import Annotated

import typer

from detektr.cli.answering import PLAIN, answering, duration_ns

app = typer.Typer(help="List and show what was given up; resend events.", **PLAIN)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline; it need not run.")]


@app.command("list")
@answering
def _list(
    name: NameArgument,
    is_all: Annotated[bool, typer.Option("--all", help="List also those that were resent.")] = False,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the dead letters of a pipeline, oldest first, one a line."""
    import json

    from detektr.observe.dead_letters import describe_dead_letters, list_dead_letters, open_spool

    content = open_spool(name).read()
    rows = list_dead_letters(content, with_resent=is_all)
    print(json.dumps(rows, indent=2) if is_json else describe_dead_letters(name, content, rows))


@app.command("show")
@answering
def _show(
    name: NameArgument,
    letter: Annotated[str, typer.Argument(metavar="ID", help="Its id, as `list` prints it.")],
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print one dead letter: its event or picture, and the reason."""
    import json

    from detektr.observe.dead_letters import describe_dead_letter, open_spool, whole_dead_letter

    whole = whole_dead_letter(name, open_spool(name).read(), letter)
    print(json.dumps(whole, indent=2, default=str) if is_json else describe_dead_letter(whole))


@app.command("resend")
@answering
def _resend(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline; it must run.")],
    letters: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="Their ids, as `list` prints them.")
    ] = None,
    is_all: Annotated[bool, typer.Option("--all", help="Resend all that were not resent yet.")] = False,
    to: Annotated[
        str | None, typer.Option(metavar="SINK", help="Give them to this sink, not to the one that failed.")
    ] = None,
    wait: Annotated[str, typer.Option(metavar="TIME", help="Longest time to wait while the sink takes none.")] = "30s",
) -> int:
    """Give events again to the sink of a running pipeline.

    The events are marked as `resent`. Frames cannot be resent, as their slots were given back.
    """
    from detektr.api.resending import resend
    from detektr.errors import RefusedError
    from detektr.observe.dead_letters import open_spool

    if not letters and not is_all:
        raise RefusedError(f"resend: no ID is given; name some (`detektr dead-letters list {name}`), or write --all")
    done = resend(name, open_spool(name), letters or [], every=is_all, to=to, wait_ns=duration_ns(wait, "--wait"))
    print(done.text)
    return 1 if done.left else 0
