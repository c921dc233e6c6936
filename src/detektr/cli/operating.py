"""`detektr pause`, `resume`, `restart`, `scale`: what an operator does to single nodes of a running pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from detektr.cli.answering import PLAIN, answering

if TYPE_CHECKING:
    from detektr.supervisor.operating.line import Deed

app = typer.Typer(**PLAIN)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")]
NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="The node.")]


@app.command("pause")
@answering
def _pause(name: NameArgument, node: NodeArgument) -> None:
    """Let a node begin no new work until it is resumed.

    The node finishes what is in work. The queue before it drops or waits, as its
    `when_full` says. If you end the run, the node goes on too.
    """
    _ask(name, "pause", node, "is paused")


@app.command("resume")
@answering
def _resume(name: NameArgument, node: NodeArgument) -> None:
    """Let a paused node go on."""
    _ask(name, "resume", node, "goes on")


@app.command("restart")
@answering
def _restart(
    name: NameArgument,
    node: NodeArgument,
    replica: Annotated[
        int | None, typer.Option("--replica", metavar="N", min=0, help="Only this process of the node, counted from 0.")
    ] = None,
) -> None:
    """Restart the processes of a node, one after the other.

    Each process first finishes the frame in work, within its `drain`. Its successor
    gets the frames that wait.
    """
    _ask(name, "restart", node, f"is being restarted; `detektr status {name}` says how it goes", replica)


@app.command("scale")
@answering
def _scale(
    name: NameArgument,
    node: NodeArgument,
    replicas: Annotated[int, typer.Argument(metavar="REPLICAS", help="How many processes it is to have, from 1.")],
) -> None:
    """Give a running processor more or fewer replicas.

    There may be as many as its `max_replicas` says. Those that leave finish what is
    in work; what they have not begun goes to the others.
    """
    from detektr.supervisor.operating.line import ask_supervisor

    answer = ask_supervisor(name, "scale", node, replicas=replicas)
    count = "1 replica" if replicas == 1 else f"{replicas} replicas"
    how = (
        f"is scaled to {count}; `detektr status {name}` says how it goes"
        if answer["changed"]
        else f"has {count}, as before"
    )
    print(f"{node} {how}")


def _ask(name: str, deed: Deed, node: str, told: str, replica: int | None = None) -> None:
    from detektr.supervisor.operating.line import ask_supervisor

    answer = ask_supervisor(name, deed, node, replica)
    was = "" if answer["changed"] else ", as it was before" if deed != "restart" else ", as was asked for before"
    print(f"{', '.join(answer['processes'])} {told}{was}")
