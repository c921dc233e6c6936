from __future__ import annotations

import json

from detektr.ledger import EdgeLedger
from detektr.telemetry.report import build_report, final_words, ledger_table, undelivered

CAMERA = EdgeLedger("camera", "buffer", offered=300, delivered=290, dropped={"ring_full": 4, "queue_full": 6})
MOTION_0 = EdgeLedger("motion", "events", offered=5, delivered=5, dropped={"too_old": 0})
MOTION_1 = EdgeLedger("motion", "events", offered=9, delivered=6, in_flight=2, dead_lettered=1, redelivered=2)


def test_report_has_the_issue_s_keys_and_adds_up_the_parts_of_an_edge() -> None:
    nodes = {"camera": {"kind": "capture", "state": "done", "restarts": 0}}
    report = build_report("demo", 10.00049, nodes, [CAMERA, MOTION_0, MOTION_1])
    assert json.loads(json.dumps(report)) == report
    assert list(report) == ["pipeline", "seconds", "nodes", "edges", "unaccounted"]
    assert (report["pipeline"], report["seconds"], report["nodes"]) == ("demo", 10.0, nodes)
    first, second = report["edges"]
    assert (first["from"], first["to"], first["dropped"]) == ("camera", "buffer", {"ring_full": 4, "queue_full": 6})
    assert (second["offered"], second["delivered"], second["redelivered"]) == (14, 11, 2)
    assert report["unaccounted"] == 0


def test_faults_of_two_edges_do_not_cancel_out() -> None:
    lost = EdgeLedger("a", "b", offered=3, delivered=2)
    made_up = EdgeLedger("b", "c", offered=2, delivered=3)
    assert build_report("demo", 1, {}, [lost, made_up])["unaccounted"] == 2
    assert ledger_table([lost, made_up]).endswith("\nunaccounted: 2")


def test_table_is_aligned_and_ends_with_what_is_unaccounted() -> None:
    assert ledger_table([CAMERA, MOTION_0, MOTION_1]).split("\n") == [
        "edge              offered  delivered  dropped  dead-lettered  queued  in flight  redelivered  why",
        "camera -> buffer      300        290       10              0       0          0            0  "
        "ring_full 4, queue_full 6",
        "motion -> events       14         11        0              1       0          2            2",
        "NOT ALL WAS DELIVERED from motion to events: of 14 offered, 1 were dead-lettered; the log of events says why",
        "unaccounted: 0",
    ]


def test_table_without_edges_says_so() -> None:
    assert ledger_table([]) == "no edges\nunaccounted: 0"


def test_an_edge_whose_every_frame_was_given_up_is_said_loudly() -> None:
    dead = EdgeLedger("buffer", "motion", offered=90, dropped={"stopped": 10}, dead_lettered=80)
    one = EdgeLedger("buffer", "faces", offered=90, delivered=1, dead_lettered=89)
    none = EdgeLedger("buffer", "plates", offered=10, dropped={"stopped": 10})
    assert [edge.consumer for edge in undelivered([dead, one, none])] == ["motion"]
    assert ledger_table([dead, one, none]).splitlines()[-3:] == [
        "NOTHING WAS DELIVERED from buffer to motion: of 90 offered, 80 were dead-lettered; the log of motion says why",
        "NOT ALL WAS DELIVERED from buffer to faces: of 90 offered, 89 were dead-lettered; the log of faces says why",
        "unaccounted: 0",
    ]


def test_a_run_that_delivered_nothing_at_all_says_so_in_its_last_lines() -> None:
    silent = [EdgeLedger("camera", "buffer"), EdgeLedger("buffer", "motion")]
    assert final_words(silent) == ["NOTHING WAS DELIVERED: nothing was offered by camera; the log says why"]
    passed_on = [
        EdgeLedger("camera", "buffer", offered=9, delivered=9),
        EdgeLedger("buffer", "motion", offered=9, dropped={"stopped": 9}),
    ]
    assert final_words(passed_on) == ["NOTHING WAS DELIVERED: camera offered 9, dropped: stopped 9; the log says why"]
    no_events = [EdgeLedger("camera", "motion", offered=9, delivered=9), EdgeLedger("motion", "events")]
    assert final_words(no_events) == [] and final_words([]) == []


def test_parts_of_an_edge_are_added_up_before_they_are_called_undelivered() -> None:
    parts = [EdgeLedger("a", "b", offered=2, dead_lettered=2), EdgeLedger("a", "b", offered=1, delivered=1)]
    assert undelivered(parts) == []


def test_pictures_that_a_source_left_out_are_told_before_the_last_line() -> None:
    nodes = {"camera": {"corrupt": 4, "stale": 0, "thinned": 30}, "motion": {"corrupt": 0, "frames": 9}}
    assert ledger_table([CAMERA], nodes).splitlines()[-2:] == [
        "camera left pictures of its source out, which are on no edge: corrupt 4, thinned 30",
        "unaccounted: 0",
    ]
    assert "left pictures" not in ledger_table([CAMERA], {"camera": {"corrupt": 0}})
