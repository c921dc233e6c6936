"""The kinds of nodes, in one table: a new kind is a record here, its options in `options`, and its class in `nodes`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detektr.options import NodeOptions


def _needs_nothing(options: NodeOptions) -> frozenset[str]:
    return frozenset()


def _no_variant(options: NodeOptions) -> str:
    return ""


def _batching(options: NodeOptions) -> str:
    return "" if getattr(options, "batch", None) is None else "detektr.nodes.working.batch_processor:BatchProcessorNode"


def _batching_module(options: NodeOptions) -> frozenset[str]:
    return frozenset(filter(None, [_batching(options).partition(":")[0]]))


def _decoder_of(options: NodeOptions) -> frozenset[str]:
    """Return FFmpeg's module, unless the source is Python code: 20 MB that it does without."""
    from detektr.source_uri import source_kind

    return frozenset() if source_kind(getattr(options, "source", "")) == "python" else frozenset({"av"})


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """What the rest of the house must know of one kind of node."""

    name: str
    """What a file writes as `kind`."""
    summary: str
    """What it does, in one sentence."""
    options_name: str
    """Name of its options' class in `detektr.options`; imported when first asked for: `detektr --help` is quick."""
    node: str
    """Its class as module:Name; only a process that is one imports it, and the process that nodes are forked from."""
    variant: Callable[[NodeOptions], str] = _no_variant
    """Its class for a node with these options, where that is another one (as module:Name); empty: it is not."""
    may_read: tuple[str, ...] = ()
    """Kinds that it may have as inputs."""
    shape: tuple[str, str]
    """How Mermaid draws it."""
    needs: Callable[[NodeOptions], frozenset[str]] = _needs_nothing
    """Modules, beside its own, that the process that nodes are forked from imports for a node with these options."""
    plugins: str = ""
    """Group of `plugins.GROUPS` with the short names that its `use` knows; empty: it has no `use`."""
    file_only: frozenset[str] = frozenset()
    """Keys that mean something in a pipeline file only: a node that is started by itself has no such option."""
    defaults_alone: Mapping[str, int] = field(default_factory=dict)
    """Defaults of a node that is started by itself without a file, where they differ from a file's."""

    @property
    def options(self) -> type[NodeOptions]:
        """Its options' class."""
        from detektr import options

        found: type[NodeOptions] = getattr(options, self.options_name)
        return found

    @property
    def module(self) -> str:
        """The module of its class."""
        return self.node.partition(":")[0]


_SUPERVISED = frozenset({"restart", "optional", "start_timeout", "per_camera"})
_ALL = (
    NodeKind(
        name="capture",
        summary="Decode one camera, file or generator.",
        options_name="CaptureOptions",
        node="detektr.nodes.capturing.capture:CaptureNode",
        shape=("([", "])"),
        needs=_decoder_of,
        file_only=_SUPERVISED | {"guests", "memory"},
        defaults_alone={"slots": 40, "high_water_mark": 8},
    ),
    NodeKind(
        name="buffer",
        summary="Queue frames for their readers.",
        options_name="BufferOptions",
        node="detektr.nodes.buffer:BufferNode",
        may_read=("capture", "buffer", "processor"),
        shape=("[(", ")]"),
        file_only=_SUPERVISED | {"guests"},
        defaults_alone={"high_water_mark": 16},
    ),
    NodeKind(
        name="processor",
        summary="Run your code on every frame.",
        options_name="ProcessorOptions",
        node="detektr.nodes.working.processor:ProcessorNode",
        variant=_batching,
        needs=_batching_module,
        plugins="processors",
        may_read=("capture", "buffer", "processor"),
        shape=("[", "]"),
        file_only=_SUPERVISED
        | {
            "replicas",
            "max_replicas",
            "partition_by",
            "order",
            "join",
            "high_water_mark",
            "when_full",
            "fresh",
            "batch",
        },
    ),
    NodeKind(
        name="sink",
        summary="Take the events of processors.",
        options_name="SinkOptions",
        node="detektr.nodes.working.sink:SinkNode",
        may_read=("processor",),
        plugins="sinks",
        shape=("[/", "/]"),
        file_only=_SUPERVISED | {"retry"},  # alone, its edge and what waits on it go when it dies
    ),
    NodeKind(
        name="pull",
        summary="Give frames to clients that ask for them over HTTP.",
        options_name="PullOptions",
        node="detektr.nodes.pulling.node:PullNode",
        may_read=("capture", "buffer", "processor"),
        shape=("[\\", "\\]"),
        file_only=_SUPERVISED,
    ),
)
NODE_KINDS: Mapping[str, NodeKind] = MappingProxyType({kind.name: kind for kind in _ALL})
"""By name. Shared memory holds their places in this order: a new one goes last, and with it the layout's version up."""


def options_from(values: Mapping[str, Any]) -> NodeOptions:
    """Return a node's options from what `dataclasses.asdict` made of them."""
    from detektr.options import BatchOptions, EdgeInput, RestartOptions, RetryOptions

    fields = {**values, "restart": RestartOptions(**values["restart"])}
    if fields.get("retry") is not None:
        fields["retry"] = RetryOptions(**fields["retry"])
    if fields.get("batch") is not None:
        fields["batch"] = BatchOptions(**fields["batch"])
    inputs = fields.get("input")
    if isinstance(inputs, list):
        fields["input"] = [EdgeInput(**one) if isinstance(one, dict) else one for one in inputs]
    elif isinstance(inputs, dict):
        fields["input"] = EdgeInput(**inputs)
    return NODE_KINDS[fields["kind"]].options(**fields)
