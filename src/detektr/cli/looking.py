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
        str | None, typer.Argument(metavar="[NAME]", help="Which pipeline; the only one there is, if left out.")
    ] = None,
    place: Annotated[
        str | None, typer.Argument(metavar="[EDGE]", help="Only of this edge (buffer->detect) or node.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="Of that minute: 14:03; around that second: 14:03:20.")
    ] = None,
    camera: Annotated[str | None, typer.Option("--camera", metavar="C", help="Only of this camera.")] = None,
    run: Annotated[str | None, typer.Option("--run", metavar="ID", help="Of this run, or the last.")] = None,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what was lost or late, whose fault it is, what to do.

    Of a run that goes on: in the last minute. Of one that has ended: in all of it.
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
        str | None, typer.Argument(metavar="[NAME]", help="Which pipeline; the one that runs, if left out.")
    ] = None,
    is_once: Annotated[bool, typer.Option("--once", help="Look once, print, and end.")] = False,
    is_json: Annotated[bool, typer.Option("--json", help="With --once: as JSON.")] = False,
) -> None:
    """Watch a pipeline in the terminal, the worst first.

    Enter goes into a node: where its code is now, and its log; q ends. It needs: pip install "detektr[top]".
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
        str | None, typer.Argument(metavar="[NAME]", help="Which pipeline; the only one there is, if left out.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON, with the ledger of each.")] = False,
) -> None:
    """List the runs of a pipeline, with their ids.

    Each with when it was, how long it took, and how it ended.
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
        str | None, typer.Argument(metavar="[NAME]", help="Which pipeline; the only one there is, if left out.")
    ] = None,
    node: Annotated[
        str | None, typer.Option("--node", metavar="N", help="Only what this node holds or has given.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """List the frames that are out, and at whom.

    The oldest come first, with since when they are out, and what is done with them.
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
        str | None, typer.Argument(metavar="[NAME]", help="Which pipeline; the only one there is, if left out.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> int:
    """Say whether a pipeline does its work, and why not.

    It ends with 0 if so, else with 1: for the HEALTHCHECK of a container.
    """
    import json

    from detektr.observe.readiness import describe_reasons, read_reasons
    from detektr.observe.why.answer import the_pipeline

    name = name or the_pipeline()
    reasons = read_reasons(name)
    answer = {"pipeline": name, "ready": not reasons, "reasons": reasons}
    print(json.dumps(answer, indent=2) if is_json else describe_reasons(name, reasons))
    return int(bool(reasons))
