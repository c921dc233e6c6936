from __future__ import annotations

from pathlib import Path

import pytest

from detektr.memory import layout
from detektr.memory.announcement import Announcement, Lease
from detektr.memory.journal import Journal
from detektr.memory.journal_reader import JournalReader, open_journal
from tests.property.journal_bytes import fields, new_memory, read_journal

SESSION, ENTRY = 77, 5


class Announced:
    """A journal whose writer leases frames to one replica, and its reader."""

    def __init__(self, cells: int = 4) -> None:
        self.memory = new_memory(cells, 16)
        self.journal = Journal(memoryview(self.memory))
        self.journal.write_replica(ENTRY, SESSION, "motion.0", cells, is_durable=False)
        self.reader: JournalReader = read_journal(self.memory)
        self.delivery_tag = 0

    def lease(self, *cells: int, owner: int = SESSION) -> None:
        """Lease a frame in each of these cells; it is named for its grant."""
        for cell in cells:
            self.delivery_tag += 1
            payload, lease = b"frame %d" % self.delivery_tag, (owner, self.delivery_tag, 6, 2)
            self.journal.record(
                cell,
                self.delivery_tag,
                0,
                Announcement(1, 100 + self.delivery_tag, 5, payload),
                self.delivery_tag,
                lease,
            )
            self.journal.announce(ENTRY, self.delivery_tag, cell)

    def end(self, cell: int) -> None:
        """Take a lease back."""
        self.journal._words[self.journal.word_of(cell, layout.CELL_STATE)] = layout.CELL_FREE

    def read(self, after: int = 0) -> list[Lease]:
        return self.reader.leases(ENTRY, SESSION, after, self.reader.last_tag(ENTRY))

    def tags(self, after: int = 0) -> list[int]:
        return [lease.delivery_tag for lease in self.read(after)]


def test_a_journal_that_is_not_there_is_none(shm_dir: Path) -> None:
    assert open_journal(shm_dir / "camera.0~motion.edge", "camera", "motion") is None


@pytest.mark.parametrize(("cell", "session", "delivery_tag"), [(1, 77, 5), (0, 78, 5), (0, 77, 4), (99, 77, 5)])
def test_a_lease_stands_for_its_own_session_number_and_cell_only(cell: int, session: int, delivery_tag: int) -> None:
    memory = new_memory(2, 8)
    journal = Journal(memoryview(memory))
    journal.record(0, 1, 0, Announcement(1, 9, 5, b""), 1)
    reader = read_journal(memory)
    assert not reader.is_leased(0, 77, 5)
    journal.lease_cell(0, 77, 5, 1, 1)
    assert reader.is_leased(0, 77, 5)
    assert not reader.is_leased(cell, session, delivery_tag)


# -- what a replica is granted


def test_leases_are_read_in_order_each_once_with_all_that_was_announced() -> None:
    announced = Announced()
    announced.lease(2, 0)
    assert [fields(lease) for lease in announced.read()] == [
        (1, 101, 5, b"frame 1", 2, 1, 2),
        (1, 102, 5, b"frame 2", 0, 2, 2),
    ]
    announced.lease(3)
    assert [fields(lease) for lease in announced.read(after=2)] == [(1, 103, 5, b"frame 3", 3, 3, 2)]
    assert announced.read(after=3) == []


def test_a_lease_that_was_ended_is_skipped_and_so_is_another_one_in_its_cell() -> None:
    announced = Announced()
    announced.lease(0, 1, 2)
    announced.end(1)
    assert announced.tags() == [1, 3]
    announced.lease(1)
    assert announced.tags() == [1, 3, 4]
    announced.journal.lease_cell(0, SESSION + 1, 1, 6, 3)  # given to another, for whom it is the first one too
    assert announced.tags() == [3, 4]


def test_a_lease_that_is_not_announced_yet_is_not_read() -> None:
    announced = Announced()
    announced.lease(0)
    announced.journal.record(1, 9, 0, Announcement(1, 9, 5, b""), 2)
    announced.journal.lease_cell(1, SESSION, 2, 6, 1)
    assert announced.tags() == [1]
    announced.journal.announce(ENTRY, 2, 1)
    assert announced.tags() == [1, 2]


@pytest.mark.parametrize("ahead", [0, 1, 2])
@pytest.mark.parametrize("before", [0, 1, 40, 100])
def test_who_is_further_behind_than_the_ring_has_room_finds_all_leases_in_order(before: int, ahead: int) -> None:
    count = layout.ANNOUNCED_ROOM + ahead
    announced = Announced(cells=before + count)
    announced.lease(*range(before))
    for cell in range(before):
        announced.end(cell)
    cells = sorted(range(before + count), key=lambda cell: (cell % 7, cell))[:count]
    announced.lease(*cells)
    assert announced.tags(after=before) == list(range(before + 1, before + count + 1))
    announced.end(cells[1])
    assert announced.tags(after=before) == [before + 1, *range(before + 3, before + count + 1)]


@pytest.mark.parametrize("more", [layout.ANNOUNCED_ROOM - 3, layout.ANNOUNCED_ROOM, 200])
def test_leases_are_all_found_though_more_were_announced_between_the_two_looks(more: int) -> None:
    announced = Announced(cells=10 + more)
    announced.lease(*range(10))
    last = announced.reader.last_tag(ENTRY)
    announced.lease(*range(10, 10 + more))  # the reader was held up here, by the scheduler or a SIGSTOP
    found = announced.reader.leases(ENTRY, SESSION, 0, last)
    assert [lease.delivery_tag for lease in found] == list(range(1, 11))


@pytest.mark.parametrize("cell", [1, 2, 4, 5, 1 << 20, 1 << 32, (1 << 61) + 1, (1 << 64) - 1])
def test_a_garbage_cell_number_is_nobody_s_lease(cell: int) -> None:
    announced = Announced()
    announced.lease(0)
    announced.lease(1, owner=SESSION + 1)
    announced.journal.record(2, 9, 0, Announcement(1, 9, 5, b"queued"), 3)
    announced.lease(3)
    announced.journal.announce(ENTRY, 4, cell)
    assert announced.tags() == [1, 3]


def test_a_cell_whose_words_are_garbage_is_nobody_s_lease_or_one_within_the_journal() -> None:
    announced = Announced()
    announced.lease(0)
    announced.journal._words[announced.journal.word_of(0, layout.CELL_LENGTH)] = (1 << 64) - 1
    for lease in announced.read():
        assert len(lease.payload) <= len(announced.memory)


def test_who_attaches_begins_behind_what_was_settled_and_reads_nothing_of_the_one_before() -> None:
    announced = Announced()
    announced.lease(0, 1)
    announced.journal.clear_replica(ENTRY)
    announced.journal.write_replica(ENTRY, 88, "motion.1", 4, is_durable=False)
    announced.journal.begin_tags(ENTRY, 40)
    assert (announced.reader.tag_before(ENTRY), announced.reader.last_tag(ENTRY)) == (40, 40)
    assert announced.reader.leases(ENTRY, 88, 0, 40) == []
    announced.journal.record(2, 9, 0, Announcement(1, 9, 5, b""), 3)
    announced.journal.lease_cell(2, 88, 41, 6, 1)
    announced.journal.announce(ENTRY, 41, 2)
    assert (announced.reader.tag_before(ENTRY), announced.reader.last_tag(ENTRY)) == (40, 41)
    assert [lease.sequence for lease in announced.reader.leases(ENTRY, 88, 40, 41)] == [9]


def test_each_replica_has_a_ring_of_its_own() -> None:
    journal = Journal(memoryview(memory := new_memory(layout.EDGE_REPLICAS_MAX, 16)))
    reader = read_journal(memory)
    for entry in range(layout.EDGE_REPLICAS_MAX):
        journal.write_replica(entry, 1000 + entry, f"motion.{entry}", 4, is_durable=False)
        journal.record(entry, entry, 0, Announcement(1, entry, 5, b""), entry + 1)
        journal.lease_cell(entry, 1000 + entry, 1, 6, 1)
        journal.announce(entry, 1, entry)
    for entry in range(layout.EDGE_REPLICAS_MAX):
        assert reader.entry_of(1000 + entry) == entry
        assert [lease.sequence for lease in reader.leases(entry, 1000 + entry, 0, 1)] == [entry]
    assert len(list(journal.records())) == layout.EDGE_REPLICAS_MAX
