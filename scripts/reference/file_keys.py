"""The page of the pipeline file: each key with what it means, what it takes, its default and an example."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import MappingProxyType
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Le

from detektr.config.cameras import CAMERAS, DEFAULTS
from detektr.config.pipeline_options import AuditOptions, MetricsOptions, PipelineOptions, WebOptions
from detektr.config.suggestions import default_of, keys_of, section_of, words_of
from detektr.options import BatchOptions, EdgeInput, RestartOptions, RetryOptions, Text
from detektr.registry.node_kinds import NODE_KINDS, NodeKind
from scripts.reference.markdown import code, docstrings_of_fields, document, first_paragraph, sentence, table

EXAMPLES: Mapping[str, str] = MappingProxyType(
    {
        "nodes": "{cam: {kind: capture, source: clip.mp4}}",
        "name": "shop",
        "audit": "sqlite:audit.db",
        "audit.to": "sqlite:audit.db",
        "audit.frames": "1%",
        "audit.keep": "12h",
        "audit.prefix": "''",
        "metrics": "{port: 9464}",
        "web": "{port: 8002}",
        "host": "127.0.0.1",
        "port": "0",
        "token": "${TOKEN}",
        "open": "[dequeue, ack]",
        "names": "[cameras.example]",
        "memory": "128MiB",
        "restart": "{when: always, backoff: 1s..60s}",
        "limit": "3 in 1m",
        "backoff": "1s..30s",
        "for": "1h",
        "size": "8",
        "wait": "20ms",
        "env": '{CUDA_VISIBLE_DEVICES: "0"}',
        "cpus": "[0]",
        "nice": "5",
        "source": "rtsp://user:${PASSWORD}@10.0.0.5/stream1",
        "with": "{threshold: 0.5}",
        "fps": "10",
        "camera": "door",
        "cameras": "[door]",
        "format": "bgr24",
        "width": "1280",
        "height": "720",
        "slots": "64",
        "stream": "720p",
        "input": "cam",
        "from": "cam",
        "use": "my.module:MyClass",
        "retry": "{backoff: 1s..60s, for: 1h}",
        "batch": "{size: 8, wait: 20ms}",
        "window": "1",
        "replicas": "2",
        "max_replicas": "4",
        "guests": "8",
        "high_water_mark": "16",
        "low_water_mark": "8",
        "event_bytes": "65536",
        "max_deliveries": "5",
        "decoder_threads": "2",
        "open_timeout": "5s",
        "stall_timeout": "20s",
        "start_timeout": "2m",
        "drain": "30s",
        "timeout": "1m",
    }
)
"""An example where one that fits the kind of value would say little; by key, or section and key. A test reads them."""
UNITS = ("A time is written `500ms`, `10s`, `2m` or `1h`, a size `64MiB` or `1GiB`, and `fps` in frames a second.",)
SECTIONS: Mapping[str, tuple[type, str]] = MappingProxyType(
    {
        "audit": (AuditOptions, "The audit trail, if `audit` is a mapping."),
        "metrics": (MetricsOptions, "The endpoint from which Prometheus scrapes the metrics."),
        "web": (WebOptions, "The web server. `web: {}` starts it with all defaults."),
        "input": (EdgeInput, "One `input`, if it is a mapping: the settings of this edge alone."),
        "restart": (RestartOptions, "How the supervisor restarts a node; every node has this key."),
        "retry": (RetryOptions, "How a sink tries again an event that it could not write."),
        "batch": (BatchOptions, "The batches of a processor that has `process_batch`."),
    }
)
"""Sections of the file: the class of each, and whose it is."""
FIELDS = {"from": "from_", "for": "for_", "with": "with_"}


def page() -> str:
    """Return the page."""
    kinds = [_kind(kind) for kind in NODE_KINDS.values()]
    sections = [f"## `{name}`\n\n{text}\n\n{_keys(cls, name)}" for name, (cls, text) in SECTIONS.items()]
    top = (
        f"## The top of the file\n\n{_keys(PipelineOptions, '')}\n\n`{CAMERAS}` maps the name of each camera to its "
        f"source, or to a mapping with the keys of a [capture](#capture). `{DEFAULTS}` holds keys that all these "
        "cameras share. How to use both: [many cameras](../how-to/many-cameras.md). "
        "Every node also takes the [keys of all nodes](#every-node)."
    )
    values = (
        "## Values\n\n"
        + UNITS[0]
        + " `${NAME}` and `${NAME:-default}` stand for a variable of the environment, `${file:NAME}` for the content of"
        " a file in `$CREDENTIALS_DIRECTORY` or `/run/secrets`; detektr never prints these values. Relative paths and"
        " modules are looked for beside the pipeline file. `detektr validate` lists all faults with their lines, and"
        " `detektr schema` prints the JSON Schema for editors."
    )
    common = f"## Every node\n\n{_keys(_common(), '')}"
    return document("The pipeline file", values, top, *kinds, common, *sections)


def example_of(cls: type, section: str, key: str) -> str:
    """Return an example of a key, as a file writes it."""
    if f"{section}.{key}" in EXAMPLES:
        return EXAMPLES[f"{section}.{key}"]
    annotation = typing.get_type_hints(cls, include_extras=True)[FIELDS.get(key, key)]
    default = default_of(cls, FIELDS.get(key, key))
    return EXAMPLES.get(key) or _fitting(annotation, default)


def _fitting(annotation: Any, default: object) -> str:
    """Return a value that fits a key, and is not the default where there is another."""
    for part in (annotation, *get_args(annotation)):
        if part is bool:
            return json.dumps(default is not True)
        if get_origin(part) is Literal:
            return str(next((one for one in get_args(part) if one != default), get_args(part)[0]))
        if get_origin(part) is Annotated:
            plain, *notes = get_args(part)
            text = next((note.words for note in notes if isinstance(note, Text)), "")
            if text:
                return text.partition("such as ")[2].split(",")[0].split(" or ")[0] or "example"
            if any(isinstance(note, Ge | Le) for note in notes):
                low = next((note.ge for note in notes if isinstance(note, Ge)), 1)
                return str(low if plain is int else float(str(low)))
            return _fitting(plain, default)
    return "example"


def _kind(kind: NodeKind) -> str:
    shared = {one.name for one in fields(_common())}
    may_read = f" It can read from: {', '.join(kind.may_read)}." if kind.may_read else ""
    text = f"{sentence(first_paragraph(kind.options))}{may_read}"
    return f"## `{kind.name}`\n\n{text}\n\n{_keys(kind.options, '', shared | {'kind'})}".replace(
        f"## `{kind.name}`", f"## {kind.name.capitalize()}"
    )


def _common() -> type:
    """Return the class of the keys that every node has."""
    return next(one for one in NODE_KINDS["capture"].options.__mro__[1:] if is_dataclass(one))


def _keys(cls: type, section: str, without: frozenset[str] | set[str] = frozenset()) -> str:
    hints = typing.get_type_hints(cls, include_extras=True)
    texts: dict[str, str] = {}
    for base in reversed([one for one in cls.__mro__ if is_dataclass(one)]):
        texts |= docstrings_of_fields(base)
    rows = []
    for key in keys_of(cls):
        name = FIELDS.get(key, key)
        if name in without or key in without:
            continue
        rows.append(
            (
                code(key),
                sentence(texts[name]),
                _takes(hints[name]),
                _default(cls, name),
                code(f"{key}: {example_of(cls, section, key)}"),
            )
        )
    return table(("key", "meaning", "takes", "default", "example"), rows)


def _takes(annotation: Any) -> str:
    """Say what a key takes, shortly where it takes a section of its own."""
    section = section_of(annotation)
    if section is not None:
        name = next(name for name, (cls, _) in SECTIONS.items() if cls is section)
        return f"{'text, or ' if section is AuditOptions else ''}a mapping: [below](#{name})"
    words = words_of(annotation)
    return words if len(words) < 200 else "a name out of FFmpeg's list"


def _default(cls: type, name: str) -> str:
    default = default_of(cls, name)
    if default is MISSING:
        return "**must be given**"
    if default is None:
        found = next(one for one in fields(cls) if one.name == name)
        made = None if found.default_factory is MISSING else found.default_factory()
        return "not set" if made is None else code(json.dumps(made)) if made in ([], {}) else f"[below](#{name})"
    return code(json.dumps(default) if isinstance(default, bool | int | float) else str(default) or "''")
