from __future__ import annotations

from typing import Any

from detektr.observe.trail.steps import steps_of
from detektr.telemetry.record import Record
from detektr.telemetry.trail.rows import Drop, LifeRow, Row, Stream, drop_rows
from detektr.telemetry.trail.wanted import WantedFrame

DOOR = Stream("door", "door", 77)
T0_US = 1_800_000_000_000_000
FRAME = WantedFrame("id", "door_door", 7, 1, T0_US // 1000)


def life(edge: str, left_ms: float, outcome: str = "delivered", **fields: Any) -> LifeRow:
    producer, _, consumer = edge.partition("->")
    values: dict[str, Any] = {"queued_us": 1000, "waited_us": 2000, "worked_us": 3000, "kept_us": 4000}
    values |= {"replica": 0, "delivery": 1} | fields
    return LifeRow(T0_US + round(left_ms * 1000), "x", DOOR, 7, producer, consumer, outcome, **values)


def told(*rows: Row, operations: tuple[Record, ...] = ()) -> list[tuple[float, str, str]]:
    """Return after how many milliseconds who did what, since the first step."""
    found, at_ms = [], 0.0
    for step in steps_of(FRAME, rows, operations):
        at_ms += step["after_ms"]
        found.append((round(at_ms, 3), step["node"], step["what"]))
    return found


def test_a_life_is_told_in_order_over_all_edges() -> None:
    camera = life("door.0->eye", 12, queued_us=0, waited_us=1000)
    event = life("eye.0->hook", 20, event=3, queued_us=0)
    assert told(event, camera) == [
        (0, "door", "captured"),
        (4, "door.0", "queued"),
        (4, "eye.0", "leased"),
        (5, "eye.0", "began"),
        (8, "eye.0", "ended"),
        (11, "eye.0", "queued"),
        (11, "hook.0", "leased"),
        (12, "door.0", "delivered"),
        (13, "hook.0", "began"),
        (16, "hook.0", "ended"),
        (20, "eye.0", "delivered"),
    ]


def test_an_attempt_that_failed_has_its_reason_and_the_frame_is_queued_once() -> None:
    first = life("door.0->eye", 11, "failed", kept_us=0)
    again = life("door.0->eye", 30, "dead_lettered", kept_us=0, delivery=2, replica=1, queued_us=15_000)
    data = '{"consumer": "eye", "frame": "id", "delivery": 1, "reason": "no such track"}'
    why = Record("2027-01-15T08:00:00.011500+00:00", "door.0", "FrameRedelivered", data, "id")
    steps = steps_of(FRAME, [first, again], [why])
    whats = [step["what"] for step in steps]
    assert whats == [
        *("captured", "queued", "leased", "began", "ended", "failed"),
        *("frame redelivered", "leased", "began", "ended", "dead_lettered"),
    ]  # fmt: skip
    assert steps[6]["reason"] == "no such track" and steps[6]["edge"] == "door->eye"
    assert steps[-1]["delivery"] == 2 and steps[7]["node"] == "eye.1"


def test_what_was_told_twice_by_a_producer_that_was_killed_stands_once_and_the_later_one() -> None:
    rows = told(life("door.0->eye", 11), life("door.0->eye", 15))
    assert [(at_ms, what) for at_ms, _, what in rows if what == "delivered"] == [(15, "delivered")]


def test_a_frame_that_was_dropped_says_where_when_and_why() -> None:
    (row,) = drop_rows(
        T0_US // 1_000_000, "x", DOOR, ("door.0", "eye"), "ring_full", [Drop(9, 5, 250), Drop(20, 1, 400)]
    )
    steps = steps_of(FRAME, [row])
    assert [(step["what"], step.get("reason")) for step in steps] == [("captured", None), ("dropped", "ring_full")]
    assert steps[1]["after_ms"] == 250


def test_of_a_frame_that_nobody_knows_there_are_no_steps() -> None:
    assert steps_of(FRAME, []) == []


def test_nothing_comes_before_the_capture_though_two_clocks_disagree() -> None:
    steps = told(life("door.0->eye", 7, queued_us=1000, waited_us=2000, worked_us=3000, kept_us=4000))
    assert steps[:2] == [(0, "door", "captured"), (0, "door.0", "queued")]
