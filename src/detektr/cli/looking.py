"""`detektr why`, `runs`, `leases`, `healthcheck`: what goes wrong in a run, on and afterwards, and who holds what."""

from __future__ import annotations

from typing import Annotated

import typer

from detektr.cli.answering import PLAIN, answering

app = typer.Typer(**PLAIN)


@app.command("why")
@answering
def _why(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The pipeline; by default the only one there is.")
    ] = None,
    place: Annotated[
        str | None, typer.Argument(metavar="[EDGE]", help="Only this edge (buffer->detect) or node.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="This minute (14:03), or around this second (14:03:20).")
    ] = None,
    camera: Annotated[str | None, typer.Option("--camera", metavar="C", help="Only this camera.")] = None,
    run: Annotated[
        str | None, typer.Option("--run", metavar="ID", help="This run: an id from `detektr runs`, or last.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what was lost or late, whose fault it is, what to do.

    It looks at the last minute of a run that goes on, and at all of a run that has ended.
    """
    import json

    from detektr.observe.why.answer import explain
    from detektr.observe.why.text import describe_answer

    answer = explain(name, place, at=at, camera=camera, run=run)
    print(json.dumps(answer, indent=2) if is_json else describe_answer(answer))


@app.command("top")
@answering
def _top(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The pipeline; by default the one that runs.")
    ] = None,
    is_once: Annotated[bool, typer.Option("--once", help="Print what there is now, and end.")] = False,
    is_json: Annotated[bool, typer.Option("--json", help="With --once: print JSON.")] = False,
) -> None:
    """Watch a pipeline in the terminal, the worst first.

    Enter shows where a node's code is now, and its log; q ends. This command needs: pip install "detektr[top]".
    """
    from detektr.observe.why.answer import the_pipeline

    name = name or the_pipeline()
    if is_once or is_json:
        _look_once(name, is_json=is_json)
        return
    try:
        from detektr.tooling.top_app import TopApp
    except ModuleNotFoundError as fault:
        from detektr.errors import RefusedError

        hint = 'install it: pip install "detektr[top]"; or look once: detektr top --once'
        raise RefusedError(f"top: the package {fault.name} is missing; {hint}") from None
    TopApp(name).run()


def _look_once(name: str, *, is_json: bool) -> None:
    import json
    import shutil
    import time

    from rich.console import Console

    from detektr.observe.table import draw
    from detektr.observe.top import TopReader
    from detektr.observe.why.text import describe_findings

    reader = TopReader(name)
    reader.look()
    time.sleep(1.0)  # rates take two looks
    look = reader.look()
    reader.close()
    if is_json:
        print(json.dumps(look.as_json(), indent=2))
        return
    console = Console(width=shutil.get_terminal_size().columns)
    for line in describe_findings(look.sickest) or ["nothing was lost or late in the last minute"]:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(draw(look.pipeline, look.rows, console.width))


@app.command("runs")
@answering
def _runs(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The pipeline; by default the only one there is.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the ledger of each run.")] = False,
) -> None:
    """List the runs of a pipeline, with their ids.

    Each line says when the run began, how long it took, and how it ended.
    """
    import json

    from detektr.observe.why.answer import list_runs
    from detektr.observe.why.text import describe_runs

    runs = list_runs(name)
    print(json.dumps(runs, indent=2) if is_json else describe_runs(runs))


@app.command("leases")
@answering
def _leases(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The pipeline; by default the only one there is.")
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="N", help="Only frames that this node holds or has given out.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the frames that are out, and who holds them.

    The oldest come first. Each line says since when the frame is out, and what is done with it.
    """
    import json

    from detektr.observe.leases import describe_leases, read_leases
    from detektr.observe.why.answer import the_pipeline

    leases = read_leases(name or the_pipeline(), node)
    print(json.dumps(leases, indent=2) if is_json else describe_leases(leases))


@app.command("healthcheck")
@answering
def _healthcheck(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="The pipeline; by default the only one there is.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> int:
    """Say whether a pipeline does its work, and if not, why.

    It ends with 0 if it does, and with 1 if not, as the HEALTHCHECK of a container expects.
    """
    import json

    from detektr.observe.readiness import describe_reasons, read_reasons
    from detektr.observe.why.answer import the_pipeline

    name = name or the_pipeline()
    reasons = read_reasons(name)
    answer = {"pipeline": name, "ready": not reasons, "reasons": reasons}
    print(json.dumps(answer, indent=2) if is_json else describe_reasons(name, reasons))
    return int(bool(reasons))
