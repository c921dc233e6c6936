"""Video dataflow on one machine: cameras into shared memory, frames to processors, every frame accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detektr import metrics as metrics
    from detektr.api.attachment import Frames as Frames
    from detektr.api.attachment import attach as attach
    from detektr.api.running import run as run
    from detektr.api.tracing import traceparent as traceparent
    from detektr.errors import DetektrError as DetektrError
    from detektr.errors import LeaseOverError as LeaseOverError
    from detektr.errors import NoRoomError as NoRoomError
    from detektr.errors import RefusedError as RefusedError
    from detektr.errors import ResultError as ResultError
    from detektr.errors import SourceError as SourceError
    from detektr.frame import Frame as Frame
    from detektr.processors import Processor as Processor
    from detektr.sinks import Event as Event
    from detektr.sinks import Sink as Sink
    from detektr.source import Source as Source
    from detektr.supervisor.up import RunResult as RunResult

    __version__: str

# Loaded when first asked for: `detektr --help` and a buffer's process need none of it.
_HOMES = {
    "DetektrError": "detektr.errors",
    "Event": "detektr.sinks",
    "Frame": "detektr.frame",
    "Frames": "detektr.api.attachment",
    "LeaseOverError": "detektr.errors",
    "NoRoomError": "detektr.errors",
    "Processor": "detektr.processors",
    "RefusedError": "detektr.errors",
    "ResultError": "detektr.errors",
    "RunResult": "detektr.supervisor.up",
    "Sink": "detektr.sinks",
    "Source": "detektr.source",
    "SourceError": "detektr.errors",
    "attach": "detektr.api.attachment",
    "run": "detektr.api.running",
    "traceparent": "detektr.api.tracing",
}

__all__ = [
    "DetektrError",
    "Event",
    "Frame",
    "Frames",
    "LeaseOverError",
    "NoRoomError",
    "Processor",
    "RefusedError",
    "ResultError",
    "RunResult",
    "Sink",
    "Source",
    "SourceError",
    "__version__",
    "attach",
    "metrics",
    "run",
    "traceparent",
]


if not TYPE_CHECKING:  # type checkers know the names above, and should refuse any other

    def __getattr__(name: str) -> Any:
        import importlib
        import importlib.metadata

        if name == "__version__":
            value: Any = importlib.metadata.version("detektr")
        elif name == "metrics":
            value = importlib.import_module("detektr.metrics")
        elif name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'detektr' has no {name!r}; it has: {', '.join(__all__)}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
