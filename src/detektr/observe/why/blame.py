"""Charges each frame that was lost to the node whose fault it was. Pure.

The fault is never on the edge that loses. From there it is looked for downstream: a consumer that waits for room on an
edge of its own, which blocks, is held up itself; the last one that is not is the culprit. Each moment is judged by what
was so then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from detektr.observe.culprit import follow
from detektr.observe.why.terms import Terms
from detektr.telemetry.history.rows import EdgeRow, NodeRow
from detektr.telemetry.history.window import Window

ASKED_FOR = ("thinned", "filtered", "absent", "cleared")  # reasons for which the file asks: no losses
CRUMB_SHARE = 0.02  # of what is charged to an edge's main culprit
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
    at: Counter[int] = field(default_factory=Counter)
    """Frames lost, by the time (UTC, in seconds) of the row that has them; in order."""

    @property
    def times(self) -> list[int]:
        """Times of the rows with a loss, in order."""
        return list(self.at)

    @property
    def first_s(self) -> int:
        """Time of the first row with a loss; 0: there is none."""
        return next(iter(self.at), 0)

    @property
    def last_s(self) -> int:
        """Time of the last row with a loss; 0: there is none."""
        return next(reversed(self.at), 0)


def lost_since(before: EdgeRow, row: EdgeRow) -> dict[str, int]:
    """Return the frames that an edge has lost from one row to another, by reason."""
    if row.dropped == before.dropped:
        return {}
    grown = {reason: count - before.dropped.get(reason, 0) for reason, count in row.dropped.items()}
    return {reason: count for reason, count in grown.items() if count > 0 and reason not in ASKED_FOR}


def is_full(row: EdgeRow, mark: int, step_s: int) -> bool:
    """Whether an edge was full at a row: its producer waited for room, or its queue had reached the mark."""
    return row.full_s >= FULL_SHARE * step_s or (0 < mark <= row.queued)


_NEW = EdgeRow()


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
        waits: dict[bool, dict[str, str]] = {}
        for edge, row in at[utc_s].items():
            lost = lost_since(before.get(edge, _NEW), row)
            if not lost:
                continue
            # What a stop has dropped is empty by now: who was in its way is known from before.
            is_stop = lost.keys() == {"stopped"}
            if is_stop not in waits:
                waits[is_stop] = waiting(before if is_stop else latest, terms, window.step_s)
            path = follow(edge[1], waits[is_stop])
            blame = blames.setdefault(path[-1], Blame())
            count = sum(lost.values())
            blame.lost[edge] += count
            blame.reasons.update(lost)
            blame.cameras.update(row.lost_by_camera or _camera_of(edge, terms, count))
            blame.held_up.update(path[:-1])
            blame.at[utc_s] += count
    _leave_no_crumbs(blames)
    return blames


def _leave_no_crumbs(blames: dict[str, Blame]) -> None:
    """Charge the few frames of an edge that stand against another node to its main culprit: they fell at a border."""
    for edge in {edge for blame in blames.values() for edge in blame.lost}:
        charged = {name: blame.lost[edge] for name, blame in blames.items() if edge in blame.lost}
        main = max(charged, key=lambda name: charged[name])
        for name, count in charged.items():
            blame = blames[name]
            if name != main and count <= CRUMB_SHARE * charged[main] and blame.lost.keys() == {edge}:
                blames[main].lost[edge] += count
                blames[main].reasons.update(blame.reasons)
                blames[main].cameras.update(blame.cameras)
                del blames[name]


def waiting(rows: Mapping[Edge, EdgeRow], terms: Terms, step_s: int) -> dict[str, str]:
    """Return the nodes that wait for room on an edge of theirs that blocks, each with the consumer of the fullest."""
    fullest: dict[str, tuple[int, int, str]] = {}
    for (producer, consumer), row in rows.items():
        agreed = terms.edge((producer, consumer))
        if agreed.when_full == "block" and is_full(row, agreed.mark, step_s):
            candidate = row.full_s, row.queued, consumer
            fullest[producer] = max(candidate, fullest.get(producer, candidate))
    return {producer: consumer for producer, (_, _, consumer) in fullest.items()}


def _camera_of(edge: Edge, terms: Terms, lost: int) -> dict[str, int]:
    camera = terms.node(edge[0]).camera
    return {camera: lost} if camera else {}


@dataclass(frozen=True)
class Work:
    """How a node worked over some time."""

    seconds: int
    worked: int
    busy_ms: int
    restarts: int
    paused_s: int
    working_ms: int
    """How long the work in progress had taken, at the worst of the last row."""

    @property
    def each_ms(self) -> float:
        """Time that one frame takes; what is in progress counts where it takes longer than what has ended."""
        ended_ms = self.busy_ms / self.worked if self.worked else 0.0
        return max(ended_ms, self.working_ms if self.working_ms > ended_ms * 2 else 0)

    @property
    def mean_ms(self) -> float:
        """Time that one frame takes on average, with what is in progress."""
        return (self.busy_ms + self.working_ms) / max(1, self.worked)

    def busy_share(self, replicas: int) -> float:
        """Return the part of the time in which it was not paused that its processes spent in the user's code."""
        could_s = max(1, self.seconds - self.paused_s)
        return min(1.0, (self.busy_ms + self.working_ms) / 1000 / could_s / max(1, replicas))


def work_of(rows: list[tuple[int, NodeRow]], first_s: int, last_s: int, step_s: int) -> Work:
    """Return how a node worked from the row of one time to that of another.

    Args:
        rows: of the node, in order.
        first_s: time of the first row, which stands for the time since the row before it ...
        last_s: ... and of the last.
        step_s: how long a row stands for where there is none before it.
    """
    begun_s, before = first_s - step_s, NodeRow()
    found: list[tuple[int, NodeRow]] = []
    for utc_s, row in rows:
        if utc_s < first_s:
            begun_s, before = utc_s, row
        elif utc_s <= last_s:
            found.append((utc_s, row))
    if not found:
        return Work(1, 0, 0, 0, 0, before.working_ms)
    ended_s, last = found[-1]
    paused_s = sum(step_s for _, row in found if row.state == "paused")
    return Work(
        max(1, ended_s - begun_s),
        max(0, last.worked - before.worked),
        max(0, last.busy_ms - before.busy_ms),
        max(0, last.restarts - before.restarts),
        paused_s,
        last.working_ms,
    )
