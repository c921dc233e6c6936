"""What is wrong with a run, as one thing after the other, and what is counted to find it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from detektr.observe.why.blame import Edge
from detektr.telemetry.history.rows import EdgeRow
from detektr.telemetry.history.window import Window


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong."""

    code: str
    culprit: str
    """The node to blame, or the edge whose queue is too small (`buf -> detect`), or `supervisor`; empty: detektr."""
    victim: str
    """Whom it costs something, and what: nodes and edges, in words."""
    since_s: int
    """Time (UTC, in seconds) from which on it was seen; the begin of the window where it is older."""
    text: str
    next: str
    lost: int = 0
    """Frames that were lost because of it."""
    edges: tuple[Edge, ...] = ()
    cameras: tuple[str, ...] = ()


def grown(window: Window, edge: Edge, first_s: int, last_s: int) -> int:
    """Return how many frames were offered to an edge from one row on to another, both included."""
    rows = window.edges[edge]
    before = [row.offered for utc_s, row in rows if utc_s < first_s]
    upto = [row.offered for utc_s, row in rows if utc_s <= last_s]
    return (upto[-1] if upto else 0) - (before[-1] if before else 0)


def delta(window: Window, edge: Edge, count: str) -> int:
    """Return how much a count of an edge has grown within the window."""
    rows = window.edges[edge]
    before = rows[0][1] if rows[0][0] <= window.begin_s else EdgeRow()
    return max(0, int(getattr(rows[-1][1], count)) - int(getattr(before, count)))


def span(ms: float) -> str:
    """Write a time for people: `84 ms`, `5.1 s`, `3 min`."""
    if ms < 1000:
        return f"{ms:.3g} ms"
    return f"{ms / 1000:.3g} s" if ms < 120_000 else f"{ms / 60_000:.0f} min"
