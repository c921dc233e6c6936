"""A journal's reader beside a writer that hammers it, is stopped anywhere, and is killed anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.state.lease import SessionState
from detektr.ledger import EdgeLedger
from detektr.memory.announcement import Lease
from detektr.memory.journal import adopt_journal
from detektr.memory.journal_reader import JournalReader, open_journal

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

MARK = 32
WRITER = f"""
import sys
from pathlib import Path
from detektr.memory.journal import adopt_journal
from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement

options = EdgeOptions(mark={MARK}, low={MARK - 1}, when_full="drop-oldest", window_total=8, payload_bytes=64)
segment, journal = adopt_journal(Path(sys.argv[1]), options.cells, 64, {MARK})
edge = Edge("motion", options, journal)
edge.attach(7, "motion.0", 8, SessionState(), is_durable=False, now_ns=1)
sequence = journal.seen(1)
while True:
    for _ in range(3):
        edge.offer(0, Announcement(1, sequence, sequence, b"%d" % sequence * (1 + sequence % 5)))
        sequence += 1
    edge.lease_queued(1)
    cells = list(edge.replicas[7].leases.values())[:-5]  # the others stay for a while
    edge.finish(7, [(cell.key, cell.sequence, cell.delivery_tag) for cell in cells[1:]], 1)
    for cell in cells[:1]:
        edge.fail(7, (cell.key, cell.sequence, 0, "raised"))
    edge.settled.clear()
    edge.take_outcomes()
    edge.take_announced()
"""


@pytest.fixture
def writer(shm_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(shm_dir / "camera.0~motion.edge")]) as process:
        yield process
        process.kill()
    (shm_dir / "camera.0~motion.edge").unlink()


@pytest.fixture
def reader(writer: subprocess.Popen[bytes], shm_dir: Path, wait_until: WaitUntil) -> Iterator[JournalReader]:
    path = shm_dir / "camera.0~motion.edge"
    reader = wait_until(lambda: open_journal(path, "camera", "motion"), what="the journal")
    assert reader is not None
    wait_until(lambda: reader.ledger().offered > 1000, what="the writer's first frames")
    yield reader
    reader.close()


def holds(ledger: EdgeLedger) -> bool:
    return ledger.unaccounted == 0 and ledger.queued <= MARK + 8 and ledger.in_flight <= 8


def test_every_snapshot_beside_a_busy_writer_adds_up(reader: JournalReader) -> None:
    ledgers = [reader.ledger() for _ in range(3000)]
    assert [ledger for ledger in ledgers if not holds(ledger)] == []
    assert [ledger.offered for ledger in ledgers] == sorted(ledger.offered for ledger in ledgers)
    assert ledgers[-1].offered > ledgers[0].offered


def test_every_lease_read_beside_a_busy_writer_is_whole_and_in_order(reader: JournalReader) -> None:
    entry = reader.entry_of(7)
    assert entry is not None
    received = reader.last_tag(entry)
    found: list[Lease] = []
    deadline = time.monotonic() + 20
    while len(found) < 10_000 and time.monotonic() < deadline:
        last = reader.last_tag(entry)
        for lease in reader.leases(entry, 7, received, last):
            assert received < lease.delivery_tag <= last
            received = lease.delivery_tag
            found.append(lease)
        received = last
    whole = [(lease.sequence, b"%d" % lease.sequence * (1 + lease.sequence % 5)) for lease in found]
    assert [(lease.captured_ns, lease.payload) for lease in found] == whole
    assert {lease.delivery for lease in found} <= {1, 2, 3}
    assert len(found) >= 1_000  # a busy machine may give no more in that time


def test_the_snapshot_of_a_stopped_writer_adds_up_wherever_it_was_stopped(
    writer: subprocess.Popen[bytes], reader: JournalReader, wait_until: WaitUntil
) -> None:
    for _ in range(100):
        os.kill(writer.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, writer.pid, os.WSTOPPED)
        ledger = reader.ledger()
        assert holds(ledger), ledger
        assert reader.ledger() == ledger
        os.kill(writer.pid, signal.SIGCONT)
        wait_until(lambda: reader.ledger().offered > ledger.offered, what="the writer to go on")  # noqa: B023


def test_a_killed_writers_snapshot_is_what_its_successor_adopts(
    writer: subprocess.Popen[bytes], reader: JournalReader, shm_dir: Path
) -> None:
    writer.kill()
    writer.wait()
    dead = reader.ledger()
    assert holds(dead), dead
    options = EdgeOptions(mark=MARK, low=MARK - 1, when_full="drop-oldest", window_total=8, payload_bytes=64)
    segment, journal = adopt_journal(shm_dir / "camera.0~motion.edge", options.cells, 64, MARK)
    edge = Edge("motion", options, journal)
    assert (edge.queued, edge.in_flight) == (dead.queued, dead.in_flight)
    assert edge.attach(8, "motion.0", 8, SessionState(), is_durable=False, now_ns=1)
    while not edge.is_empty:
        edge.lease_queued(2)
        for session in edge.take_announced():
            cells = edge.replicas[session].leases.values()
            edge.finish(session, [(cell.key, cell.sequence, cell.delivery_tag) for cell in cells], 2)
    after = reader.ledger()
    assert after.unaccounted == 0
    assert after.offered == dead.offered
    journal.close()
    segment.close()
