"""A pipeline file from disk: everything that is wrong with it at once, or a pipeline ready to be started."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detektr.config.cameras import expand_cameras
from detektr.config.document import Document, Fault, read_document
from detektr.config.graph.checks import build_graph
from detektr.config.graph.topology import Graph
from detektr.config.node_env import env_secrets
from detektr.config.schema import PipelineOptions, read_options
from detektr.errors import RefusedError
from detektr.options import CaptureOptions
from detektr.process.placement import absent_cpus, cpus_in_words
from detektr.redaction import MASK, SECRET_CHARS_MIN, mask_with, redact, url_secrets
from detektr.source_uri import host_and_port, is_series, source_kind, source_path

FILE_BYTES_MAX = 1 << 18  # some 2,000 nodes, read in a few seconds

_HOST_PORT = re.compile(r"(\[[^\]]*\]|[^:/?#]*)(?::([^/?#]*))?")


class PipelineFileError(RefusedError):
    """A pipeline file was refused; the text has a line `FILE:LINE: what, expected, what to do` for each fault."""

    def __init__(self, path: Path, faults: Iterable[Fault], secrets: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.faults = tuple(sorted(set(faults), key=lambda fault: (fault.line, fault.what)))
        lines = [
            f"{path}:{fault.line}: {' '.join(mask_with(fault.text, secrets or {}).split())}" for fault in self.faults
        ]
        count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
        super().__init__("\n".join([*lines, f"{path}: {count}, nothing was started"]))


@dataclass(frozen=True)
class Pipeline:
    """A pipeline file that was read and found good."""

    path: Path
    options: PipelineOptions
    graph: Graph
    secrets: Mapping[str, str]
    """What must not be printed, and what stands in its place; for `source_kind.mask`."""
    document: Document
    """The file's values and lines, cameras written out, for faults that are found later."""

    @property
    def folder(self) -> Path:
        """The folder that relative paths of the file are meant from."""
        return self.path.absolute().parent


def load_pipeline(path: Path, environment: Mapping[str, str] | None = None) -> Pipeline:
    """Read and check a pipeline file; only it and its secrets' files are opened, no module of the user's is imported.

    Args:
        path: the file.
        environment: what `${NAME}` is replaced from; this process's own unless told otherwise.
    Raises:
        PipelineFileError: the file is refused; has all its faults.
    """
    text = _read(path)
    document = read_document(text, os.environ if environment is None else environment)
    secrets = _secrets(document)
    if document.values is None:
        raise PipelineFileError(path, document.faults, secrets)
    expansion = expand_cameras(document)
    document = expansion.document
    reading = read_options(document)
    if expansion.faults:  # what the graph lacks may be what these cameras meant
        raise PipelineFileError(path, [*expansion.faults, *expansion.in_words(reading.faults)], secrets)
    graph, faults = build_graph(
        reading.options.nodes,
        document.line,
        broken=reading.broken,
        unsure=reading.unsure,
        memory=reading.options.memory,
    )
    if reading.faults or faults or graph is None:
        raise PipelineFileError(path, expansion.in_words([*reading.faults, *faults]), secrets)
    secrets = dict.fromkeys(env_secrets(reading.options.nodes), MASK) | secrets
    return Pipeline(path, reading.options, graph, secrets, document)


def check_machine(pipeline: Pipeline) -> list[Fault]:
    """Look whether this machine has what the file asks for: files, devices, CPUs, its ports, the audit's folder.

    Nothing is left behind or held: what is free now may be taken when the pipeline starts.
    """
    faults = []
    for name, node in pipeline.options.nodes.items():
        if isinstance(node, CaptureOptions):
            found = _source_fault(node.source, pipeline.folder)
            if found is not None:
                line = pipeline.document.line("nodes", name, "source")
                faults.append(replace(found, line=line, what=f"node {name!r}: {found.what}"))
        absent = absent_cpus(node.cpus or ())
        if absent:
            what = f"node {name!r}: `cpus` has {cpus_in_words(absent)}, on which detektr cannot run here"
            here = cpus_in_words(os.sched_getaffinity(0))
            hint = "correct it, or give detektr more of them (taskset; a container: --cpuset-cpus)"
            faults.append(Fault(pipeline.document.line("nodes", name, "cpus"), what, f"CPUs out of {here}", hint))
    metrics, web = pipeline.options.metrics, pipeline.options.web
    looks = [
        (_port_fault("metrics", metrics.host, metrics.port), ("metrics", "port")),
        (None if web is None else _port_fault("web", web.host, web.port), ("web", "port")),
        (_audit_fault(pipeline), ("audit", "to")),
    ]
    for found, key in looks:
        if found is not None:
            faults.append(replace(found, line=pipeline.document.line(*key)))
    return [
        replace(fault, what=mask_with(fault.what, pipeline.secrets), hint=mask_with(fault.hint, pipeline.secrets))
        for fault in faults
    ]


def _read(path: Path) -> str:
    """Return the file's text; every way in which it has none is a fault on a line."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            kind = "a directory" if path.is_dir() else "not a regular file"
            hint = "name the file in it, e.g. pipeline.yaml" if path.is_dir() else "write it to a file first"
            raise PipelineFileError(path, [Fault(1, f"this is {kind}", "a YAML file", hint)])
        with path.open("rb") as file:
            payload = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL
        why = (getattr(error, "strerror", None) or str(error)).lower()
        hint = "check its path and whether you may read it"
        raise PipelineFileError(path, [Fault(1, f"this cannot be read: {why}", "a YAML file", hint)]) from None
    if len(payload) > FILE_BYTES_MAX:
        what = f"the file has more than {FILE_BYTES_MAX // 1024} KiB"
        raise PipelineFileError(
            path, [Fault(1, what, "a pipeline file", "check that it is a pipeline file, and split it if it is")]
        )
    try:
        return payload.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = payload.count(b"\n", 0, error.start) + 1
        what = f"the byte 0x{payload[error.start]:02x} is not UTF-8"
        raise PipelineFileError(path, [Fault(line, what, "UTF-8 text", "save the file as UTF-8")]) from None


def _secrets(document: Document) -> dict[str, str]:
    """Return what came from the environment as text, and the passwords in the file's URLs."""
    secrets = {password: "***" for text in _texts(document.values) for password in url_secrets(text)}
    web = (document.values or {}).get("web")
    token = web.get("token") if isinstance(web, dict) else None
    if isinstance(token, str) and len(token) >= SECRET_CHARS_MIN:
        secrets[token] = MASK
    return secrets | {text: name for text, name in document.secrets.items() if len(text) >= SECRET_CHARS_MIN}


def _texts(values: Any) -> list[str]:
    if isinstance(values, str):
        return [values]
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    return [text for value in inner for text in _texts(value)]


def _source_fault(source: str, folder: Path) -> Fault | None:
    path = source_path(source, folder)
    if path is None:
        return _url_fault(source)
    kind = source_kind(source)
    expected = f"a {kind} that can be read"
    try:
        path.stat()
        if path.is_dir():
            if kind == "file" and next(path.iterdir(), None) is not None:
                return None  # whether these are images, the capture says
            found = "an empty folder" if kind == "file" else "a directory"
            return Fault(1, f"`source` {str(path)!r} is {found}", expected, "name a file, or a folder of images")
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)):  # a pipe or device may wait
            return None
    except (OSError, ValueError) as error:
        if is_series(path) and path.parent.is_dir():
            return None  # pictures by number: whether there are any, the capture says
        why = (getattr(error, "strerror", None) or str(error)).lower()
        near = ", ".join(sorted(str(other) for other in Path("/dev").glob("video*"))[:8]) or "no /dev/video*"
        hint = f"correct the path (relative ones are beside the pipeline file, {folder})"
        if kind == "device":
            hint = f"plug it in, or name another (here: {near}); `usermod -aG video` where only the right is missing"
        return Fault(1, f"`source` {str(path)!r} cannot be read: {why}", expected, hint)


def _url_fault(source: str) -> Fault | None:
    if source_kind(source) != "stream":
        return None
    # Behind the last @: a camera's password may hold anything.
    host, port = next(_HOST_PORT.finditer(source.partition("://")[2].rpartition("@")[2])).groups()
    if port is not None and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        what, hint = f"`source` {redact(source)!r} has the port {port!r:.20}", "write a number from 1 to 65535"
    elif not host and port is None:
        what, hint = f"`source` {redact(source)!r} names no host", "write the camera's address"
    else:
        return None
    return Fault(1, what, "scheme://host:port/path", hint)


def _port_fault(what: str, host: str, port: int | None) -> Fault | None:
    if not port:
        return None  # none asked for, or any free one
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            # As the server will ask for it: a port whose last connections are only closing counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
            probe.listen(1)  # with SO_REUSEADDR only this tells that somebody listens
    except (OSError, UnicodeError) as error:
        why = (getattr(error, "strerror", None) or str(error)).lower()
        hint = "stop the program that listens there, or write another port (0 takes a free one)"
        return Fault(1, f"{what} cannot listen on {host_and_port(host, port)}: {why}", "a free port", hint)
    return None


def _audit_fault(pipeline: Pipeline) -> Fault | None:
    kind, _, text = pipeline.options.audit.to.partition(":")
    if kind != "sqlite":
        return None
    path = pipeline.folder / text
    hint = "make it writeable, or name another path"
    if path.is_dir():
        return Fault(1, f"`audit` {str(path)!r} is a directory", "a file", "name a file in it")
    if not path.parent.is_dir():
        make = f"make it (mkdir -p {path.parent}), or name another path"
        return Fault(1, f"`audit`: there is no folder {str(path.parent)!r}", "a folder that can be written to", make)
    if not os.access(path.parent, os.W_OK | os.X_OK):  # SQLite writes its journal beside the file
        return Fault(1, f"`audit`: folder {str(path.parent)!r} is read-only", "a folder that can be written to", hint)
    if path.exists() and not os.access(path, os.W_OK):
        return Fault(1, f"`audit`: file {str(path)!r} is read-only", "a file that can be written to", hint)
    return None
