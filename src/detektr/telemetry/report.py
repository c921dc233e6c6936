"""The report of a run: the ledger of every edge as JSON and as the table printed at the end."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from detektr.ledger import EdgeLedger, describe_counts, left_out, merge

_HEADINGS = ("edge", "offered", "delivered", "dropped", "dead-lettered", "queued", "in flight", "redelivered", "why")


def count_unaccounted(edges: Iterable[EdgeLedger]) -> int:
    """Return how many frames stand in no term of their edge's ledger, or in two; 0 unless there is a defect."""
    # Absolute, edge by edge: one edge that lost a frame and one that made one up must not cancel out.
    return sum(abs(edge.unaccounted) for edge in merge(edges))


def undelivered(edges: Iterable[EdgeLedger]) -> list[EdgeLedger]:
    """Return the edges to which frames came and none was delivered, as their consumer gave up each that it began."""
    return [edge for edge in merge(edges) if edge.dead_lettered and not edge.delivered]


def build_report(
    pipeline: str, seconds: float, nodes: Mapping[str, dict[str, Any]], edges: Iterable[EdgeLedger]
) -> dict[str, Any]:
    """Build the report of a run from the edges' own counting.

    Args:
        pipeline: name of the pipeline.
        seconds: how long it ran.
        nodes: for each node its `kind`, `state`, `restarts` and what else is known of it.
        edges: ledgers, in parts or whole; the parts of one edge are added up.
    Returns:
        Plain values ready for JSON; `unaccounted` is 0 unless there is a defect.
    """
    whole = merge(edges)
    return {
        "pipeline": pipeline,
        "seconds": round(seconds, 3),
        "nodes": {name: dict(facts) for name, facts in nodes.items()},
        "edges": [edge.as_record() for edge in whole],
        "unaccounted": count_unaccounted(whole),
    }


def ledger_table(edges: Iterable[EdgeLedger], nodes: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Write the ledgers as an aligned table, one row an edge; the last line says what is unaccounted for.

    Before it a line for each capture that left pictures of its source out, and for each edge that delivered nothing.

    Args:
        edges: ledgers, in parts or whole; the parts of one edge are added up.
        nodes: what is known of each node, as `status` has it; None: nothing.
    """
    whole = merge(edges)
    rows = [_HEADINGS, *(_row(edge) for edge in whole)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [_aligned(row, widths) for row in rows] if whole else ["no edges"]
    lines += [
        f"{name} left pictures of its source out, which are on no edge: {describe_counts(counts)}"
        for name, node in (nodes or {}).items()
        if (counts := left_out(node))
    ]
    lines += [
        f"NOTHING WAS DELIVERED from {edge.producer} to {edge.consumer}: of {edge.offered} offered,"
        f" {edge.dead_lettered} were dead-lettered; the log of {edge.consumer} says why"
        for edge in undelivered(whole)
    ]
    return "\n".join([*lines, f"unaccounted: {count_unaccounted(whole)}"])


def _row(edge: EdgeLedger) -> tuple[str, ...]:
    drops = {reason: count for reason, count in edge.dropped.items() if count}
    whys = [describe_counts(drops)] if drops else []
    if edge.unaccounted:
        whys.append(f"UNACCOUNTED {edge.unaccounted}")
    counts = (
        edge.offered,
        edge.delivered,
        sum(drops.values()),
        edge.dead_lettered,
        edge.queued,
        edge.in_flight,
        edge.redelivered,
    )
    return (f"{edge.producer} -> {edge.consumer}", *map(str, counts), ", ".join(whys))


def _aligned(row: tuple[str, ...], widths: list[int]) -> str:
    last = len(row) - 1
    cells = [
        text.ljust(width) if column in (0, last) else text.rjust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()
