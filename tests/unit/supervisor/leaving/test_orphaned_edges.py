from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgpack

from detektr.edge.edge import Edge
from detektr.edge.edge_options import EdgeOptions
from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import Announcement
from detektr.memory.journal import adopt_journal
from detektr.memory.journal_reader import open_journal
from detektr.memory.run_folder import RunFolder
from detektr.nodes.dead_letter_spool import DeadLetterSpool, dead_letter_folder
from detektr.nodes.spec import NodeSpec
from detektr.options import CaptureOptions, ProcessorOptions
from detektr.supervisor.leaving.orphaned_edges import end_edges

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


def test_events_for_a_sink_that_retries_are_dead_lettered(shm_dir: Path, state_dir: Path) -> None:
    folder, options = RunFolder("demo"), replace(OPTIONS, is_retried=True)
    folder.make()
    segment, journal = adopt_journal(folder.journal("see", 0, "hook"), options.cells, 64, options.mark)
    edge = Edge("hook", options, journal)
    for sequence in range(3):
        edge.offer(0, Announcement(1, sequence, 1, msgpack.packb({"frame": f"f{sequence}"})))
    journal.close()
    segment.close()
    see = ProcessorOptions(input="cam", use="mine:See")
    assert end_edges(folder, NodeSpec(pipeline="demo", node="see", options=see, edges={"hook": options})) == 3
    letters = DeadLetterSpool(dead_letter_folder("demo"), 0).read().letters.values()
    assert [letter["frame"] for letter in letters] == ["f0", "f1", "f2"]
    assert {letter["why"] for letter in letters} == {"gone: hook had not taken it when the waiting for it ended"}
    folder.sweep()
