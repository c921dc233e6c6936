"""The live table of a pipeline: rates, queues, drops and ages over the last seconds, as rows for people."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from detektr.ledger import EdgeLedger, describe_counts, left_out, merge
from detektr.memory.status_block import AGE_BUCKETS_NS
from detektr.memory.status_block_reader import NodeSnapshot

if TYPE_CHECKING:
    from rich.table import Table

SPAN_NS = 5_000_000_000  # over which rates and ages are taken
_COLUMNS = {
    **{"node": 0, "kind": 110, "state": 0, "frames/s": 60, "queue": 40, "leases": 100, "dropped": 0},
    **{"left out": 0, "age p50": 80, "p99": 100, "restarts": 90},
}  # heading: smallest width of a terminal that shows it; pictures left out are shown only if there are some
COLORS = {
    "running": "green",
    "ended": "dim",
    "restarting": "red",
    "retrying": "yellow",
    "paused": "yellow",
} | dict.fromkeys(
    ("failed", "hanging", "suspended", "stalled", "unauthorized", "forbidden", "not_found", "tls_failed"), "bold red"
)


@dataclass(frozen=True)
class Row:
    """One node. Queue, mark, leases and drops are those of its edges; None where it has none."""

    node: str
    kind: str
    state: str
    why: str
    rate: float
    """Frames a second."""
    queued: int | None
    mark: int | None
    leases: int | None
    drops: Mapping[str, int] = field(default_factory=dict)
    """By reason, since the start."""
    p50_ns: int | None = None
    p99_ns: int | None = None
    restarts: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Pictures of its source that never became frames, by reason, since the start."""


@dataclass(frozen=True)
class _Look:
    at_ns: int
    frames: Mapping[str, int]
    ages: Mapping[str, tuple[int, ...]]


class Flow:
    """Remembers the looks of the last seconds, for values that take two looks: rates and ages."""

    def __init__(self) -> None:
        """Begin without a look."""
        self._looks: deque[_Look] = deque()

    def rows(
        self,
        now_ns: int,
        nodes: Mapping[str, Mapping[str, Any]],
        ledgers: Iterable[EdgeLedger],
        snapshots: Iterable[NodeSnapshot],
    ) -> list[Row]:
        """Take another look and return the rows.

        Args:
            now_ns: now, monotonic.
            nodes: each node's state, as from `status.describe_nodes`.
            ledgers: of all edges.
            snapshots: status blocks of all processes.
        """
        look = _look(now_ns, snapshots)
        while self._looks and now_ns - self._looks[0].at_ns > SPAN_NS:
            self._looks.popleft()
        before = self._looks[0] if self._looks else look
        self._looks.append(look)
        seconds = (now_ns - before.at_ns) / 1e9
        edges: dict[str, list[EdgeLedger]] = {}
        for edge in merge(ledgers):
            edges.setdefault(edge.producer, []).append(edge)
        rows = []
        for name, node in nodes.items():
            ages = _difference(look.ages.get(name, ()), before.ages.get(name, ()))
            own = edges.get(name)
            frames = look.frames.get(name, 0) - before.frames.get(name, 0)
            rows.append(
                Row(
                    node=name,
                    kind=node["kind"],
                    state=node["state"],
                    why=node["why"],
                    rate=max(0, frames) / seconds if seconds else 0.0,
                    queued=sum(edge.queued for edge in own) if own else None,
                    mark=sum(edge.mark for edge in own) if own else None,
                    leases=sum(edge.in_flight for edge in own) if own else None,
                    drops=_drops(own or ()),
                    left_out=left_out(node),
                    p50_ns=quantile_ns(ages, 0.5),
                    p99_ns=quantile_ns(ages, 0.99),
                    restarts=node["restarts"],
                )
            )
        return rows


def quantile_ns(counts: tuple[int, ...], share: float) -> int | None:
    """Return the age, in nanoseconds, that `share` of the frames did not exceed; None: there are no frames.

    Args:
        counts: frames by age, as in a status block.
        share: 0 to 1.
    """
    left = share * sum(counts)
    if left == 0:
        return None
    for bucket, count in enumerate(counts):
        if count and left <= count:
            end = AGE_BUCKETS_NS[min(bucket, len(AGE_BUCKETS_NS) - 1)]
            begin = AGE_BUCKETS_NS[bucket - 1] if 0 < bucket < len(AGE_BUCKETS_NS) else 0 if bucket == 0 else end
            return round(begin + (end - begin) * left / count)
        left -= count
    return AGE_BUCKETS_NS[-1]


def summary(rows: Iterable[Row]) -> str:
    """Return one line on the state of all nodes."""
    parts = []
    for row in rows:
        part = f"{row.node} {row.rate:.1f}/s" if row.state == "running" else f"{row.node} {row.state}"
        if row.why and row.state in ("running", "hanging", "suspended"):
            part += f" ({row.why})"
        if row.queued:
            part += f" queue {row.queued}/{row.mark}"
        if row.p50_ns is not None:
            part += f" age {shown_ns(row.p50_ns)}/{shown_ns(row.p99_ns)}"
        if row.drops:
            part += f" dropped {sum(row.drops.values())}"
        if row.left_out:
            part += f" left out {describe_counts(row.left_out)}"
        if row.restarts:
            part += f" restarts {row.restarts}"
        parts.append(part)
    return " | ".join(parts)


def shown_ns(age_ns: int | None) -> str:
    """Write a time with the unit that fits."""
    if age_ns is None:
        return "-"
    return f"{age_ns / 1e9:.1f} s" if age_ns >= 1_000_000_000 else f"{age_ns / 1e6:.1f} ms"


def draw(title: str, rows: Iterable[Row], width: int) -> Table:
    """Draw the rows as a table for a terminal of `width` characters; a narrow one shows fewer columns."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", expand=False)
    rows = list(rows)
    is_whole = not any(row.left_out for row in rows)
    shown = [name for name, needed in _COLUMNS.items() if width >= needed and not (name == "left out" and is_whole)]
    for heading in shown:
        is_text = heading in ("node", "kind", "state", "dropped", "left out")
        table.add_column(
            heading, justify="left" if is_text else "right", no_wrap=heading not in ("state", "dropped", "left out")
        )
    for row in rows:
        words = f"{row.state}: {row.why}" if row.why else row.state
        cells: dict[str, str | Text] = {
            "node": Text(row.node),
            "kind": row.kind,
            "state": Text(words[:60], style=COLORS.get(row.state, "yellow")),
            "frames/s": f"{row.rate:.1f}",
            "queue": "-" if row.queued is None else f"{row.queued}/{row.mark}",
            "leases": "-" if row.leases is None else str(row.leases),
            "dropped": describe_counts(row.drops),
            "left out": describe_counts(row.left_out),
            "age p50": shown_ns(row.p50_ns),
            "p99": shown_ns(row.p99_ns),
            "restarts": str(row.restarts or ""),
        }
        table.add_row(*(cells[heading] for heading in shown))
    return table


def _look(now_ns: int, snapshots: Iterable[NodeSnapshot]) -> _Look:
    frames: dict[str, int] = {}
    ages: dict[str, tuple[int, ...]] = {}
    for snapshot in snapshots:
        frames[snapshot.node] = frames.get(snapshot.node, 0) + snapshot.frames
        known = ages.get(snapshot.node)
        both = zip(known, snapshot.age_counts, strict=True) if known else None
        ages[snapshot.node] = tuple(one + other for one, other in both) if both else snapshot.age_counts
    return _Look(now_ns, frames, ages)


def _difference(now: tuple[int, ...], before: tuple[int, ...]) -> tuple[int, ...]:
    if len(now) != len(before):
        return now
    return tuple(max(0, one - other) for one, other in zip(now, before, strict=True))


def _drops(edges: Iterable[EdgeLedger]) -> dict[str, int]:
    drops: dict[str, int] = {}
    for edge in edges:
        for reason, count in (*edge.dropped.items(), ("dead_lettered", edge.dead_lettered)):
            if count:
                drops[reason] = drops.get(reason, 0) + count
    return drops
