"""`detektr probe`, `new`, `list`, `shm ...`: commands about the machine, without a pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from detektr.cli.answering import PLAIN, answering, duration_ns

app = typer.Typer(**PLAIN)
shm_app = typer.Typer(help="Show what lies in shared memory; remove what nobody owns.", **PLAIN)


@app.command("probe")
@answering
def _probe(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="rtsp://..., http(s)://..., clip.mp4, /dev/video0.")],
    for_: Annotated[str, typer.Option("--for", metavar="TIME", help="How long to read the source.")] = "5s",
    transport: Annotated[
        str | None, typer.Option(metavar="HOW", help="How an rtsp:// camera sends: tcp (the default), udp or auto.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a source, and print its lines for a pipeline file."""
    from detektr.tooling.probe import probe

    found = probe(source, duration_ns(for_, "--for") / 1e9, transport)
    print(found.as_json() if is_json else found.as_text())


@app.command("doctor")
@answering
def _doctor(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A pipeline file, to check what it needs.")
    ] = None,
    is_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what on this machine would hurt a pipeline.

    It looks at shared memory (with `--shm-size` for a container), disk, limits, cores, decoders, ports, clock.
    """
    import json
    from dataclasses import asdict

    from detektr.tooling.doctor import describe, examine, refuse_bad

    findings = examine(file)
    print(json.dumps([asdict(one) for one in findings], indent=2) if is_json else describe(findings))
    refuse_bad(findings)


@app.command("new")
@answering
def _new(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new folder; its name is the pipeline's.")],
) -> None:
    """Make a folder with a pipeline, a processor and its test.

    Then: cd FOLDER, python -m pytest, detektr up.
    """
    from detektr.tooling.scaffold import make_project

    for file in make_project(folder):
        print(file)
    print(f"next: cd {folder}; detektr up (Ctrl-C ends it); python -m pytest, if pytest is installed")


@app.command("list")
@answering
def _list(
    group: Annotated[
        str | None, typer.Argument(metavar="[WHAT]", help="processors, sinks or sources; by default all.")
    ] = None,
) -> None:
    """List the short names for `use` and for python: sources.

    It lists those of installed packages too, and says of a broken one why it is broken.
    """
    from detektr.tooling.catalogue import describe_plugins

    print(describe_plugins(group))


@shm_app.command("ls")
@answering
def _ls() -> None:
    """List every file of every pipeline, its size and who owns it."""
    from detektr.observe.shm import list_shm, shm_table

    print(shm_table(list_shm()))


@shm_app.command("clean")
@answering
def _clean() -> None:
    """Remove the files that no live process owns."""
    from detektr.observe.shm import clean_shm, cleaned_words

    print(cleaned_words(*clean_shm()))
