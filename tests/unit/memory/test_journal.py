from __future__ import annotations

from pathlib import Path

import pytest

from detektr.errors import WireError
from detektr.memory import layout
from detektr.memory.announcement import Announcement
from detektr.memory.journal import Journal, adopt_journal
from detektr.memory.journal_reader import open_journal
from tests.property.journal_bytes import new_memory, read_journal


def new_journal(cells: int = 4, payload_bytes: int = 16) -> Journal:
    return Journal(memoryview(new_memory(cells, payload_bytes)))


def test_bytes_that_are_no_journal_are_refused() -> None:
    with pytest.raises(WireError, match="not an edge journal of version"):
        Journal(memoryview(bytearray(layout.journal_bytes(1, 8))))


def test_records_come_oldest_first_with_all_that_was_written() -> None:
    journal = new_journal()
    for cell, ordinal in ((2, 9), (0, 10), (3, 8)):
        journal.record(cell, ordinal, 0, Announcement(1, ordinal, 5, b"payload %d" % ordinal), ordinal)
    journal.lease_cell(0, 77, 3, 6, 2)
    records = list(journal.records())
    assert [record.ordinal for record in records] == [8, 9, 10]
    assert [record.payload for record in records] == [b"payload 8", b"payload 9", b"payload 10"]
    leased = records[-1]
    assert (leased.state, leased.owner, leased.delivery_tag, leased.leased_ns, leased.deliveries) == (
        layout.CELL_LEASED,
        77,
        3,
        6,
        2,
    )


def test_a_cell_used_again_has_nothing_of_the_frame_before() -> None:
    journal = new_journal()
    journal.record(0, 1, 1, Announcement(1, 1, 5, b"long payload"), 1)
    journal.lease_cell(0, 77, 3, 6, 2)
    journal.record(0, 2, 0, Announcement(2, 2, 6, b"short"), 2)
    (record,) = journal.records()
    assert (record.owner, record.delivery_tag, record.attempts, record.deliveries, record.payload) == (
        0,
        0,
        0,
        0,
        b"short",
    )


def test_a_frame_is_offered_in_one_change_queued_or_leased_and_counted() -> None:
    journal = Journal(memoryview(memory := new_memory(4, 16)))
    reader = read_journal(memory)
    journal.record(0, 1, 0, Announcement(9, 3, 5, b"first"), 1)
    journal.record(2, 2, 0, Announcement(9, 4, 6, b"second"), 2, (77, 1, 8, 1))
    ledger = reader.ledger()
    assert (ledger.offered, ledger.queued, ledger.in_flight, journal.seen(9)) == (2, 1, 1, 5)
    first, second = journal.records()
    assert first == (0, layout.CELL_QUEUED, 0, 0, 0, 0, 0, 0, 1, 9, 3, 0, 5, b"first")
    assert second == (2, layout.CELL_LEASED, 0, 77, 1, 8, 1, 0, 2, 9, 4, 0, 6, b"second")


def test_a_replica_is_found_again_until_it_is_struck_out() -> None:
    memory = new_memory(1, 8)
    journal = Journal(memoryview(memory))
    journal.write_replica(5, 77, "a-node-with-the-longest-of-names.63", 4, is_durable=True)
    reader = read_journal(memory)
    (record,) = journal.replicas()
    assert record == (5, 77, True, 4, "a-node-with-the-longest-of-names.63")
    assert reader.entry_of(77) == 5
    journal.clear_replica(5)
    assert list(journal.replicas()) == []
    assert reader.entry_of(77) is None


def test_a_new_stream_takes_the_oldest_ones_place_when_all_are_taken() -> None:
    journal = new_journal()
    for key in range(layout.EDGE_SEEN_MAX + 2):
        journal.apply((journal.seen_word(key), key + 1, layout.EDGE_WORD_OFFERED, 1))
    assert journal.seen_all() == {key: key + 1 for key in range(2, layout.EDGE_SEEN_MAX + 2)}
    assert journal.seen(0) == 0


def test_who_adopts_a_journal_finds_it_as_it_was_in_a_new_incarnation(shm_dir: Path) -> None:
    path = shm_dir / "camera.0~motion.edge"
    segment, journal = adopt_journal(path, 4, 16, 3)
    journal.count_dropped(1, 11, 12, "ring_full", 12)
    journal.leave()
    reader = open_journal(path, "camera", "motion")
    assert reader is not None
    assert (reader.producer_epoch, reader.is_left, reader.ledger().mark) == (1, True, 3)
    journal.close()
    segment.close()
    segment, journal = adopt_journal(path, 4, 16, 3)
    assert (reader.producer_epoch, reader.is_left, reader.is_ended) == (2, False, False)
    assert journal.offered == 12
    was_unlinked = reader.is_unlinked
    path.unlink()
    assert (was_unlinked, reader.is_unlinked) == (False, True)
    journal.close()
    segment.close()
    reader.close()
