"""Makes an edge on the file of its journal, or adopts a predecessor's: of the kind that its options ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions, FrameOutcome
from detektr.edge.relay.any_order import AnyOrderEdge
from detektr.memory.journal import adopt_journal
from detektr.memory.named_journal import adopt_named_journal
from detektr.memory.segment import Segment


def open_edge(
    path: Path, consumer: str, options: EdgeOptions, keep: Callable[[FrameOutcome], None] | None = None
) -> tuple[Segment, Edge]:
    """Return an edge and the file under it, which its owner closes.

    The caller is its only writer: it is the producer, or knows that the producer is dead and stays so.

    Args:
        path: of its journal.
        consumer: whose edge it is.
        options: its limits; with `tombstones`, its frames come in any order.
        keep: see `Edge`.
    Raises:
        NoRoomError: shared memory has no room for the journal.
    """
    sizes = options.cells, options.payload_bytes, options.mark * options.inputs
    if options.tombstones:
        segment, named = adopt_named_journal(path, *sizes)
        return segment, AnyOrderEdge(consumer, options, named, keep)
    segment, journal = adopt_journal(path, *sizes)
    return segment, Edge(consumer, options, journal, keep)
