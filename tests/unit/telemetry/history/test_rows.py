from __future__ import annotations

from typing import Any

from detektr.ledger import EdgeLedger
from detektr.memory import layout
from detektr.memory.status_block import AGE_BUCKETS_NS
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.telemetry.history.rows import EdgeRow, Sample, Sampler

MS = 10**6
NOW_NS, UTC_NS = 50_000 * MS, 1_800_000_000_500_000_000


def status(state: str = "running", why: str = "") -> dict[str, Any]:
    return {"state": state, "why": why, "restarts": 2}


def ages(**counts: int) -> tuple[int, ...]:
    """Frames by the place of their bucket: `b3=7`."""
    return tuple(counts.get(f"b{place}", 0) for place in range(layout.STATUS_AGES))


def taken(sampler: Sampler, ledgers: list[EdgeLedger], snapshots: list[NodeSnapshot], **nodes: Any) -> Sample:
    nodes = nodes or {"work": status()}
    return sampler.sample(nodes, ledgers, snapshots, monotonic_ns=NOW_NS, utc_ns=UTC_NS)


def test_an_edge_in_parts_is_one_row_with_the_age_of_its_oldest_frame() -> None:
    parts = [
        EdgeLedger("cam", "work", 9, 5, {"queue_full": 2, "gone": 0}, 0, 1, 1, attached=1, oldest_ns=NOW_NS - 40 * MS),
        EdgeLedger("cam", "work", 5, 5, oldest_ns=0, attached=1),
    ]
    row = taken(Sampler(), parts, []).edges["cam", "work"]
    assert row == EdgeRow(14, 10, 0, 0, 0, {"queue_full": 2}, 1, 1, 40)


def test_replicas_are_one_row_with_the_longest_work_in_progress() -> None:
    snapshots = [
        NodeSnapshot("work", 0, is_alive=True, worked=3, busy_ns=30 * MS, frames=3, working_since_ns=NOW_NS - 9 * MS),
        NodeSnapshot("work", 1, is_alive=True, worked=4, busy_ns=50 * MS, frames=4, working_since_ns=NOW_NS - 70 * MS),
        NodeSnapshot("work", 2, is_alive=False, working_since_ns=1),
        NodeSnapshot("other", 0, is_alive=True, worked=99),
    ]
    row = taken(Sampler(), [], snapshots).nodes["work"]
    assert (row.worked, row.busy_ms, row.frames, row.working_ms, row.restarts) == (7, 80, 7, 70, 2)


def test_ages_are_those_of_the_frames_since_the_last_look() -> None:
    sampler = Sampler()
    first = taken(sampler, [], [NodeSnapshot("work", 0, is_alive=True, age_counts=ages(b20=100))])
    assert first.nodes["work"].age_p95_ms == AGE_BUCKETS_NS[20] // MS
    second = taken(sampler, [], [NodeSnapshot("work", 0, is_alive=True, age_counts=ages(b20=100, b10=94, b16=6))])
    assert second.nodes["work"].age_p95_ms == AGE_BUCKETS_NS[16] // MS
    third = taken(sampler, [], [NodeSnapshot("work", 0, is_alive=True, age_counts=ages(b20=100, b10=94, b16=6))])
    assert third.nodes["work"].age_p95_ms == 0, "no frame since"


def test_drops_by_camera_are_those_since_the_last_look() -> None:
    sampler = Sampler()

    def row(**lost: int) -> EdgeRow:
        by_camera = {camera: {"queue_full": count} for camera, count in lost.items()}
        return taken(sampler, [EdgeLedger("buf", "work", dropped_by_camera=by_camera)], []).edges["buf", "work"]

    assert row(door=2).lost_by_camera == {}, "of a first look nothing is known"
    assert row(door=4).lost_by_camera == {"door": 2}
    assert row(door=4, yard=1).lost_by_camera == {"yard": 1}
    both = EdgeRow(lost_by_camera={"door": 1}).joined(EdgeRow(lost_by_camera={"door": 2, "yard": 1}))
    assert both.lost_by_camera == {"door": 3, "yard": 1}


def test_the_last_fault_is_told_when_there_are_new_failures_and_nothing_worse() -> None:
    sampler = Sampler()
    taken(sampler, [], [NodeSnapshot("work", 0, is_alive=True)])
    failed = [NodeSnapshot("work", 0, is_alive=True, failures=1, last_fault="OSError: \x1b[2J No space left")]
    assert taken(sampler, [], failed).why == {"work": "OSError: \\x1b[2J No space left"}
    assert taken(sampler, [], failed).why == {}, "it has not failed since"
    failed = [NodeSnapshot("work", 0, is_alive=True, failures=2, last_fault="OSError: No space left on device")]
    assert taken(sampler, [], failed, work=status("hanging", "at mine.py:3")).why == {"work": "at mine.py:3"}
