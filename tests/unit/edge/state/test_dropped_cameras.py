from __future__ import annotations

from typing import Any

import msgpack
import pytest

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.ledger import EdgeLedger, merge
from detektr.memory import layout
from detektr.memory.announcement import Announcement
from detektr.memory.journal import Journal
from tests.property.journal_bytes import new_memory, read_journal


class Bench:
    """An edge with room for one frame, whose payloads name cameras."""

    def __init__(self, **options: Any) -> None:
        terms: dict[str, Any] = {
            "mark": 1,
            "low": 0,
            "when_full": "drop-newest",
            "window_total": 1,
            "payload_bytes": 96,
        }
        self.options = EdgeOptions(**(terms | options))
        self.memory = new_memory(self.options.cells, self.options.payload_bytes)
        self.adopt()

    def adopt(self) -> None:
        self.edge = Edge("look", self.options, Journal(memoryview(self.memory)))

    def offer(self, key: int, **fields: Any) -> str:
        payload = msgpack.packb(fields) if fields else b"no map"
        return self.edge.offer(0, Announcement(key, self.edge.journal.seen(key), 1, payload))

    @property
    def ledger(self) -> EdgeLedger:
        ledger = read_journal(self.memory).ledger()
        assert ledger.unaccounted == 0
        return ledger


def test_drops_of_several_cameras_are_told_apart_also_by_a_successor() -> None:
    bench = Bench()
    assert bench.offer(1, camera="door") == "taken"
    for key, camera in ((1, "door"), (2, "yard"), (1, "door")):
        assert bench.offer(key, camera=camera) == "dropped"
    bench.adopt()
    bench.offer(2, camera="yard")
    bench.edge.drop_all("stopped")
    assert bench.ledger.dropped_by_camera == {"door": {"queue_full": 2, "stopped": 1}, "yard": {"queue_full": 2}}
    assert {reason: n for reason, n in bench.ledger.dropped.items() if n} == {"queue_full": 4, "stopped": 1}


def test_events_of_one_stream_are_of_many_cameras() -> None:
    bench = Bench()
    for camera in ("door", "door", "yard", "gate", "yard"):
        bench.offer(1, camera=camera, frame="its id")
    dropped = {camera: counts["queue_full"] for camera, counts in bench.ledger.dropped_by_camera.items()}
    assert dropped == {"door": 1, "yard": 2, "gate": 1}


def test_an_event_is_known_wherever_it_says_which_frame_it_is_about() -> None:
    bench = Bench()
    for camera in ("door", "door", "yard"):
        bench.offer(1, camera=camera, frame="its id")
    for camera in ("door", "yard"):
        payload = msgpack.packb({"frame": "its id", "camera": camera, "data": [1, 2]})
        bench.edge.count_dropped(2, 0 if camera == "door" else 1, 1, "filtered", payload)
    assert bench.ledger.dropped_by_camera == {
        "door": {"queue_full": 1, "filtered": 1},
        "yard": {"queue_full": 1, "filtered": 1},
    }


@pytest.mark.parametrize("length", range(24))
def test_a_payload_that_is_cut_short_is_of_no_camera(length: int) -> None:
    whole = msgpack.packb({"frame": {"a": [1]}, "camera": "doorstep"})
    cameras = Bench().edge._dropped_cameras
    assert cameras is not None
    assert cameras.entry_of(1, whole) == 0
    assert cameras.entry_of(2, whole[:length]) is None


def test_an_edge_of_one_camera_counts_none_apart() -> None:
    bench = Bench(has_one_camera=True)
    for _ in range(3):
        bench.offer(1, camera="door")
    assert (bench.ledger.dropped["queue_full"], bench.ledger.dropped_by_camera) == (2, {})


@pytest.mark.parametrize("fields", [{}, {"camera": 3}, {"camera": ""}, {"camera": "x" * 33}, {"camera": None}])
def test_a_drop_of_no_known_camera_is_counted_all_the_same(fields: dict[str, Any]) -> None:
    bench = Bench()
    bench.offer(1, **fields)
    bench.offer(1, **fields)
    bench.edge.count_dropped(9, 4, 5, "ring_full")
    assert bench.ledger.dropped["queue_full"] == 1
    assert bench.ledger.dropped["ring_full"] == 5
    assert bench.ledger.dropped_by_camera == {}


def test_one_camera_more_than_there_are_entries_is_counted_without_its_name() -> None:
    bench = Bench()
    bench.offer(999, camera="first")
    for number in range(layout.EDGE_CAMERAS_MAX + 3):
        bench.offer(1, camera=f"c{number}", frame="its id")
    ledger = bench.ledger
    assert len(ledger.dropped_by_camera) == layout.EDGE_CAMERAS_MAX
    assert ledger.dropped["queue_full"] == layout.EDGE_CAMERAS_MAX + 3
    assert sum(counts["queue_full"] for counts in ledger.dropped_by_camera.values()) == layout.EDGE_CAMERAS_MAX


def test_parts_of_an_edge_add_up_by_camera() -> None:
    parts = [
        EdgeLedger("look", "log", offered=3, dropped={"queue_full": 3}, dropped_by_camera={"door": {"queue_full": 2}}),
        EdgeLedger(
            "look",
            "log",
            offered=3,
            dropped={"queue_full": 2, "too_old": 1},
            dropped_by_camera={"door": {"queue_full": 2}, "yard": {"too_old": 1}},
        ),
    ]
    [whole] = merge(parts)
    assert whole.dropped_by_camera == {"door": {"queue_full": 4}, "yard": {"too_old": 1}}
    assert whole.dropped == {"queue_full": 5, "too_old": 1}
    assert whole.as_record()["dropped_by_camera"] == whole.dropped_by_camera
