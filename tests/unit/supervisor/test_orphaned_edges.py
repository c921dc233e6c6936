from __future__ import annotations

from pathlib import Path

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.lease import SessionState
from detektr.memory.announcement import Announcement
from detektr.memory.journal import adopt_journal
from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder
from detektr.nodes.spec import NodeSpec
from detektr.options import CaptureOptions
from detektr.supervisor.orphaned_edges import end_edges

OPTIONS = EdgeOptions(mark=4, low=3, when_full="block", inputs=1, window_total=4, payload_bytes=64)
SPEC = NodeSpec(pipeline="demo", node="cam", options=CaptureOptions(source="x"), edges={"a": OPTIONS, "b": OPTIONS})


def test_edges_of_the_dead_end_and_what_they_held_is_gone(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    segment, journal = adopt_journal(folder.journal("cam", 0, "a"), OPTIONS.cells, 64, OPTIONS.mark)
    edge = Edge("a", OPTIONS, journal)
    edge.attach(5, "a.0", 1, SessionState(), is_durable=False, now_ns=1)
    for sequence in range(3):
        edge.offer(0, Announcement(1, sequence, 1, b"frame"))
    edge.lease_queued(1)
    assert edge.take_announced()
    journal.close()
    segment.close()  # as a dead process leaves it: one leased, two queued

    assert end_edges(folder, SPEC) == 3

    reader = open_journal(folder.journal("cam", 0, "a"), "cam", "a")
    assert reader is not None
    ledger = reader.ledger()
    assert (ledger.offered, ledger.dropped["gone"], ledger.queued, ledger.in_flight) == (3, 3, 0, 0)
    assert reader.is_ended and ledger.unaccounted == 0
    reader.close()
    assert not folder.journal("cam", 0, "b").exists()
    folder.sweep()
