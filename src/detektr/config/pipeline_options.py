"""The keys at the top of a pipeline file, beside the nodes: name, audit trail, metrics, web, lane, dead letters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Le

from detektr.options import STRICT, Lane, Name, NodeOptions, Size, Text, size_of

HOST_WORDS = "a host name or address such as 127.0.0.1"
WEB_PORT = 8002
TOKEN_FILE = "web.token"  # in the pipeline's state folder, where the file gives no token
_DEAD_LETTERS = "256MiB", "16MiB", "1024GiB"  # unless told otherwise, at least, at most


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """Where the audit trail goes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    to: Annotated[
        str, Text(r"^(none|sqlite:\S.*|rediss?://\S+)$", "sqlite:PATH, redis://..., rediss://... or none")
    ] = "none"
    """sqlite:PATH (beside the pipeline file unless absolute), redis://..., rediss://... or none."""


@dataclass(frozen=True, kw_only=True)
class MetricsOptions:
    """Where Prometheus finds the metrics; nowhere without a port."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    port: Annotated[int, Ge(0), Le(65535)] | None = None
    """Port; 0 takes a free one and says which."""
    host: Annotated[str, Text(r"^[A-Za-z0-9._:-]+$", HOST_WORDS)] = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""


@dataclass(frozen=True, kw_only=True)
class WebOptions:
    """The HTTP server of a pipeline, a process of its own that reads it from outside."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    port: Annotated[int, Ge(0), Le(65535)] = WEB_PORT
    """Port; 0 takes a free one and says which."""
    host: Annotated[str, Text(r"^[A-Za-z0-9._:-]+$", HOST_WORDS)] = "127.0.0.1"
    """Address to listen on; loopback unless told otherwise."""
    token: Annotated[str, Text(r"^[\x21-\x7e]{16,256}$", "16 to 256 characters without spaces")] | None = None
    """What a client must say to see pictures, results and logs, and to change something; one is made and kept in the
    pipeline's state folder where none is given."""
    open: list[Literal["dequeue", "ack", "extend", "clear", "picture", "logs", "events"]] = field(default_factory=list)
    """What needs no token from this machine: dequeue, ack, extend, clear, picture, logs, events."""
    names: list[Annotated[str, Text(r"^[A-Za-z0-9._:-]+$", HOST_WORDS)]] = field(default_factory=list)
    """Further names by which clients may call the server (the Host header), as behind a proxy or in a container."""

    def settings(self, pipeline: str) -> dict[str, Any]:
        """Return what the server's process is told, see `detektr.web.server.WebSettings`."""
        hosts = [*self.names, *([] if self.host in ("0.0.0.0", "::") else [self.host])]
        return {"names": [pipeline], "token": self.token, "open": self.open, "hosts": hosts}


@dataclass(frozen=True, kw_only=True)
class PipelineWords:
    """Those keys of a pipeline that are one word each."""

    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    memory: Size | None = None
    """Shared memory for each camera's frames, ring and journals together, 64MiB unless told otherwise: marks and
    `guests` that nobody wrote follow from it, and those that are written must fit where it is written too."""
    announce: Lane = "zmq"
    """The lane on which frames are announced: zmq (ZeroMQ messages) or shm (shared memory: lower latency, less CPU)."""
    dead_letters: Size = _DEAD_LETTERS[0]
    """Most that is kept on disk of what was given up (`detektr dead-letters`), half of it pictures; the oldest go."""

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
    """Where the audit trail goes: sqlite:PATH, redis://..., rediss://... or none; or a mapping with more to say."""
    metrics: MetricsOptions = field(default_factory=MetricsOptions)
    """Where Prometheus finds the metrics; leave out for none."""
    web: WebOptions | None = None
    """The HTTP server: what runs, whose fault it is, frames to pull; leave out for none."""
