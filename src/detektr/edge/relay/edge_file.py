"""Makes an edge on the file of its journal, or adopts a predecessor's: of the kind that its options ask for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions, FrameOutcome
from detektr.edge.relay.any_order import AnyOrderEdge
from detektr.edge.tombstone_edge import TombstoneEdge
from detektr.memory.journal import adopt_journal
from detektr.memory.segment import Segment
from detektr.memory.tombstone_journal import NamedJournal, TombstoneJournal, adopt_tombstone_journal


def open_edge(
    path: Path, consumer: str, options: EdgeOptions, keep: Callable[[FrameOutcome], None] | None = None
) -> tuple[Segment, Edge]:
    """Return an edge and the file under it, which its owner closes.

    The caller is its only writer: it is the producer, or knows that the producer is dead and stays so.

    Args:
        path: of its journal.
        consumer: whose edge it is.
        options: its limits; with `tombstones`, its frames come in any order; with `keeps_settled`, it keeps names too.
        keep: see `Edge`.
    Raises:
        NoRoomError: shared memory has no room for the journal.
    """
    sizes = options.cells, options.payload_bytes, options.mark * options.inputs
    if options.tombstones:
        segment, named = adopt_tombstone_journal(path, *sizes, NamedJournal)
        return segment, AnyOrderEdge(consumer, options, named, keep)
    if options.keeps_settled:
        segment, keeping = adopt_tombstone_journal(path, *sizes, TombstoneJournal)
        return segment, TombstoneEdge(consumer, options, keeping, keep)
    segment, journal = adopt_journal(path, *sizes)
    return segment, Edge(consumer, options, journal, keep)
