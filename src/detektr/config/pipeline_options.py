"""The keys at the top of a pipeline file, beside the nodes: name, audit trail, metrics, web, lane, dead letters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from detektr.option_text import OptionError
from detektr.options import STRICT, Lane, Name, NodeOptions, Size, Text, size_of

_MOST = {"sqlite": "2GiB", "redis": "256MiB"}  # of the audit trail, unless told otherwise
_MOST_BOUNDS = "16MiB", "16384GiB"  # at least, at most
_DAY_S = 24 * 3600
_PERCENT = re.compile(r"^([0-9]+(?:\.[0-9]+)?) ?%$")
_KEEP = re.compile(r"^([0-9]{1,5}) ?(h|d)$")
HOST_WORDS = "a host name or address such as 127.0.0.1"
WEB_PORT = 8002
TOKEN_FILE = "web.token"  # in the pipeline's state folder, where the file gives no token
_DEAD_LETTERS = "256MiB", "16MiB", "1024GiB"  # unless told otherwise, at least, at most
_SEEN = "1GiB", "16MiB", "16384GiB"  # likewise

Keep = Annotated[str, Text(r"^[1-9][0-9]{0,4} ?(h|d)$", "a time such as 12h or 30d")]
"""How long something is kept."""


def _keep_s(text: str) -> int:
    """Return a time of `Keep` in seconds."""
    found = _KEEP.match(text)
    assert found is not None
    return int(found[1]) * (_DAY_S if found[2] == "d" else 3600)


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """Where the audit trail goes, which frames are in it, and how long it is kept."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    to: Annotated[
        str, Text(r"^(none|sqlite:\S.*|rediss?://\S+)$", "sqlite:PATH, redis://..., rediss://... or none")
    ] = "none"
    """Where the trail goes: sqlite:PATH (beside the pipeline file unless absolute), redis://..., rediss://... or
    none."""
    frames: Annotated[
        str, Text(r"^(all|dropped|none|[0-9]{1,2}(\.[0-9]{1,4})? ?%)$", "all, dropped, none or a share such as 1%")
    ] = "dropped"
    """Which frames the trail records, each on all its edges: `all`, those that were lost (`dropped`), those that were
    lost and a share of all (`1%`), or `none`."""
    keep: Keep = "30d"
    """How long records are kept."""
    most: Size | None = None
    """Most bytes that the trail takes: on disk (2GiB by default) or in Redis's memory (256MiB by default)."""
    prefix: Annotated[
        str, Text(r"^[A-Za-z0-9:._-]{0,64}$", "at most 64 characters out of A-Z, a-z, 0-9, :, ., _ and -")
    ] = ""
    """Text before the names of the streams in Redis. All pipelines with the same Redis and prefix share these
    streams."""

    def __post_init__(self) -> None:
        _ = self.bytes_max
        if self.prefix and self.store != "redis":
            raise OptionError("prefix", self.prefix, "left out: only streams in Redis have one", "prefix: ''")

    @property
    def store(self) -> str:
        """What keeps the trail: `sqlite`, `redis` or `none`."""
        return "redis" if self.to.startswith("redis") else self.to.partition(":")[0]

    def place(self, folder: Path) -> tuple[str, str, str]:
        """Return where the trail is, relative paths beginning in `folder`, its streams' prefix, and `frames`."""
        kind, _, path = self.to.partition(":")
        return (f"sqlite:{(folder / path).absolute()}" if kind == "sqlite" else self.to), self.prefix, self.frames

    @property
    def share(self) -> int | None:
        """How many of 2^32 frames are in, whatever becomes of them; None: no frames, not even those that are lost."""
        if self.to == "none" or self.frames == "none":
            return None
        if self.frames == "all":
            return 1 << 32
        percent = _PERCENT.match(self.frames)
        return round(float(percent[1]) / 100 * (1 << 32)) if percent else 0

    @property
    def keep_s(self) -> int:
        """How long records are kept, in seconds."""
        return _keep_s(self.keep)

    @property
    def bytes_max(self) -> int:
        """Most bytes that the trail takes."""
        return size_of("most", self.most or _MOST.get(self.store, _MOST["sqlite"]), *_MOST_BOUNDS)


@dataclass(frozen=True, kw_only=True)
class MetricsOptions:
    """Where Prometheus finds the metrics; nowhere without a port."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    port: Annotated[int, Ge(0), Le(65535)] | None = None
    """Port to listen on; with 0, detektr takes a free one and says which. Without a port there is no endpoint."""
    host: Annotated[str, Text(r"^[A-Za-z0-9._:-]+$", HOST_WORDS)] = "127.0.0.1"
    """Address to listen on; by default only this machine can connect."""


@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """The HTTP server of a pipeline, a process of its own that reads it from outside."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    port: Annotated[int, Ge(0), Le(65535)] = WEB_PORT
    """Port to listen on; with 0, detektr takes a free one and says which."""
    host: Annotated[str, Text(r"^[A-Za-z0-9._:-]+$", HOST_WORDS)] = "127.0.0.1"
    """Address to listen on; by default only this machine can connect."""
    token: Annotated[str, Text(r"^[\x21-\x7e]{16,256}$", "16 to 256 characters without spaces")] | None = None
    """The token that a client must send to see pictures, results and logs, and to change something. If none is given,
    detektr makes one and keeps it in the pipeline's state folder."""
    open: list[Literal["dequeue", "ack", "extend", "clear", "picture", "logs", "events"]] = field(default_factory=list)
    """Requests that clients on this machine may send without the token: dequeue, ack, extend, clear, picture, logs,
    events."""
    names: list[Annotated[str, Text(r"^[A-Za-z0-9._:-]+$", HOST_WORDS)]] = field(default_factory=list)
    """Further names by which clients may call the server (the Host header), for example behind a proxy or in a
    container."""
    seen: Keep | None = None
    """How long the server keeps what processors saw, with pictures, so that the page can say what was seen at a given
    time. Without this key the server keeps nothing, and reads results only while a client asks for them."""
    seen_most: Size = _SEEN[0]
    """Most bytes on disk of what was seen; the oldest is removed first."""

    def __post_init__(self) -> None:
        _ = self.seen_bytes

    @property
    def seen_bytes(self) -> int:
        """Most bytes on disk of what was seen."""
        return size_of("seen_most", self.seen_most, *_SEEN[1:])

    def settings(self, pipeline: str) -> dict[str, Any]:
        """Return what the server's process is told, see `detektr.web.server.WebSettings`."""
        hosts = [*self.names, *([] if self.host in ("0.0.0.0", "::") else [self.host])]
        kept = {"seen_s": 0 if self.seen is None else _keep_s(self.seen), "seen_bytes": self.seen_bytes}
        return {"names": [pipeline], "token": self.token, "open": self.open, "hosts": hosts, **kept}


@dataclass(frozen=True, kw_only=True)
class PipelineWords:
    """Those keys of a pipeline that are one word each."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    memory: Size | None = None
    """Shared memory that each camera's ring and its share of the journals may take; 64MiB by default. The marks and
    `guests` that the file leaves out follow from it. If `memory` is in the file, the marks and `guests` in the file
    must fit too."""
    announce: Lane = "zmq"
    """The lane on which leases are announced: zmq (ZeroMQ messages) or shm (shared memory, with lower latency and less
    CPU)."""
    dead_letters: Size = _DEAD_LETTERS[0]
    """Most bytes of dead letters that are kept on disk (`detektr dead-letters`), half of them for pictures; the oldest
    are removed first."""

    def __post_init__(self) -> None:
        _ = self.dead_letter_bytes

    @property
    def dead_letter_bytes(self) -> int:
        """Most bytes on disk of what was given up."""
        return size_of("dead_letters", self.dead_letters, *_DEAD_LETTERS[1:])


@dataclass(frozen=True, kw_only=True)
class PipelineOptions(PipelineWords):
    """A pipeline: its nodes by name, where its audit trail goes, and where its metrics are."""

    name: Name
    """The pipeline's name, by which `status`, `logs`, `down` and `attach` find it."""
    nodes: Mapping[Name, NodeOptions]
    """The nodes by name; each says what it is (`kind`) and what it reads from (`input`)."""
    audit: AuditOptions = field(default_factory=AuditOptions)
    """Where the audit trail goes: sqlite:PATH, redis://..., rediss://... or none; or a mapping with more settings."""
    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    """Where Prometheus finds the metrics; without this key there is no endpoint."""
    web: WebOptions | None = None
    """The web server, which shows the run and gives frames to clients; without this key there is none."""
