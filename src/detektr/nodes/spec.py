"""Everything that one process of a node must know, as plain values: handed over as JSON, never on a command line."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, Generic

from typing_extensions import TypeVar

from detektr.edge.edge_options import EdgeOptions
from detektr.edge.gathering.ways import WayEdge
from detektr.edge.upstream import Upstream
from detektr.options import DEAD_LETTER_BYTES, BufferOptions, CaptureOptions, NodeOptions, PullOptions
from detektr.process.placement import Placement
from detektr.registry.node_kinds import options_from
from detektr.source_uri import source_kind

Options = TypeVar("Options", bound=NodeOptions, default=NodeOptions, covariant=True)
"""The options of one kind of node; a bare `NodeSpec` may be of any kind."""


@dataclass(frozen=True, kw_only=True)
class NodeSpec(Generic[Options]):
    """One process of one node of one pipeline."""

    pipeline: str
    node: str
    replica: int = 0
    options: Options
    upstreams: tuple[Upstream, ...] = ()
    edges: dict[str, EdgeOptions] = field(default_factory=dict)
    """By consumer."""
    slots: int = 0
    """Slots of a capture's ring."""
    ring_bytes: int = 0
    """Bytes that its ring was planned with, its pictures being as the file says or else assumed; 0: nothing was."""
    mark: int = 1
    """Most frames that an ephemeral consumer of a capture or buffer queues."""
    guests: int = 0
    """Frames that ephemeral consumers may hold beyond those that its own consumers queue."""
    is_on_demand: bool = False
    """Whether a capture makes no frame before its edges have room, as its consumers want the newest one only."""
    folder: str = "."
    """Where relative paths and modules are looked for: the pipeline file's folder."""
    secrets: tuple[str, ...] = ()
    """Values that no output may show."""
    sharers: int = 1
    """Processes that share the cores for the same work: the node's replicas, of each camera where it is one's."""
    is_audited: bool = False
    """Whether outcomes of single frames are wanted (for an audit trail)."""
    trail_share: int | None = None
    """How many of 2^32 frames the audit trail has, whatever becomes of them, beside those that are lost; None: it has
    no frames."""
    is_ordered: bool = False
    """Whether each camera's frames are to come in order, and do not without more."""
    is_mixed: bool = False
    """Whether its frames came through a processor, which may finish a camera's frames in another order."""
    ways: tuple[WayEdge, ...] = ()
    """Of a node that orders or joins frames: the edges on the ways to it."""
    forks: tuple[WayEdge, ...] = ()
    """Edges above on which branches part that are joined below."""
    dead_letter_bytes: int = DEAD_LETTER_BYTES
    """Most bytes of the pipeline's dead letters, half of them pictures."""

    @property
    def has_user_code(self) -> bool:
        """Whether code of the user's runs in this process: it ends as a Python program does then."""
        options = self.options
        return not isinstance(options, BufferOptions | PullOptions) and (
            not isinstance(options, CaptureOptions) or source_kind(options.source) == "python"
        )

    @property
    def placement(self) -> Placement:
        """Where its process is to run."""
        options = self.options
        return Placement(
            node=self.node,
            env=options.env,
            cpus=None if options.cpus is None else tuple(options.cpus),
            nice=options.nice,
            sharers=self.sharers if self.has_user_code else None,
        )

    def as_json(self) -> str:
        """Return the spec as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @staticmethod
    def from_json(text: str) -> NodeSpec:
        """Read a spec back."""
        fields: dict[str, Any] = json.loads(text)
        fields["options"] = options_from(fields["options"])
        fields["upstreams"] = tuple(Upstream(**one) for one in fields["upstreams"])
        fields["edges"] = {
            name: EdgeOptions(
                **one | {key: tuple(one[key]) for key in ("cameras", "all_cameras", "relays_to", "gatherers")}
            )
            for name, one in fields["edges"].items()
        }
        for key in ("ways", "forks"):
            fields[key] = tuple(WayEdge(**one) for one in fields[key])
        fields["secrets"] = tuple(fields["secrets"])
        return NodeSpec(**fields)
