"""The report of a run: the ledger of every edge as JSON and as the table printed at the end."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from detektr.errors import RefusedError
from detektr.ledger import EdgeLedger, describe_counts, left_out, merge

_HEADINGS = ("edge", "offered", "delivered", "dropped", "dead-lettered", "queued", "in flight", "redelivered", "why")


def check_report_path(path: Path) -> None:
    """Refuse a report that cannot be written, before anything runs for days.

    Raises:
        RefusedError: there is no such folder, or it cannot be written to.
    """
    folder = path.absolute().parent
    if not folder.is_dir():
        raise RefusedError(f"--report {path}: there is no folder {folder}; make it first")
    if path.is_dir():
        raise RefusedError(f"--report {path}: that is a folder; name a file in it, as in {path / 'report.json'}")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RefusedError(f"--report {path}: {folder} cannot be written to; name a file elsewhere")


def count_unaccounted(edges: Iterable[EdgeLedger]) -> int:
    """Return how many frames stand in no term of their edge's ledger, or in two; 0 unless there is a defect."""
    # Absolute, edge by edge: one edge that lost a frame and one that made one up must not cancel out.
    return sum(abs(edge.unaccounted) for edge in merge(edges))


def undelivered(edges: Iterable[EdgeLedger]) -> list[EdgeLedger]:
    """Return the edges that were offered frames and delivered none, as the consumer gave up each one that it began."""
    return [edge for edge in merge(edges) if edge.dead_lettered and not edge.delivered]


def has_reached(edges: Iterable[EdgeLedger]) -> bool:
    """Whether any frame reached a worker: one that a buffer passed on to nobody has not."""
    whole = merge(edges)

    def reaches(edge: EdgeLedger, passed: frozenset[str]) -> bool:
        further = [other for other in whole if other.producer == edge.consumer and other.offered]
        is_last = not further or edge.consumer in passed
        return edge.delivered > 0 and (is_last or any(reaches(other, passed | {edge.consumer}) for other in further))

    return any(reaches(edge, frozenset()) for edge in whole)


def final_words(edges: Iterable[EdgeLedger]) -> list[str]:
    """Return a line for each edge that gave frames up though its ledger adds up, or one line for all."""
    whole = merge(edges)
    lines = []
    for edge in whole:
        if edge.dead_lettered:
            what = "NOT ALL WAS DELIVERED" if edge.delivered else "NOTHING WAS DELIVERED"
            lines.append(
                f"{what} from {edge.producer} to {edge.consumer}: of {edge.offered} offered,"
                f" {edge.dead_lettered} were dead-lettered; the log of {edge.consumer} says why"
            )
    if whole and not has_reached(whole) and not any(edge.dead_lettered for edge in whole):
        consumers = {edge.consumer for edge in whole}
        sources = [edge for edge in whole if edge.producer not in consumers]
        offered = sum(edge.offered for edge in sources)
        drops = {
            reason: sum(edge.dropped.get(reason, 0) for edge in whole) for edge in whole for reason in edge.dropped
        }
        why = ", ".join(f"{reason} {count}" for reason, count in drops.items() if count)
        first = ", ".join(dict.fromkeys(edge.producer for edge in sources))
        lines.append(
            f"NOTHING WAS DELIVERED: {first} offered {offered}, dropped: {why or 'none'}; the log says why"
            if offered
            else f"NOTHING WAS DELIVERED: nothing was offered by {first}; the log says why"
        )
    return lines


def build_report(
    pipeline: str, seconds: float, nodes: Mapping[str, dict[str, Any]], edges: Iterable[EdgeLedger]
) -> dict[str, Any]:
    """Build the report of a run from the edges' own counting.

    Args:
        pipeline: name of the pipeline.
        seconds: how long it ran.
        nodes: for each node its `kind`, `state`, `restarts` and further values of its status.
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


def left_out_lines(nodes: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return which captures left pictures of their source out: a line each."""
    return [
        f"{name} left pictures of its source out, which are on no edge: {describe_counts(counts)}"
        for name, node in nodes.items()
        if (counts := left_out(node))
    ]


def ledger_table(
    edges: Iterable[EdgeLedger], nodes: Mapping[str, Mapping[str, Any]] | None = None, more: Iterable[str] = ()
) -> str:
    """Write the ledgers as an aligned table, one row an edge; the last line has the frames unaccounted for.

    Before it stand the pictures that captures left out, the `final_words`, and then `more` lines.

    Args:
        edges: ledgers, in parts or whole; the parts of one edge are added up.
        nodes: each node's state, as in `status`; None: not known.
        more: whole lines.
    """
    whole = merge(edges)
    rows = [_HEADINGS, *(_row(edge) for edge in whole)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [_aligned(row, widths) for row in rows] if whole else ["no edges"]
    words = [*left_out_lines(nodes or {}), *final_words(whole), *more]
    return "\n".join([*lines, *words, f"unaccounted: {count_unaccounted(whole)}"])


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
