from __future__ import annotations

import pytest

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.state.lease import Cell, SessionState
from detektr.edge.state.reserve import oldest_of_stream
from detektr.memory.announcement import Announcement
from detektr.memory.journal import Journal
from tests.property.journal_bytes import new_memory

DOOR, YARD = 1, 2


def cells(*names: tuple[int, int]) -> list[Cell]:
    return [Cell(place, place, 0, Announcement(*name, 1, b"")) for place, name in enumerate(names)]


@pytest.mark.parametrize(
    ("waiting", "leased", "oldest"),
    [
        ([], [(DOOR, 0)], None),
        ([(DOOR, 3)], [], (DOOR, 3)),
        ([(DOOR, 3)], [(DOOR, 2)], None),
        ([(DOOR, 3)], [(DOOR, 4)], (DOOR, 3)),
        ([(DOOR, 4), (DOOR, 3)], [], (DOOR, 3)),
        ([(DOOR, 4), (YARD, 9), (DOOR, 3)], [(DOOR, 3)], (YARD, 9)),
        ([(DOOR, 4), (YARD, 9)], [(DOOR, 3), (YARD, 8)], None),
        ([(YARD, 9), (DOOR, 3)], [(DOOR, 4), (YARD, 10)], (YARD, 9)),
    ],
)
def test_the_first_waiting_frame_before_which_none_of_its_stream_is_on_the_edge(
    waiting: list[tuple[int, int]], leased: list[tuple[int, int]], oldest: tuple[int, int] | None
) -> None:
    found = oldest_of_stream(cells(*waiting), cells(*leased))
    assert (None if found is None else found.name) == oldest


class Bench:
    """An edge with two replicas; the second one holds frames 1 and 2, all that its window allows, when the first dies
    with frame 0."""

    def __init__(self, *, reserve: int, is_gathering: bool) -> None:
        self.options = EdgeOptions(
            mark=8, low=7, when_full="block", payload_bytes=8, window_total=4, max_deliveries=9,
            reserve=reserve, is_gathering=is_gathering,
        )  # fmt: skip
        self.edge = Edge("detect", self.options, Journal(memoryview(new_memory(self.options.cells, 8))))
        for session, window in ((6, 1), (7, 2)):
            self.edge.attach(session, f"detect.{session}", window, SessionState(), is_durable=False, now_ns=1)
        for sequence in range(4):
            self.edge.offer(0, Announcement(DOOR, sequence, 1, b""), now_ns=1)
        assert self.held(6) == {0} and self.held(7) == {1, 2} and self.edge.queued == 1
        self.edge.evict(6, None)
        self.edge.lease_queued(2)

    def held(self, session: int) -> set[int]:
        return {cell.sequence for cell in self.edge.replicas[session].leases.values()}


def test_who_holds_later_frames_back_gets_the_oldest_one_beyond_its_window() -> None:
    bench = Bench(reserve=1, is_gathering=True)
    assert bench.held(7) == {0, 1, 2}, "and 3 is not the oldest"
    bench.edge.finish(7, [(DOOR, 0, 0)], 3)
    bench.edge.lease_queued(3)
    assert bench.held(7) == {1, 2}


def test_nobody_else_does() -> None:
    assert Bench(reserve=0, is_gathering=True).held(7) == {1, 2}, "where nothing was kept for it"
    assert Bench(reserve=1, is_gathering=False).held(7) == {1, 2}, "whose window is full of work takes it after that"


def test_a_relay_that_has_passed_on_all_that_it_may_gets_the_oldest_frame_too() -> None:
    options = EdgeOptions(
        mark=8, low=7, when_full="block", payload_bytes=8, window_total=3, passed_max=1, reserve=1, max_deliveries=9
    )
    edge = Edge("detect", options, Journal(memoryview(new_memory(options.cells, 8))))
    edge.attach(7, "detect.0", 1, SessionState(), is_durable=False, now_ns=1)
    for sequence in (1, 2):
        edge.offer(0, Announcement(DOOR, sequence, 1, b""), now_ns=1)
        edge.note_passed(7, [(DOOR, sequence)])
    edge.offer(0, Announcement(DOOR, 3, 1, b""), now_ns=1)
    edge.offer(0, Announcement(YARD, 5, 1, b""), now_ns=1)
    edge.lease_queued(2)
    assert {cell.name for cell in edge.group.leased()} == {(DOOR, 1), (DOOR, 2), (YARD, 5)}
