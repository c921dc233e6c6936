from __future__ import annotations

from detektr.descriptor import Descriptor
from detektr.memory.journal import DEAD_LETTERED, DELIVERED, DROPPED
from detektr.memory.layout import TRAIL_FAILED, TRAIL_NOBODY, TRAIL_WORKED
from detektr.memory.trail_ring import TrailRecord
from detektr.telemetry.trail.harvest import UNKNOWN, Harvest, Streams, Told, mark_of
from detektr.telemetry.trail.rows import Drop, DropRow, LifeRow, Row, Stream

DOOR, YARD = Stream("door", "front_door", 77), Stream("yard", "yard", 78)
NOW_S = 1_800_000_000
OFFSET_NS = NOW_S * 10**9


def new_harvest(*streams: Stream) -> Harvest:
    known = Streams()
    for stream in streams or (DOOR, YARD):
        known.add(stream)
    return Harvest(known, {"door": "metadata", "buf": "buffered", "eye": "results"})


def told(producer: str, consumer: str, outcome: int, sequence: int, **fields: int) -> Told:
    values = {"edge": 0, "replica": 1, "delivery": 1, "key": DOOR.key, "at_ns": 9_000_000, "queued_ns": 1_000_000}
    values |= {"leased_ns": 3_000_000, "frames": 1, "about": 0} | fields
    return Told((producer, consumer), TrailRecord(outcome=outcome, sequence=sequence, **values))


def work(sequence: int, begun_ns: int = 4_000_000, ended_ns: int = 7_000_000, **fields: int) -> Told:
    return told("buf.0", "eye.1", TRAIL_WORKED, sequence, leased_ns=begun_ns, at_ns=ended_ns, replica=0, **fields)


def take(harvest: Harvest, *records: Told, now_s: int = NOW_S, is_last: bool = False) -> list[Row]:
    return harvest.take(list(records), OFFSET_NS, now_s, is_last=is_last)


def test_work_is_joined_to_what_became_of_the_frame_at_the_next_harvest_whoever_was_read_first() -> None:
    harvest = new_harvest()
    assert take(harvest, told("buf.0", "eye", DELIVERED, 5)) == []
    (row,) = take(harvest, work(5))  # it was told before, in a ring that was read earlier
    assert row == LifeRow(
        OFFSET_NS // 1000 + 9000, "buffered", DOOR, 5, "buf.0", "eye", "delivered", 2000, 1000, 3000, 2000, 1, 1
    )


def test_a_clock_that_was_looked_at_before_the_offer_puts_no_step_before_its_cause() -> None:
    early = told("buf.0", "eye", DELIVERED, 5, queued_ns=5_000_000, leased_ns=3_000_000)
    (row,) = take(new_harvest(), work(5, begun_ns=4_000_000), early, is_last=True)
    assert isinstance(row, LifeRow)
    assert (row.queued_us, row.waited_us, row.worked_us, row.kept_us) == (0, 0, 2000, 2000)


def test_each_attempt_has_the_work_of_its_own_replica_and_delivery() -> None:
    harvest = new_harvest()
    records = [
        work(5),
        told("buf.0", "eye", TRAIL_FAILED, 5),
        told("buf.0", "eye.2", TRAIL_WORKED, 5, leased_ns=11_000_000, at_ns=11_500_000, delivery=2),
        told("buf.0", "eye", DEAD_LETTERED, 5, delivery=2, replica=2, leased_ns=10_000_000, at_ns=12_000_000),
    ]
    rows = [row for row in take(harvest, *records, is_last=True) if isinstance(row, LifeRow)]
    assert [(row.outcome, row.replica, row.delivery, row.worked_us) for row in rows] == [
        ("failed", 1, 1, 3000),
        ("dead_lettered", 2, 2, 500),
    ]


def test_a_frame_that_no_code_worked_on_was_kept_all_the_time() -> None:
    (row,) = take(new_harvest(), told("door.0", "buf", DELIVERED, 5), is_last=True)
    assert isinstance(row, LifeRow)
    assert (row.place, row.waited_us, row.worked_us, row.kept_us) == ("metadata", None, None, 6000)


def test_drops_of_one_reason_on_one_edge_in_one_second_are_one_row_when_it_is_over() -> None:
    harvest = new_harvest()
    drops = [told("buf.0", "eye", DROPPED["queue_full"], number, replica=TRAIL_NOBODY) for number in (3, 4, 9)]
    late = told("buf.0", "eye", DROPPED["queue_full"], 70, at_ns=1_500_000_000, frames=10)
    assert take(harvest, *drops, late, told("buf.0", "eye", DROPPED["too_old"], 8)) == []
    assert take(harvest) == []
    rows = take(harvest, now_s=NOW_S + 2)
    assert [(row.reason, row.frames, row.drops()) for row in rows if isinstance(row, DropRow)] == [
        ("queue_full", 3, [Drop(3, 1, 9), Drop(4, 1, 9), Drop(9, 1, 9)]),
        ("too_old", 1, [Drop(8, 1, 9)]),
    ]
    (row,) = take(harvest, is_last=True)
    assert isinstance(row, DropRow) and (row.t_s, row.first, row.last) == (NOW_S + 1, 61, 70)


def test_an_event_is_a_row_of_the_frame_that_it_is_about() -> None:
    about = mark_of(YARD, 41) << 32 | 41
    (row,) = take(new_harvest(), told("eye.1", "hook", DELIVERED, 12, key=999, about=about), is_last=True)
    assert isinstance(row, LifeRow)
    assert (row.place, row.stream, row.sequence, row.event) == ("results", YARD, 41, 12)


def test_the_mark_of_a_frame_is_that_of_its_id() -> None:
    descriptor = Descriptor("door", "front_door", 77, 1, 0, 1, 41, 5, 10**18, None)
    assert f"{mark_of(DOOR, 41):08x}" == descriptor.id[-8:]


def test_a_frame_of_a_stream_that_nobody_knows_is_a_row_all_the_same() -> None:
    harvest = new_harvest(YARD)
    record = told("buf.0", "eye", DELIVERED, 5)
    assert harvest.unknown([record]) and not harvest.unknown([told("buf.0", "eye", DELIVERED, 5, key=YARD.key)])
    (row,) = take(harvest, record, is_last=True)
    assert row.stream == UNKNOWN
