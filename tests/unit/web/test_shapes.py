"""The shapes of answers."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.ledger import EdgeLedger
from detektr.web.problem import Problem
from detektr.web.shapes import edge_state, frames_status

KINDS = {"cam": "capture", "buffer": "buffer", "spare": "buffer", "eye": "processor"}
EDGES = [
    EdgeLedger("cam", "buffer", offered=40, delivered=30, in_flight=10, mark=4, attached=1),
    EdgeLedger("buffer", "eye", offered=40, delivered=20, dropped={"queue_full": 5, "stopped": 0}, queued=15, mark=100),
    EdgeLedger("spare", "eye", offered=3, queued=3, mark=10, oldest_ns=5_000_000, attached=1),
]


def status(node: str | None = None, kinds: dict[str, str] = KINDS) -> dict[str, Any]:
    return frames_status("demo", "run", "now", EDGES, kinds, 9_000_000, node)


def test_the_size_is_what_is_queued_on_all_edges_of_buffers() -> None:
    found = status()
    assert (found["size"], found["max_size"]) == (18, 110)
    assert [(edge["from"], edge["to"]) for edge in found["edges"]] == [("buffer", "eye"), ("spare", "eye")]
    first, second = found["edges"]
    assert first["dropped"] == {"queue_full": 5} and first["state"] == "waiting" and first["oldest_ms"] == 0
    assert second["oldest_ms"] == 4 and second["state"] == "flowing"


def test_one_node_is_asked_for() -> None:
    assert status("spare")["size"] == 3
    assert status("cam")["size"] == 0
    with pytest.raises(Problem, match="no node 'eye' offers frames"):
        status("eye")


def test_without_a_buffer_the_captures_queue() -> None:
    assert status(kinds={"cam": "capture", "buffer": "processor"})["max_size"] == 4


@pytest.mark.parametrize(
    ("edge", "state"),
    [
        (EdgeLedger("a", "b", is_stalled=True, attached=1, queued=3, mark=3), "stalled"),
        (EdgeLedger("a", "b", queued=3, mark=3), "waiting"),
        (EdgeLedger("a", "b", attached=1, queued=3, mark=3), "full"),
        (EdgeLedger("a", "b", attached=1, in_flight=1, mark=3), "flowing"),
        (EdgeLedger("a", "b", attached=1, mark=3), "empty"),
    ],
)
def test_an_edge_says_what_it_does(edge: EdgeLedger, state: str) -> None:
    assert edge_state(edge) == state
