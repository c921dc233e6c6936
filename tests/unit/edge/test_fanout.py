from __future__ import annotations

from typing import Any

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.fanout import Fanout
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement
from detektr.memory.journal import DROPPED, Journal
from detektr.wire.message import FailureKind
from tests.property.journal_bytes import new_memory, read_journal


def new_edge(consumer: str, memory: bytearray | None = None, session: int = 7, **options: Any) -> Edge:
    values: dict[str, Any] = {"mark": 2, "low": 1, "when_full": "block", "window_total": 2, "payload_bytes": 8}
    chosen = EdgeOptions(**(values | options))
    edge = Edge(consumer, chosen, Journal(memoryview(memory or new_memory(chosen.cells, 8))))
    edge.attach(session, f"{consumer}.0", chosen.window_total, SessionState(), is_durable=False, now_ns=1)
    return edge


def new_fanout(*edges: Edge) -> Fanout:
    fanout = Fanout(lambda sessions: None)
    for edge in edges:
        fanout.add(edge)
    return fanout


def offer(fanout: Fanout, sequence: int) -> None:
    fanout.fan_out(0, Announcement(1, sequence, 1, b""))


def test_a_frame_is_released_when_the_last_edge_is_done_with_it() -> None:
    motion, recorder = new_edge("motion"), new_edge("recorder")
    fanout = new_fanout(motion, recorder)
    offer(fanout, 0)
    motion.lease_queued(1)
    recorder.lease_queued(1)
    motion.finish(7, [(1, 0, 0)], 1)
    assert fanout.collect() == []
    recorder.finish(7, [(1, 0, 0)], 1)
    assert fanout.collect() == [(1, 0)]
    assert fanout.collect() == []
    assert fanout.is_empty


def test_one_full_blocking_edge_holds_up_the_others_and_a_dropping_one_does_not() -> None:
    fanout = new_fanout(new_edge("motion"), new_edge("recorder", when_full="drop-oldest"))
    offer(fanout, 0)
    offer(fanout, 1)
    assert not fanout.has_room(0)
    fanout.edges["motion"].lease_queued(1)
    assert fanout.has_room(0)


def test_edges_take_turns_at_being_the_first_whose_replica_is_woken() -> None:
    woken: list[int] = []
    fanout = Fanout(lambda edge: woken.extend(edge.take_announced()))
    for session in (1, 2, 3):
        fanout.add(new_edge(f"node{session}", session=session, mark=16, window_total=16))
    for sequence in range(4):
        fanout.fan_out(0, Announcement(1, sequence, 1, b""), now_ns=1)
    assert woken == [1, 2, 3, 2, 3, 1, 3, 1, 2, 1, 2, 3]
    fanout.add(new_edge("guest", session=9, mark=16, window_total=16, is_ephemeral=True))
    woken.clear()
    for sequence in range(3):
        fanout.fan_out(0, Announcement(2, sequence, 1, b""), now_ns=1)
    assert woken == [1, 2, 3, 9, 2, 3, 1, 9, 3, 1, 2, 9]
    fanout.remove("guest")
    fanout.remove("node2")
    woken.clear()
    for sequence in range(4, 6):
        fanout.fan_out(0, Announcement(1, sequence, 1, b""), now_ns=1)
    assert woken == [1, 3, 3, 1]


def test_without_edges_there_is_nobody_to_offer_to() -> None:
    assert not Fanout(lambda sessions: None).has_room(0)


def test_a_frame_that_every_edge_drops_is_released_at_once() -> None:
    fanout = new_fanout(new_edge("motion", when_full="drop-newest", mark=1, low=0))
    offer(fanout, 0)
    offer(fanout, 1)
    assert fanout.collect() == [(1, 1)]


def test_what_an_edge_drops_to_make_room_is_released() -> None:
    fanout = new_fanout(new_edge("motion", when_full="drop-oldest"))
    for sequence in range(4):
        offer(fanout, sequence)
    assert fanout.collect() == [(1, 0), (1, 1)]


def test_a_frame_offered_again_after_a_restart_is_needed_once_by_each_edge_that_holds_it() -> None:
    memories = [new_memory(4, 8), new_memory(4, 8)]
    first = new_fanout(new_edge("motion", memories[0]), new_edge("recorder", memories[1]))
    offer(first, 0)
    first.edges["recorder"].drop_all("stopped")
    motion, recorder = new_edge("motion", memories[0]), new_edge("recorder", memories[1])
    fanout = new_fanout(motion, recorder)
    offer(fanout, 0)
    assert fanout.collect() == []
    motion.drop_all("stopped")
    assert fanout.collect() == [(1, 0)]
    assert read_journal(memories[0]).ledger().offered == 1


def test_a_removed_edge_needs_nothing_any_more() -> None:
    motion, ephemeral = new_edge("motion"), new_edge("guest-1", is_ephemeral=True)
    fanout = new_fanout(motion, ephemeral)
    offer(fanout, 0)
    motion.drop_all("stopped")
    assert fanout.collect() == []
    fanout.remove("guest-1")
    assert fanout.collect() == [(1, 0)]


def test_dropped_frames_are_counted_by_the_edges_that_have_not_heard_of_them() -> None:
    motion, late, ephemeral = new_edge("motion"), new_edge("recorder"), new_edge("guest-1", is_ephemeral=True)
    motion.offer(0, Announcement(1, 4, 1, b""))
    fanout = new_fanout(motion, late, ephemeral)
    fanout.count_dropped(1, 9, 10, "capture_died")
    heard = [edge.journal.seen(1) for edge in (motion, late, ephemeral)]
    counted = [lost(edge) for edge in (motion, late, ephemeral)]
    assert heard == [10, 10, 0]  # a guest begins where it came in
    assert counted == [5, 10, 0]


def lost(edge: Edge) -> int:
    """Return how many frames an edge has counted as lost with their capture."""
    return int(edge.journal._words[DROPPED["capture_died"]])


def test_what_some_edge_has_not_seen_is_not_seen() -> None:
    motion, recorder = new_edge("motion"), new_edge("recorder")
    motion.offer(0, Announcement(1, 4, 1, b""))
    motion.offer(0, Announcement(2, 0, 1, b""))
    recorder.offer(0, Announcement(1, 2, 1, b""))
    ephemeral = new_edge("guest-1", is_ephemeral=True)
    assert new_fanout(motion, recorder, ephemeral).seen_all() == {1: 3}
    assert new_fanout(ephemeral).seen_all() == {}


def test_what_a_predecessor_did_not_come_to_finds_a_place_although_the_edge_is_full_again() -> None:
    memories = [new_memory(4, 8), new_memory(4, 8)]
    motion, recorder = new_edge("motion", memories[0]), new_edge("recorder", memories[1])
    before = new_fanout(motion, recorder)
    for sequence in (0, 1):
        offer(before, sequence)
        motion.lease_queued(1)
        recorder.lease_queued(1)
    motion.finish(7, [(1, 0, 0), (1, 1, 0)], 1)
    offer(before, 2)
    recorder.fail(
        7, (1, 1, FailureKind.RETRYABLE, "raised")
    )  # back in its queue, which is at its mark now and was not when room was asked for
    assert before.has_room(0)
    motion.offer(0, Announcement(1, 3, 1, b""))  # and here it is killed
    fanout = new_fanout(new_edge("motion", memories[0]), new_edge("recorder", memories[1]))
    assert not fanout.has_room(0)
    fanout.catch_up()
    ledger = read_journal(memories[1]).ledger()
    assert (ledger.offered, any(ledger.dropped.values())) == (4, False)
    assert sorted(cell.sequence for cell in fanout.edges["recorder"].holds()) == [0, 1, 2, 3]
