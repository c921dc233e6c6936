"""A part of a run as its history has it: rows of edges and nodes, and the states of nodes. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

from detektr.telemetry.history.rows import EdgeRow, NodeRow, Sample

_Row = TypeVar("_Row", EdgeRow, NodeRow)
_Key = TypeVar("_Key")


@dataclass(frozen=True)
class NodeState:
    """A node's state, and why, from a time on."""

    utc_s: int
    state: str
    why: str


@dataclass
class Window:
    """What is known of a part of a run: rows in order of their time.

    The first row of an edge or node may be older than `begin_s`: counts are the later ones' less that one's.
    """

    begin_s: int
    end_s: int
    step_s: int
    """A row stands for so many seconds up to its time."""
    edges: dict[tuple[str, str], list[tuple[int, EdgeRow]]] = field(default_factory=dict)
    nodes: dict[str, list[tuple[int, NodeRow]]] = field(default_factory=dict)
    states: dict[str, list[NodeState]] = field(default_factory=dict)
    """The states of each node within this time, and the one before."""

    def add(self, sample: Sample) -> None:
        """Add what is so now, if it is later than all that is known."""
        for edge, edge_row in sample.edges.items():
            _append(self.edges, edge, sample.utc_s, edge_row)
        for name, node_row in sample.nodes.items():
            _append(self.nodes, name, sample.utc_s, node_row)
            states, why = self.states.setdefault(name, []), sample.why.get(name, "")
            if not states or (states[-1].state, states[-1].why) != (node_row.state, why):
                states.append(NodeState(sample.utc_s, node_row.state, why))
        self.end_s = max(self.end_s, sample.utc_s)


def _append(known: dict[_Key, list[tuple[int, _Row]]], key: _Key, utc_s: int, row: _Row) -> None:
    rows = known.setdefault(key, [])
    if rows and rows[-1][0] >= utc_s:
        rows[-1] = rows[-1][0], row
    else:
        rows.append((utc_s, row))
