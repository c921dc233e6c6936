"""`detektr trace`, `detektr audit ...`: what became of single frames, and what nodes and operators did."""

from __future__ import annotations

from typing import Annotated

import typer

from detektr.cli.answering import PLAIN, answering, otel_extra, say_sent, tell

app = typer.Typer(**PLAIN)
audit_app = typer.Typer(help="Ask the audit trail about frames and nodes.", **PLAIN)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The pipeline.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one record a line.")]


@app.command("trace")
@answering
def _trace(
    frame: Annotated[str, typer.Argument(metavar="FRAME_ID", help="The frame's id, or CAMERA/SEQUENCE.")],
    name: Annotated[str | None, typer.Option("--name", metavar="N", help="Look in this pipeline only.")] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what happened to one frame, where and when.

    The audit trail must have recorded the frame: `audit: {to: sqlite:audit.db, frames: all}`.
    """
    import json

    from detektr.observe.trail.trace import describe_trace, trace

    answer = trace(frame, name)
    print(json.dumps(answer, indent=2) if is_json else describe_trace(answer))


@app.command("traces")
@answering
def _traces(
    name: NameArgument,
    to: Annotated[str, typer.Option("--to", metavar="URL", help="Address of the collector.")] = "http://127.0.0.1:4318",
) -> int:
    """Send traces of frames to an OpenTelemetry collector.

    It makes a span for each edge and for the work of each node out of the audit trail, and sends them (OTLP over HTTP)
    until the run ends. `detektr logs NAME --to URL` sends the log. It needs: pip install "detektr[otel]".
    """
    with otel_extra("traces"):
        from detektr.tooling.otlp.traces import send_traces
    return say_sent("spans", to, send_traces(name, to, tell))


@audit_app.command("tail")
@answering
def _tail(
    name: NameArgument,
    lines: Annotated[int, typer.Option("-n", min=1, max=100_000, help="How many records.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print further records as they come.")] = False,
    is_json: JsonOption = False,
) -> None:
    """Print the newest records of the trail."""
    import json

    from detektr.observe.trail.trace import describe_records, tail

    for record in tail(name, lines, follow=follow):
        print(json.dumps(record) if is_json else describe_records([record]), flush=follow)


@audit_app.command("query")
@answering
def _query(
    name: NameArgument,
    node: Annotated[str, typer.Option("--node", metavar="N", help="Only records of edges from or to this node.")] = "",
    edge: Annotated[str, typer.Option("--edge", metavar="E", help="Only records of this edge (buffer->detect).")] = "",
    outcome: Annotated[
        str,
        typer.Option(
            "--outcome",
            metavar="O",
            help="Only this outcome: delivered, failed, dead_lettered, dropped, or its reason.",
        ),
    ] = "",
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="TIME", help="From this time on: 14:03, 14:03:20, 2026-11-30T14:03, or 10m ago."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="TIME", help="Up to this time, written likewise.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000_000, help="Print at most so many records, the newest.")
    ] = 1000,
    is_json: JsonOption = False,
) -> None:
    """Print records of the trail by time, edge, node or outcome.

    A time without a day is the latest such time that has passed, on this machine's clock. Times in JSON are UTC.
    """
    import json
    import time

    from detektr.observe.trail.times import span_of_time
    from detektr.observe.trail.trace import describe_records, nothing_found, query

    begin_s, end_s = span_of_time(since, until, time.time())
    found = query(name, node=node, edge=edge, outcome=outcome, since_s=begin_s, until_s=end_s, rows_max=limit)
    for record in found:
        print(json.dumps(record) if is_json else describe_records([record]))
    if not found:
        tell(nothing_found(name, begin_s, end_s))
