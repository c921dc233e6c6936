"""What `detektr top` shows of a running pipeline: what is wrong, its nodes by trouble, its edges."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from detektr.errors import DetektrError
from detektr.ledger import EdgeLedger, merge
from detektr.observe.node_state import BEST_TO_WORST
from detektr.observe.run_reader import RunReader
from detektr.observe.run_state import read_run_state
from detektr.observe.status import describe_nodes, find_running
from detektr.observe.table import Flow, Row
from detektr.observe.why.answer import explain


@dataclass(frozen=True)
class TopLook:
    """One look at a pipeline."""

    pipeline: str
    run: str | None
    seconds: float | None
    """How long it runs; None: not known."""
    sickest: list[dict[str, Any]]
    """What is wrong, as `detektr why` says it."""
    rows: list[Row]
    """The nodes, the one with most trouble first."""
    edges: list[EdgeLedger]
    """In the order of the nodes that they lead to."""

    def as_json(self) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "pipeline": self.pipeline,
            "run": self.run,
            "seconds": self.seconds,
            "sickest": self.sickest,
            "nodes": [asdict(row) for row in self.rows],
            "edges": [edge.as_record() for edge in self.edges],
        }


class TopReader:
    """Looks at one pipeline again and again: rates are those since the looks before."""

    def __init__(self, name: str) -> None:
        """Find the pipeline.

        Raises:
            DetektrError: no pipeline of this name runs.
        """
        self._folder = find_running(name)
        self._reader, self._flow = RunReader(self._folder), Flow()

    def look(self) -> TopLook:
        """Return what is so now.

        Raises:
            DetektrError: the pipeline has ended.
        """
        run_state = read_run_state(self._folder)
        ledgers, snapshots = self._reader.read()
        if not run_state and not any(snapshot.is_alive for snapshot in snapshots):
            name = self._folder.pipeline
            raise DetektrError(f"pipeline {name!r} has ended; see `detektr status {name} --run last`")
        nodes = describe_nodes(run_state.get("nodes", {}), ledgers, snapshots)
        rows = self._flow.rows(time.monotonic_ns(), nodes, ledgers, snapshots)
        sickest = explain(self._folder.pipeline)["sickest"]
        started_ns = run_state.get("started_utc_ns")
        ordered = by_trouble(rows, sickest)
        places = {row.node: place for place, row in enumerate(ordered)}
        edges = sorted(merge(ledgers), key=lambda edge: places.get(edge.consumer, len(places)))
        seconds = round((time.time_ns() - started_ns) / 1e9, 1) if started_ns else None
        return TopLook(self._folder.pipeline, run_state.get("run"), seconds, sickest, ordered, edges)

    def close(self) -> None:
        """Close what was opened."""
        self._reader.close()


def by_trouble(rows: Iterable[Row], sickest: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Sort nodes: culprits by their rank, then the others by their state, the worst first. Pure.

    Args:
        rows: in the order of the file.
        sickest: what is wrong, by rank; a culprit that is an edge stands for the node that it leads to.
    """
    ranks: dict[str, int] = {}
    for one in sickest:
        ranks.setdefault(str(one["culprit"]).rpartition(" -> ")[2], int(one["rank"]))
    last = len(ranks) + 1

    def trouble(row: Row) -> tuple[int, int]:
        badness = BEST_TO_WORST.index(row.state) if row.state in BEST_TO_WORST else 0
        return ranks.get(row.node, last), -badness

    return sorted(rows, key=trouble)
