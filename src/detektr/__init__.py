"""Video dataflow on one machine: cameras into shared memory, frames to processors, every frame accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detektr.attachment import attach as attach
    from detektr.frame import Frame as Frame
    from detektr.processors import Processor as Processor
    from detektr.sinks import Sink as Sink

    __version__: str

# Loaded when first asked for: `detektr --help` and a buffer's process need none of it.
_HOMES = {
    "Frame": "detektr.frame",
    "Processor": "detektr.processors",
    "Sink": "detektr.sinks",
    "attach": "detektr.attachment",
}

__all__ = ["Frame", "Processor", "Sink", "__version__", "attach"]


if not TYPE_CHECKING:  # type checkers know the names above, and should refuse any other

    def __getattr__(name: str) -> Any:
        import importlib
        import importlib.metadata

        if name == "__version__":
            value: Any = importlib.metadata.version("detektr")
        elif name in _HOMES:
            value = getattr(importlib.import_module(_HOMES[name]), name)
        else:
            raise AttributeError(f"module 'detektr' has no {name!r}; it has: {', '.join(__all__)}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
