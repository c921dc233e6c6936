"""The command line: what is asked for goes to the module that knows; each command imports only its own."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer

from detektr.errors import DetektrError, RefusedError

P = ParamSpec("P")

_PLAIN: dict[str, Any] = {"no_args_is_help": True, "add_completion": False, "rich_markup_mode": None}
app = typer.Typer(
    help="Video dataflow on one machine, every frame accounted for.", pretty_exceptions_enable=False, **_PLAIN
)
pipeline_app = typer.Typer(help="Whole pipelines: start, check, look, end.", **_PLAIN)
shm_app = typer.Typer(help="Shared memory: what lies in it, and away with what nobody owns.", **_PLAIN)
app.add_typer(pipeline_app, name="pipeline")
app.add_typer(shm_app, name="shm")

FileArgument = Annotated[Path, typer.Argument(metavar="[FILE]", help="The pipeline file.")]
FileOption = Annotated[
    Path | None, typer.Option("--pipeline", metavar="FILE", help="A pipeline file that has the node.")
]
NodeOption = Annotated[
    str | None, typer.Option("--node", metavar="NAME", help="With --pipeline: which node of the file.")
]
ReplicaOption = Annotated[int, typer.Option("--replica", metavar="N", help="With --pipeline: which of its replicas.")]
PortOption = Annotated[
    int | None, typer.Option("--metrics-port", metavar="PORT", help="Serve this process's metrics on 127.0.0.1.")
]
InOption = Annotated[str, typer.Option("--in", metavar="PIPELINE", help="Without a file: the pipeline it belongs to.")]
NameOption = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Without a file: the node's name.")]
InputOption = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="NAME", help="Without a file: the node to read from; may be repeated."),
]
UseArgument = Annotated[str | None, typer.Argument(metavar="[MODULE:CLASS]", help="Without a file: your code.")]
WithOption = Annotated[
    list[str] | None, typer.Option("--with", metavar="KEY=VALUE", help="An argument for it; may be repeated.")
]
MarkOption = Annotated[
    int | None, typer.Option("--high-water-mark", metavar="N", help="Most frames queued for a reader.")
]
FullOption = Annotated[
    str | None, typer.Option("--when-full", metavar="POLICY", help="At the mark: drop-oldest, drop-newest or block.")
]
WindowOption = Annotated[int | None, typer.Option("--window", metavar="N", help="Most frames leased to it at once.")]
TimeoutOption = Annotated[
    str | None, typer.Option("--timeout", metavar="TIME", help="Longest time for one frame: 30s.")
]
AttemptsOption = Annotated[
    int | None, typer.Option("--max-deliveries", metavar="N", help="Attempts at one frame before it is given up.")
]


def main() -> None:
    """Answer the command line."""
    app(prog_name="detektr")


def _duration_ns(text: str, option: str) -> int:
    from detektr.nodes.options import duration_ns

    try:
        return duration_ns(text)
    except ValueError as fault:
        raise RefusedError(f"{option}: {fault}") from None


def _answering(command: Callable[P, int | None]) -> Callable[P, None]:
    """End the process with what the command returns; a refusal is printed as it stands, never as a traceback."""

    @functools.wraps(command)
    def answer(*arguments: P.args, **options: P.kwargs) -> None:
        try:
            code = command(*arguments, **options) or 0
            sys.stdout.flush()
        except DetektrError as fault:
            code = _say(str(fault), fault.exit_code)
        except KeyboardInterrupt:
            code = 130
        except BrokenPipeError:  # whoever read our output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 0
        except Exception as fault:
            if os.environ.get("DETEKTR_LOG", "").strip().lower() == "debug":
                raise
            from detektr.telemetry.log import describe

            code = _say(f"a fault of detektr itself: {describe(fault)}; DETEKTR_LOG=debug shows where", 1)
        raise SystemExit(code)

    return answer


def _say(text: str, code: int) -> int:
    from detektr.telemetry.log import mask

    print(mask(text), file=sys.stderr)
    return code


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


# -- whole pipelines ---------------------------------------------------------------------------------------------------


@pipeline_app.command("up")
@_answering
def _up(
    file: FileArgument = Path("pipeline.yaml"),
    for_: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Drain and end after this time: 10s.")
    ] = None,
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the ledger there as JSON.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No table; of the log only warnings and worse.")] = False,
) -> int:
    """Start a pipeline and stay with it until it ends.

    Ctrl-C drains it and prints the ledger.
    """
    from detektr.pipeline.forks import ForkServer

    with ForkServer(file) as forks:
        if os.path.isfile(file):  # Path.is_file raises where a name is too long, or a folder is not for us
            forks.start()  # first: it imports while we do, and read the file
        from detektr.pipeline.up import run_up

        for_ns = None if for_ is None else _duration_ns(for_, "--for")
        return run_up(file, forks, for_ns=for_ns, report=report, quiet=quiet)


@pipeline_app.command("validate")
@_answering
def _validate(file: FileArgument = Path("pipeline.yaml")) -> None:
    """List all that is wrong with a file or missing on this machine."""
    from detektr.pipeline.load import PipelineFileError, check_machine, load_pipeline
    from detektr.pipeline.summary import describe_plan

    pipeline = load_pipeline(file)
    faults = check_machine(pipeline)
    if faults:
        raise PipelineFileError(file, faults, pipeline.secrets)
    print(describe_plan(pipeline))


@pipeline_app.command("graph")
@_answering
def _graph(file: FileArgument = Path("pipeline.yaml")) -> None:
    """Draw the graph of a file as Mermaid."""
    from detektr.pipeline.graph import mermaid
    from detektr.pipeline.load import load_pipeline

    print(mermaid(load_pipeline(file).graph), end="")


@pipeline_app.command("schema")
@_answering
def _schema() -> None:
    """Print the JSON Schema of the file, for editors."""
    import json

    from detektr.pipeline.schema import json_schema

    print(json.dumps(json_schema(), indent=2))


@pipeline_app.command("status")
@_answering
def _status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Which pipeline; all, if left out.")] = None,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say how a pipeline is, or which ones run."""
    import json

    from detektr.pipeline.roster import list_pipelines, read_status
    from detektr.pipeline.summary import describe_pipelines, describe_status

    if name is None:
        pipelines = list_pipelines()
        print(json.dumps(pipelines, indent=2) if is_json else describe_pipelines(pipelines))
    else:
        status = read_status(name)
        print(json.dumps(status, indent=2) if is_json else describe_status(status))


@pipeline_app.command("down")
@_answering
def _down(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which pipeline.")],
    wait: Annotated[str, typer.Option(metavar="TIME", help="How long to wait for its end.")] = "60s",
) -> int:
    """Let a pipeline drain and end, and wait for it."""
    from detektr.pipeline.roster import stop_pipeline

    if stop_pipeline(name, _duration_ns(wait, "--wait")):
        print(f"{name} has ended")
        return 0
    return _say(f"{name} has not ended within {wait}; it goes on draining: `detektr pipeline status {name}`", 1)


@pipeline_app.command("logs")
@_answering
def _logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which pipeline.")],
    node: Annotated[str | None, typer.Argument(metavar="[NODE]", help="Only this node, or process (motion.0).")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with lines as they come.")] = False,
) -> None:
    """Print what the processes of a pipeline wrote."""
    from detektr.pipeline.logbook import read_logs

    for line in read_logs(name, node, follow=follow):
        print(line, flush=follow)


# -- single nodes ------------------------------------------------------------------------------------------------------


@app.command("capture")
@_answering
def _capture(
    file: FileOption = None,
    node: NodeOption = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="clip.mp4, rtsp://..., /dev/video0, lavfi:..., python:module:name"),
    ] = None,
    name: NameOption = None,
    in_: InOption = "local",
    realtime: Annotated[bool, typer.Option("--realtime", help="A file at its own pace.")] = False,
    loop: Annotated[bool, typer.Option("--loop", help="A file again when it ends.")] = False,
    fps: Annotated[float | None, typer.Option(metavar="RATE", help="Thin out to this many frames a second.")] = None,
    format: Annotated[str | None, typer.Option(metavar="FORMAT", help="Pixel format; the decoder's own.")] = None,
    width: Annotated[int | None, typer.Option(metavar="PIXELS", help="Scaled while captured.")] = None,
    height: Annotated[int | None, typer.Option(metavar="PIXELS", help="Scaled while captured.")] = None,
    slots: Annotated[
        int | None, typer.Option(metavar="N", help="Frames that its readers may hold together, and 4.")
    ] = None,
    high_water_mark: MarkOption = None,
    when_full: FullOption = None,
    with_: WithOption = None,
    metrics_port: PortOption = None,
) -> None:
    """Decode one camera, file or generator.

    Either a node of a file (--pipeline FILE --node NAME), or one without: --name cam --source clip.mp4.
    """
    given = {
        "source": source, "realtime": realtime, "loop": loop, "fps": fps, "format": format, "width": width,
        "height": height, "slots": slots, "high_water_mark": high_water_mark, "when_full": when_full, "with": with_,
    }  # fmt: skip
    _run_alone("capture", file, node, 0, in_, name or "cam", given, metrics_port)


@app.command("buffer")
@_answering
def _buffer(
    file: FileOption = None,
    node: NodeOption = None,
    input: InputOption = None,
    name: NameOption = None,
    in_: InOption = "local",
    high_water_mark: MarkOption = None,
    when_full: FullOption = None,
    max_age: Annotated[str | None, typer.Option(metavar="TIME", help="Older frames are dropped: 2s.")] = None,
    metrics_port: PortOption = None,
) -> None:
    """Queue frames for their readers.

    Either a node of a file (--pipeline FILE --node NAME), or one without: --name b --input cam.
    """
    given = {"input": input, "high_water_mark": high_water_mark, "when_full": when_full, "max_age": max_age}
    _run_alone("buffer", file, node, 0, in_, name or "buffer", given, metrics_port)


@app.command("processor")
@_answering
def _processor(
    use: UseArgument = None,
    file: FileOption = None,
    node: NodeOption = None,
    replica: ReplicaOption = 0,
    input: InputOption = None,
    name: NameOption = None,
    in_: InOption = "local",
    with_: WithOption = None,
    window: WindowOption = None,
    timeout: TimeoutOption = None,
    max_deliveries: AttemptsOption = None,
    metrics_port: PortOption = None,
) -> None:
    """Run your code on every frame.

    Either a node of a file (--pipeline FILE --node NAME), or one without: my.module:Class --input cam.
    """
    given = {
        "use": use, "input": input, "with": with_,
        "window": window, "timeout": timeout, "max_deliveries": max_deliveries,
    }  # fmt: skip
    _run_alone("processor", file, node, replica, in_, name, given, metrics_port)


@app.command("sink")
@_answering
def _sink(
    use: UseArgument = None,
    file: FileOption = None,
    node: NodeOption = None,
    input: InputOption = None,
    name: NameOption = None,
    in_: InOption = "local",
    with_: WithOption = None,
    window: WindowOption = None,
    timeout: TimeoutOption = None,
    max_deliveries: AttemptsOption = None,
    metrics_port: PortOption = None,
) -> None:
    """Take the events of processors.

    Either a node of a file (--pipeline FILE --node NAME), or one without: my.module:Class --input motion.
    """
    given = {
        "use": use, "input": input, "with": with_,
        "window": window, "timeout": timeout, "max_deliveries": max_deliveries,
    }  # fmt: skip
    _run_alone("sink", file, node, 0, in_, name, given, metrics_port)


def _run_alone(
    kind: str,
    file: Path | None,
    node: str | None,
    replica: int,
    pipeline: str,
    name: str | None,
    given: dict[str, Any],
    metrics_port: int | None,
) -> None:
    from detektr.pipeline.entry import leave
    from detektr.pipeline.lone import run_alone, spec_for

    leave(run_alone(spec_for(kind, file, node, replica, pipeline, name, given), metrics_port=metrics_port))


# -- sources -----------------------------------------------------------------------------------------------------------


@app.command("probe")
@_answering
def _probe(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="rtsp://..., http(s)://..., clip.mp4, /dev/video0.")],
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long to look.")] = "5s",
    transport: Annotated[
        str | None, typer.Option(metavar="HOW", help="Of rtsp://: tcp, udp or auto; tcp, if left out.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Say what a source is, what will bite, and what to write for it."""
    from detektr.probe import probe

    found = probe(source, _duration_ns(for_, "--for") / 1e9, transport)
    print(found.as_json() if is_json else found.as_text())


# -- shared memory -----------------------------------------------------------------------------------------------------


@shm_app.command("ls")
@_answering
def _ls() -> None:
    """List every file of every pipeline, its size and who owns it."""
    from detektr.pipeline.shm import list_shm, shm_table

    print(shm_table(list_shm()))


@shm_app.command("clean")
@_answering
def _clean() -> None:
    """Remove what no live process owns."""
    from detektr.pipeline.shm import clean_shm, cleaned_words

    print(cleaned_words(*clean_shm()))
