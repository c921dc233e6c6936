from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from detektr.ledger import EdgeLedger
from detektr.memory.status_block import AGE_BUCKETS_NS
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.observe.table import Flow, Row, draw, quantile_ns, shown_ns, summary

S = 1_000_000_000
NODES: dict[str, dict[str, Any]] = {"motion": {"kind": "processor", "state": "running", "why": "", "restarts": 2}}
EMPTY = (0,) * (len(AGE_BUCKETS_NS) + 1)


def ages(**counts: int) -> tuple[int, ...]:
    found = list(EMPTY)
    for bucket, count in counts.items():
        found[int(bucket[1:])] = count
    return tuple(found)


def snapshot(replica: int, frames: int, age_counts: tuple[int, ...] = EMPTY) -> NodeSnapshot:
    return NodeSnapshot("motion", replica, frames=frames, age_counts=age_counts)


def test_rate_is_that_of_all_replicas_over_the_last_seconds() -> None:
    flow = Flow()
    flow.rows(0, NODES, [], [snapshot(0, 0), snapshot(1, 0)])
    (row,) = flow.rows(2 * S, NODES, [], [snapshot(0, 30), snapshot(1, 10)])
    assert row.rate == 20
    for second in range(3, 20):
        (row,) = flow.rows(second * S, NODES, [], [snapshot(0, 30), snapshot(1, 10)])
    assert row.rate == 0


def test_age_is_of_the_frames_since_not_of_all() -> None:
    flow = Flow()
    flow.rows(0, NODES, [], [snapshot(0, 100, ages(_30=100))])
    (row,) = flow.rows(S, NODES, [], [snapshot(0, 110, ages(_30=100, _4=10))])
    assert row.p50_ns is not None and row.p99_ns is not None
    assert AGE_BUCKETS_NS[3] < row.p50_ns < row.p99_ns <= AGE_BUCKETS_NS[4]


def test_edges_of_a_node_are_added_up_with_their_drops_by_reason() -> None:
    one = EdgeLedger("motion", "a", queued=3, in_flight=1, mark=8, dropped={"queue_full": 2, "too_old": 0})
    other = replace(one, consumer="b", dropped={"queue_full": 1}, dead_lettered=4)
    (row,) = Flow().rows(0, NODES, [one, other], [snapshot(0, 0)])
    assert (row.queued, row.mark, row.leases) == (6, 16, 2)
    assert row.drops == {"queue_full": 3, "dead_lettered": 4}
    assert (row.restarts, row.rate, row.p50_ns) == (2, 0.0, None)


def test_quantile_of_no_frames_is_none_and_of_the_overflow_the_longest_known() -> None:
    assert quantile_ns(EMPTY, 0.5) is None
    assert quantile_ns((*EMPTY[:-1], 5), 0.5) == AGE_BUCKETS_NS[-1]


def test_summary_is_one_line_with_what_is_not_as_it_should_be() -> None:
    good = Row("cam", "capture", "running", "", 30.0, 0, 8, 0)
    bad = Row("motion", "processor", "restarting", "", 0.0, 7, 64, 0, {"too_old": 3}, 2_000_000, 1_500_000_000, 1)
    assert summary([good, bad]) == "cam 30.0/s | motion restarting queue 7/64 age 2.0 ms/1.5 s dropped 3 restarts 1"


def test_no_time_is_shown_as_a_dash() -> None:
    assert shown_ns(None) == "-"


@pytest.mark.parametrize(("width", "lost"), [(80, {"kind", "leases", "p99", "restarts"}), (120, set())])
def test_narrow_terminal_keeps_node_state_and_drops_whole(width: int, lost: set[str]) -> None:
    row = Row("motion-of-the-door", "processor", "restarting", "", 29.9, 7, 64, 0, {"queue_full": 3}, 2_000_000, 10, 1)
    console = Console(width=width, file=io.StringIO(), force_terminal=False)
    console.print(draw("shop", [row], width))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("motion-of-the-door", "restarting", "queue_full 3", "7/64"):
        assert word in text
    for heading in ("kind", "leases", "p99", "restarts"):
        assert (heading in text) == (heading not in lost)


def test_pictures_that_a_source_left_out_are_in_the_table_and_in_the_line() -> None:
    nodes = {"cam": {"kind": "capture", "state": "running", "why": "", "restarts": 0, "corrupt": 4, "stale": 2}}
    rows = Flow().rows(0, {**nodes, **NODES}, [], [])
    assert rows[0].left_out == {"corrupt": 4, "stale": 2} and rows[1].left_out == {}
    assert summary(rows) == "cam 0.0/s left out corrupt 4, stale 2 | motion 0.0/s restarts 2"
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(draw("shop", rows, 80))
    assert "left out" in console.file.getvalue()  # type: ignore[attr-defined]
    assert "corrupt 4" in console.file.getvalue()  # type: ignore[attr-defined]
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(draw("shop", rows[1:], 80))
    assert "left out" not in console.file.getvalue()  # type: ignore[attr-defined]
