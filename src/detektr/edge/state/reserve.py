"""Which frame may be leased beyond the windows: the oldest one of its stream. Pure.

Frames that are held back, here or below, are later ones of their streams. If they fill all windows, and an earlier one
is to be delivered again, nobody could ever take it. So an edge keeps one lease for the oldest frame of each stream.
"""

from __future__ import annotations

from collections.abc import Iterable

from detektr.edge.state.lease import Cell


def oldest_of_stream(waiting: Iterable[Cell], leased: Iterable[Cell]) -> Cell | None:
    """Return the first waiting frame before which no other frame of its stream is on the edge; None: there is none.

    Args:
        waiting: queued frames, oldest first.
        leased: all frames that are leased.
    """
    lowest: dict[int, int] = {}
    for cell in leased:
        lowest[cell.key] = min(cell.sequence, lowest.get(cell.key, cell.sequence))
    queued = list(waiting)
    for cell in queued:
        lowest[cell.key] = min(cell.sequence, lowest.get(cell.key, cell.sequence))
    for cell in queued:
        if cell.sequence == lowest[cell.key]:
            return cell
    return None
