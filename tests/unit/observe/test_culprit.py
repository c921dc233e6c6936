from __future__ import annotations

from typing import Any

from detektr.ledger import EdgeLedger
from detektr.observe.culprit import HELD_NS, held_up

NOW_NS = 10 * HELD_NS
LONG_NS = NOW_NS - 2 * HELD_NS


def edge(producer: str, consumer: str, full_since_ns: int = 0, **terms: Any) -> EdgeLedger:
    return EdgeLedger(producer, consumer, queued=8 if full_since_ns else 0, full_since_ns=full_since_ns, **terms)


def test_the_last_consumer_down_the_full_edges_is_named_and_not_who_waits_for_it() -> None:
    edges = [
        edge("cam", "buffer", LONG_NS),
        edge("buffer", "detect", LONG_NS + 1),
        edge("detect", "webhook", LONG_NS - 1),
        edge("detect", "log"),
    ]
    assert held_up(edges, NOW_NS) == {"cam": "webhook", "buffer": "webhook", "detect": "webhook"}


def test_a_burst_an_empty_queue_and_an_edge_with_room_hold_up_nobody() -> None:
    assert held_up([edge("cam", "detect", NOW_NS - HELD_NS + 1)], NOW_NS) == {}
    assert held_up([EdgeLedger("cam", "detect", full_since_ns=LONG_NS)], NOW_NS) == {}
    assert held_up([edge("cam", "detect")], NOW_NS) == {}


def test_of_two_full_edges_the_one_that_was_full_first_counts() -> None:
    edges = [edge("detect", "log", LONG_NS), edge("detect", "webhook", LONG_NS - 1)]
    assert held_up(edges, NOW_NS) == {"detect": "webhook"}
