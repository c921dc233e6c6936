"""`detektr capture|buffer|processor|sink`: one node by itself, of a file or without one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from detektr.cli.answering import PLAIN, answering

app = typer.Typer(**PLAIN)

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


@app.command("capture")
@answering
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
    _run_standalone("capture", file, node, 0, in_, name or "cam", given, metrics_port)


@app.command("buffer")
@answering
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
    _run_standalone("buffer", file, node, 0, in_, name or "buffer", given, metrics_port)


@app.command("processor")
@answering
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
    _run_standalone("processor", file, node, replica, in_, name, given, metrics_port)


@app.command("sink")
@answering
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
    _run_standalone("sink", file, node, 0, in_, name, given, metrics_port)


def _run_standalone(
    kind: str,
    file: Path | None,
    node: str | None,
    replica: int,
    pipeline: str,
    name: str | None,
    given: dict[str, Any],
    metrics_port: int | None,
) -> None:
    from detektr.nodes.ending import Ending
    from detektr.standard_streams import keep_streams
    from detektr.supervisor.entry import end_process
    from detektr.supervisor.standalone import run_standalone, spec_for

    spec = spec_for(kind, file, node, replica, pipeline, name, given)
    keep_streams()
    ending = Ending(spec, None)
    end_process(run_standalone(spec, metrics_port=metrics_port, ending=ending), ending)
