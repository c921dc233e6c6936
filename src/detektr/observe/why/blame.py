"""Charges each frame that was lost to the node whose fault it was. Pure.

The fault is never on the edge that loses. From there it is looked for downstream: a consumer that waits for room on an
edge of its own, which blocks, is held up itself; the last one that is not is the culprit. Each moment is judged by what
was so then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from detektr.observe.why.terms import Terms
from detektr.telemetry.history.rows import EdgeRow, NodeRow
from detektr.telemetry.history.window import Window

ASKED_FOR = ("thinned", "filtered", "absent", "cleared")  # reasons for which the file asks: no losses
FULL_SHARE = 0.5  # of a row's time in which a producer waits for room: the edge was full
Edge = tuple[str, str]


@dataclass
class Blame:
    """What one node is to blame for, within a window."""

    lost: Counter[Edge] = field(default_factory=Counter)
    """Frames lost, by the edge that lost them."""
    reasons: Counter[str] = field(default_factory=Counter)
    cameras: Counter[str] = field(default_factory=Counter)
    held_up: set[str] = field(default_factory=set)
    """Nodes that it held up meanwhile."""
    first_s: int = 0
    """Time (UTC, in seconds) of the first row with a loss ..."""
    last_s: int = 0
    """... and of the last."""


def lost_of(row: EdgeRow) -> dict[str, int]:
    """Return the frames that an edge has lost so far, by reason."""
    return {reason: count for reason, count in row.dropped.items() if reason not in ASKED_FOR}


def is_full(row: EdgeRow, mark: int, step_s: int) -> bool:
    """Whether an edge was full at a row: its producer waited for room, or its queue had reached the mark."""
    return row.full_s >= FULL_SHARE * step_s or (0 < mark <= row.queued)


def charge(window: Window, terms: Terms) -> dict[str, Blame]:
    """Return, by culprit, what was lost because of it."""
    at: dict[int, dict[Edge, EdgeRow]] = {}
    for edge, rows in window.edges.items():
        for utc_s, row in rows:
            at.setdefault(utc_s, {})[edge] = row
    latest: dict[Edge, EdgeRow] = {}
    blames: dict[str, Blame] = {}
    for utc_s in sorted(at):
        before = dict(latest)
        latest.update(at[utc_s])
        if utc_s <= window.begin_s:
            continue
        for edge, row in at[utc_s].items():
            lost = Counter(lost_of(row))
            lost.subtract(lost_of(before.get(edge, EdgeRow())))
            lost = +lost
            if not lost:
                continue
            # What a stop has dropped is empty by now: who was in its way is known from before.
            then = before if set(lost) == {"stopped"} else latest
            path = blocked_path(edge[1], then, terms, window.step_s)
            blame = blames.setdefault(path[-1], Blame())
            blame.lost[edge] += lost.total()
            blame.reasons.update(lost)
            blame.cameras.update(row.lost_by_camera or _camera_of(edge, terms, lost.total()))
            blame.held_up.update(path[:-1])
            blame.first_s, blame.last_s = blame.first_s or utc_s, utc_s
    return blames


def blocked_path(node: str, rows: Mapping[Edge, EdgeRow], terms: Terms, step_s: int) -> list[str]:
    """Return the nodes from one to the culprit: each waits for room on its edge to the next, and the last for none."""
    path = [node]
    while True:
        full = [
            (row.full_s, row.queued, consumer)
            for (producer, consumer), row in rows.items()
            if producer == path[-1]
            and consumer not in path
            and terms.edge((producer, consumer)).when_full == "block"
            and is_full(row, terms.edge((producer, consumer)).mark, step_s)
        ]
        if not full:
            return path
        path.append(max(full)[2])


def _camera_of(edge: Edge, terms: Terms, lost: int) -> dict[str, int]:
    camera = terms.node(edge[0]).camera
    return {camera: lost} if camera else {}


@dataclass(frozen=True)
class Work:
    """How a node worked over some time."""

    seconds: int
    worked: int
    busy_ms: int
    failures: int
    restarts: int
    working_ms: int
    """How long the work in progress had taken at the end."""

    @property
    def each_ms(self) -> float:
        """Time that one frame takes; what is in progress counts where it takes longer than what has ended."""
        ended_ms = self.busy_ms / self.worked if self.worked else 0.0
        return max(ended_ms, self.working_ms if self.working_ms > ended_ms * 2 else 0)

    def busy_share(self, replicas: int) -> float:
        """Return the part of the time that its processes spent in the user's code."""
        return min(1.0, (self.busy_ms + self.working_ms) / 1000 / max(1, self.seconds) / max(1, replicas))


def work_of(rows: list[tuple[int, NodeRow]], first_s: int, last_s: int) -> Work:
    """Return how a node worked between two times."""
    before = NodeRow()
    found: list[tuple[int, NodeRow]] = []
    for utc_s, row in rows:
        if utc_s < first_s:
            before = row
        elif utc_s <= last_s:
            found.append((utc_s, row))
    if not found:
        return Work(1, 0, 0, 0, 0, before.working_ms)
    last = found[-1][1]
    return Work(
        max(1, last_s - first_s + 1),
        last.worked - before.worked,
        last.busy_ms - before.busy_ms,
        last.failures - before.failures,
        last.restarts - before.restarts,
        last.working_ms,
    )
