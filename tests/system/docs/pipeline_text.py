"""Pipeline files around one key, to see whether the key and its value are accepted there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from detektr.config.document import read_document
from detektr.config.schema import read_options
from detektr.registry.node_kinds import NODE_KINDS

ENVIRONMENT = {"PASSWORD": "hunter2", "TOKEN": "a-token-of-16-characters"}
SECTION: Mapping[str, tuple[str, dict[str, Any]]] = {
    "restart": ("processor", {}),
    "retry": ("sink", {}),
    "batch": ("processor", {"size": 8}),
    "input": ("processor", {"from": "buffer"}),
}
"""Sections of a node: a kind that has it, and what must stand in it."""


def around(place: str, key: str, value: Any) -> dict[str, Any]:
    """Return a file that has a key in a place: "" for its top, a kind of node, or a section."""
    source = "python:my.module:pictures" if key == "with" else "lavfi:nullsrc"
    nodes: dict[str, Any] = {"cam": {"kind": "capture", "source": source}}
    for kind in NODE_KINDS.values():
        if kind.name != "capture":
            use = {"processor": "my.module:MyClass", "sink": "jsonl"}.get(kind.name)
            reads = "cam" if "capture" in kind.may_read else "processor" if "buffer" not in kind.may_read else "buffer"
            nodes[kind.name] = {"kind": kind.name, "input": reads, **({"use": use} if use else {})}
    file: dict[str, Any] = {"name": "shop", "nodes": nodes}
    if place == "":
        file[key] = value
    elif place in ("audit", "metrics", "web"):
        file[place] = {**({"to": "sqlite:audit.db"} if place == "audit" else {}), key: value}
    elif place in SECTION:
        kind_name, needed = SECTION[place]
        nodes[kind_name][place] = {**needed, key: value}
    else:
        nodes["cam" if place == "capture" else place][key] = value
    return file


def faults(file: dict[str, Any]) -> Iterator[str]:
    """Yield what is wrong with a file, as far as its keys and values go."""
    for fault in read_options(read_document(yaml.safe_dump(file, sort_keys=False), ENVIRONMENT)).faults:
        yield fault.text


def fits_somewhere(key: str, value: Any) -> bool:
    """Whether a key with this value is accepted at the top of a file, in a node of some kind, or in an `input`."""
    return any(not list(faults(around(place, key, value))) for place in ("", *NODE_KINDS, "input"))
