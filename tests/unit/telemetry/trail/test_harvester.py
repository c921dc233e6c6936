from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest

from detektr.memory.journal import DELIVERED
from detektr.memory.layout import TRAIL_WORKED
from detektr.memory.ring import RingFacts, RingWriter
from detektr.memory.run_folder import RunFolder
from detektr.memory.trail_ring import TrailWriter
from detektr.picture import PictureLayout
from detektr.telemetry.trail.harvester import Harvester, HarvestThread
from detektr.telemetry.trail.rows import LifeRow, Stream, decode_row

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

DOOR = Stream("door", "front_door", 77)


@pytest.fixture
def folder() -> Iterator[RunFolder]:
    """A run with one camera, whose ring of pictures is there."""
    made = RunFolder("harvested")
    made.make()
    picture = PictureLayout("gray", 16, 16, "bt601", True)
    ring = RingWriter(made.ring("door", 1), RingFacts(*DOOR, 1, picture, Fraction(1, 25)), 2)
    yield made
    ring.close(unlink=True)
    made.sweep()


class Trail:
    """What the harvest gave away."""

    def __init__(self) -> None:
        self.rows: list[LifeRow] = []
        self.records: list[Mapping[str, Any]] = []

    def take(self, lines: list[str]) -> None:
        self.rows += [row for line in lines if isinstance(row := decode_row(line), LifeRow)]

    def record(self, event: Mapping[str, Any]) -> None:
        self.records.append(event)


def tell(producer: TrailWriter, consumer: TrailWriter, first: int, end: int) -> None:
    edge, own = producer.add_edge("door.0", "eye"), consumer.add_edge("door.0", "eye.0")
    for sequence in range(first, end):
        consumer.append(TRAIL_WORKED, own, 0, 1, DOOR.key, sequence, 3_000_000, 0, 2_000_000, 1, 0)
        producer.append(DELIVERED, edge, 0, 1, DOOR.key, sequence, 4_000_000, 500_000, 1_000_000, 1, 0)


def test_rings_of_processes_that_come_and_die_are_harvested_to_the_last_record(
    folder: RunFolder, wait_until: WaitUntil
) -> None:
    trail = Trail()
    thread = HarvestThread(Harvester(folder, {"door": "capture", "eye": "processor"}), trail.take, trail.record)
    producer, consumer = TrailWriter(folder.trail("door", 0)), TrailWriter(folder.trail("eye", 0))
    tell(producer, consumer, 0, 5)
    wait_until(lambda: len(trail.rows) == 5, what="the first rows")
    consumer.close(unlink=False)
    consumer = TrailWriter(folder.trail("eye", 0))  # its successor
    tell(producer, consumer, 5, 9)
    thread.close()
    assert [row.sequence for row in trail.rows] == list(range(9))
    assert {row[1:3] + row[4:] for row in trail.rows} == {
        ("metadata", DOOR, "door.0", "eye", "delivered", 500, 1000, 1000, 1000, 0, 1, None)
    }
    assert trail.records == []
    for ring in (producer, consumer):
        ring.close(unlink=True)


def test_what_was_overwritten_before_it_was_read_is_a_gap_that_the_trail_tells(
    folder: RunFolder, caplog: pytest.LogCaptureFixture
) -> None:
    trail, harvester = Trail(), Harvester(folder, {"door": "capture"})
    producer, consumer = TrailWriter(folder.trail("door", 0), 16), TrailWriter(folder.trail("eye", 0))
    harvester.lines()
    tell(producer, consumer, 0, 100)
    HarvestThread(harvester, trail.take, trail.record).close()
    assert [row.sequence for row in trail.rows] == list(range(85, 100))
    assert trail.records == [{"event": "TrailGap", "node": "", "records": 85}]
    assert "85 records of frames were overwritten" in caplog.text
    for ring in (producer, consumer):
        ring.close(unlink=True)
