"""`detektr pipeline ...`: whole pipelines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from detektr.cli.answering import PLAIN, answering, duration_ns, otel_extra, say, say_sent, tell

app = typer.Typer(help="Whole pipelines: start, check, look, end.", **PLAIN)
FileArgument = Annotated[Path, typer.Argument(metavar="[FILE]", help="The pipeline file.")]


@app.command("up")
@answering
def _up(
    file: FileArgument = Path("pipeline.yaml"),
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Drain and end after this time, for example 10s.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the ledger to this file as JSON.")] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="Show no table, and only warnings and errors of the log.")
    ] = False,
) -> int:
    """Start a pipeline and stay with it until it ends.

    Ctrl-C drains it and prints the ledger; a second Ctrl-C drops what is left, and ends it.
    """
    from detektr.process.open_files import raise_open_files
    from detektr.process.standard_streams import keep_streams
    from detektr.supervisor.fork_client import ForkServer

    keep_streams()
    raise_open_files()  # first: what is started from here inherits it
    with ForkServer(file) as forks:
        if os.path.isfile(file):  # Path.is_file raises where a name is too long, or a folder is not for us
            forks.start()  # first: it imports while we do, and read the file
        from detektr.supervisor.up import run_up

        for_ns = None if for_ is None else duration_ns(for_, "--for")
        return run_up(file, forks, for_ns=for_ns, report=report, quiet=quiet)


@app.command("validate")
@answering
def _validate(
    file: FileArgument = Path("pipeline.yaml"),
    no_code: Annotated[
        bool, typer.Option("--no-code", help="Do not import the code that the file names to see if it can be called.")
    ] = False,
) -> None:
    """List what is wrong with a file, its code or this machine."""
    from detektr.config.load import PipelineFileError, check_machine, load_pipeline
    from detektr.config.plan_text import describe_plan
    from detektr.tooling.code_check import check_code

    pipeline = load_pipeline(file)
    faults = [*check_machine(pipeline), *(() if no_code else check_code(pipeline))]
    if faults:
        raise PipelineFileError(file, faults, pipeline.secrets)
    print(describe_plan(pipeline))


@app.command("graph")
@answering
def _graph(file: FileArgument = Path("pipeline.yaml")) -> None:
    """Draw the graph of a file as Mermaid."""
    from detektr.config.graph.checks import mermaid
    from detektr.config.load import load_pipeline

    print(mermaid(load_pipeline(file).graph), end="")


@app.command("schema")
@answering
def _schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    import json

    from detektr.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=2))


@app.command("status")
@answering
def _status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The pipeline; by default all.")] = None,
    run: Annotated[
        str | None,
        typer.Option("--run", metavar="ID", help="Show how this run ended: an id from `detektr runs`, or last."),
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say how a pipeline is and what is wrong, or which ones run."""
    import json

    from detektr.observe.status import list_pipelines, read_status
    from detektr.observe.status_text import describe_pipelines, describe_status

    if name is None and run is None:
        pipelines = list_pipelines()
        print(json.dumps(pipelines, indent=2) if is_json else describe_pipelines(pipelines))
        return
    from detektr.observe.trail.trace import reach
    from detektr.observe.why.answer import explain, read_run, the_pipeline
    from detektr.observe.why.text import describe_findings

    name = name or the_pipeline()
    status = read_status(name) if run is None else read_run(name, run)
    status["audit"] = reach(name, status["run"])
    sickest = explain(name, run=run)["sickest"]
    if is_json:
        print(json.dumps(status | {"sickest": sickest}, indent=2))
    else:
        print("\n".join([describe_status(status), *describe_findings(sickest)]))


@app.command("stacks")
@answering
def _stacks(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")],
    node: Annotated[
        str | None, typer.Option("--node", metavar="N", help="Only this node or process (motion.0).")
    ] = None,
) -> None:
    """Show where the code of each process is now, and its stacks."""
    from detektr.observe.stacks import describe_stacks, read_stacks

    print(describe_stacks(read_stacks(name, node)))


@app.command("down")
@answering
def _down(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")],
    wait: Annotated[str, typer.Option(metavar="TIME", help="Longest time to wait for its end.")] = "60s",
) -> int:
    """Drain and end a pipeline, and wait until it has ended."""
    from detektr.supervisor.stopping import stop_pipeline

    if stop_pipeline(name, duration_ns(wait, "--wait")):
        print(f"{name} has ended")
        return 0
    return say(f"{name} has not ended within {wait}; it goes on draining: `detektr status {name}`", 1)


@app.command("logs")
@answering
def _logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")],
    node: Annotated[str | None, typer.Argument(metavar="[NODE]", help="Only this node or process (motion.0).")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print further lines as they come.")] = False,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="URL", help="Send the lines of the newest run to an OpenTelemetry collector."),
    ] = None,
) -> int:
    """Print what the processes of a pipeline wrote, or send it.

    With `--to http://127.0.0.1:4318` the lines of the newest run go to a collector (OTLP over HTTP), each with the
    trace of the frame that it names; with --follow until the run ends. It needs: pip install "detektr[otel]".
    """
    if to is not None:
        with otel_extra("logs"):
            from detektr.tooling.otlp.logs import send_logs
        return say_sent("log lines", to, send_logs(name, node, to, tell, follow=follow))
    from detektr.observe.logbook import read_logs

    for line in read_logs(name, node, follow=follow):
        print(line, flush=follow)
    return 0
