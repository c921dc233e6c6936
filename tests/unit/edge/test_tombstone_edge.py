"""An edge whose frames come in order and whose names are kept: what its journal says of each, also to a successor."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.descriptor import DescriptorPacker
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.fanout import Fanout
from detektr.edge.state.lease import SessionState
from detektr.edge.tombstone_edge import TombstoneEdge
from detektr.memory.announcement import Announcement
from detektr.memory.tombstone_journal import TombstoneJournal
from detektr.wire.message import FailureKind
from tests.property.journal_bytes import new_memory, read_journal

SESSION = 7
PACKER = DescriptorPacker(
    "camera", "door", 1, 2, pixel_format="gray", width=2, height=2, nbytes=4, first_byte=4096, slot_bytes=4096
)


class Bench:
    """The edge on a journal in memory, with one replica that holds two frames at most."""

    def __init__(self, **options: Any) -> None:
        terms: dict[str, Any] = {"mark": 2, "low": 1, "when_full": "block", "window_total": 2, "payload_bytes": 512}
        self.options = EdgeOptions(**({"keeps_settled": 8} | terms | options))
        self.memory = new_memory(self.options.cells, self.options.payload_bytes)
        self.adopt()
        self.edge.attach(SESSION, "pose.0", 2, SessionState(), is_durable=False, now_ns=1)

    def adopt(self) -> None:
        """Let the edge's producer begin; or its successor."""
        self.edge = TombstoneEdge("pose", self.options, TombstoneJournal(memoryview(self.memory)))

    def offer(self, *sequences: int) -> list[str]:
        payloads = {sequence: PACKER.pack(sequence, 8, 7, 10, 20, None) for sequence in sequences}
        return [self.edge.offer(0, Announcement(1, one, one, payload), now_ns=1) for one, payload in payloads.items()]

    def finish(self, *sequences: int) -> None:
        self.edge.finish(SESSION, [(1, sequence, 0) for sequence in sequences], 1)
        self.edge.lease_queued(1)

    @property
    def outcomes(self) -> dict[int, str]:
        """What anybody reads in the journal of frames: empty for one that is queued or leased."""
        return {sequence: outcome for (_, sequence), outcome in read_journal(self.memory).outcomes().items()}

    @property
    def unaccounted(self) -> int:
        return read_journal(self.memory).ledger().unaccounted


def test_a_settled_frame_is_known_with_what_became_of_it_until_it_is_forgotten() -> None:
    bench = Bench(max_deliveries=1)
    bench.offer(0, 1, 2, 3)
    assert bench.outcomes == {0: "", 1: "", 2: "", 3: ""}
    bench.finish(0)
    bench.edge.fail(SESSION, (1, 1, FailureKind.RETRYABLE, "because"))
    bench.edge.fail(SESSION, (1, 2, FailureKind.OVERWRITTEN, "because"))
    assert bench.outcomes == {0: "delivered", 1: "dead_lettered", 2: "overwritten", 3: ""}
    assert bench.edge.settled == [(1, 0), (1, 1), (1, 2)], "whoever holds them above may let go"
    for sequence in range(4):
        bench.edge.forget((1, sequence))
    assert bench.outcomes == {3: ""}, "one that is not settled is not forgotten"
    assert bench.unaccounted == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"cameras": ("yard",)}, "filtered"), ({"only_results": True}, "filtered"), ({"fps": 0.001}, "thinned"),
        ({"when_full": "drop-newest"}, "queue_full"),
        ({"when_full": "drop-newest", "is_optional": True}, "consumer_slow"),
    ],
)  # fmt: skip
def test_a_frame_that_is_dropped_as_it_is_offered_is_known_with_its_reason(
    options: dict[str, Any], reason: str
) -> None:
    bench = Bench(**options)
    answers = bench.offer(*range(6))
    assert answers[-1] == "dropped"
    assert bench.outcomes[5] == reason
    assert len(bench.outcomes) == 6 and bench.unaccounted == 0
    assert (1, 5) not in bench.edge.settled, "it was never held"


def test_a_frame_that_makes_room_for_a_newer_one_is_known() -> None:
    bench = Bench(when_full="drop-oldest")
    bench.offer(*range(6))
    assert bench.outcomes == {0: "", 1: "", 2: "queue_full", 3: "queue_full", 4: "", 5: ""}


def test_frames_are_known_by_their_order_too_so_what_was_forgotten_is_not_taken_twice() -> None:
    bench = Bench()
    bench.offer(0)
    bench.finish(0)
    bench.edge.forget((1, 0))
    bench.adopt()
    assert bench.offer(0, 1) == ["known", "taken"]


def test_nobody_is_there_to_take_a_frame_of_an_optional_branch_that_is_joined() -> None:
    bench = Bench(when_full="drop-oldest", is_optional=True, is_joined=True)
    bench.offer(0)
    bench.edge.detach(SESSION)
    assert bench.offer(1) == ["dropped"]
    assert bench.outcomes == {0: "", 1: "absent"}
    beside = Bench(when_full="drop-oldest", is_optional=True)
    beside.edge.detach(SESSION)
    assert beside.offer(0) == ["taken"], "where nobody joins, it waits"


def test_pictures_that_never_were_frames_leave_no_names() -> None:
    bench = Bench()
    bench.edge.count_dropped(1, 9, 10, "ring_full")
    assert bench.outcomes == {}
    assert bench.offer(9, 10) == ["known", "taken"] and bench.unaccounted == 0


def test_without_a_cell_there_is_no_room_even_where_nobody_would_wait() -> None:
    bench = Bench(keeps_settled=1, when_full="drop-newest", cameras=("yard",))
    bench.offer(*range(bench.options.cells - 1))
    assert (bench.edge.has_room(0), bench.edge.is_short) == (True, False)
    bench.offer(bench.options.cells - 1)
    assert (bench.edge.has_room(0), bench.edge.is_short) == (False, True)
    bench.edge.forget((1, 0))
    assert bench.edge.has_room(0)


def test_a_successor_knows_what_became_of_each_frame_and_goes_on() -> None:
    bench = Bench()
    bench.offer(0, 1, 2, 3)
    bench.finish(0, 1)
    before = bench.outcomes
    bench.adopt()
    assert bench.outcomes == before == {0: "delivered", 1: "delivered", 2: "", 3: ""}
    assert set(bench.edge.tombstones) == {(1, 0), (1, 1)} and bench.edge.in_flight == 2
    for sequence in (0, 1):
        bench.edge.forget((1, sequence))
    assert bench.outcomes == {2: "", 3: ""}


def test_losses_are_told_once_so_that_who_waits_for_the_frames_is_woken() -> None:
    bench = Bench(max_deliveries=1)
    bench.offer(0, 1, 2)
    bench.finish(0)
    told = [bench.edge.take_losses()]
    bench.edge.fail(SESSION, (1, 1, FailureKind.RETRYABLE, "because"))
    told += [bench.edge.take_losses(), bench.edge.take_losses()]
    bench.edge.drop_all("stopped")
    told += [bench.edge.take_losses()]
    assert told == [False, True, False, True], "a delivered frame was brought by its reader"


# -- all edges of a producer


def fanned_out(*names: str) -> tuple[Fanout, list[Bench]]:
    benches = [Bench() for _ in names]
    fanout = Fanout(lambda edge: None)
    for name, bench in zip(names, benches, strict=True):
        bench.edge.consumer = name
        fanout.add(bench.edge)
    return fanout, benches


def fan_out(fanout: Fanout, *sequences: int) -> None:
    for sequence in sequences:
        payload = PACKER.pack(sequence, 8, 7, 10, 20, None)
        fanout.fan_out(0, Announcement(1, sequence, sequence, payload), now_ns=1)


def test_where_branches_part_names_are_kept_until_the_last_branch_has_settled_the_frame() -> None:
    fanout, (detect, pose) = fanned_out("detect", "pose")
    fan_out(fanout, 0, 1)
    detect.finish(0, 1)
    assert fanout.collect() == [] and detect.outcomes == {0: "delivered", 1: "delivered"}
    pose.finish(1)
    assert fanout.collect() == [(1, 1)]
    assert (detect.outcomes, pose.outcomes) == ({0: "delivered"}, {0: ""})


def test_below_the_place_where_branches_part_names_are_kept_as_long_as_they_are_known_there() -> None:
    fanout, (detect, pose) = fanned_out("detect", "pose")
    above = {(1, 0), (1, 1)}
    asked: list[int] = []

    def known() -> set[tuple[int, int]]:
        asked.append(1)
        return set(above)

    fanout.above = known
    fan_out(fanout, 0, 1)
    for bench in (detect, pose):
        bench.finish(0, 1)
    assert fanout.collect() == [(1, 0), (1, 1)]
    fanout.sweep(is_due=False)
    assert asked == [] and set(pose.outcomes) == {0, 1}, "nobody runs short of cells"
    above.discard((1, 0))
    fanout.sweep(is_due=True)
    assert set(detect.outcomes) == set(pose.outcomes) == {1}
    above.clear()
    fanout.sweep(is_due=True)
    assert detect.outcomes == pose.outcomes == {}


def test_who_runs_short_of_cells_asks_at_once() -> None:
    fanout, (pose,) = fanned_out("pose")
    fanout.above = lambda: set()
    for sequence in range(pose.options.cells):
        fan_out(fanout, sequence)
        pose.finish(sequence)
    fanout.collect()
    assert not fanout.has_room(0)
    fanout.sweep(is_due=False)
    assert fanout.has_room(0) and pose.outcomes == {}


def test_a_successor_forgets_what_its_predecessor_had_released() -> None:
    fanout, (detect, pose) = fanned_out("detect", "pose")
    fan_out(fanout, 0, 1)
    for bench in (detect, pose):
        bench.finish(0)
    detect.finish(1)
    after = Fanout(lambda edge: None)
    for bench in (detect, pose):
        bench.adopt()
    for name, bench in (("detect", detect), ("pose", pose)):
        bench.edge.consumer = name
        after.add(bench.edge)
    after.catch_up()
    assert (detect.outcomes, pose.outcomes) == ({1: "delivered"}, {1: ""}), "0 was released when it died"


def test_a_successor_below_such_a_place_keeps_what_is_known_there() -> None:
    _, (pose,) = fanned_out("pose")
    pose.offer(0, 1)
    pose.finish(0, 1)
    above = {(1, 1)}
    after = Fanout(lambda edge: None)
    after.above = lambda: set(above)
    pose.adopt()
    after.add(pose.edge)
    after.catch_up()
    after.sweep(is_due=True)
    assert pose.outcomes == {1: "delivered"}
    above.clear()
    after.sweep(is_due=True)
    assert pose.outcomes == {}
