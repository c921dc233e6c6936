from __future__ import annotations

from pathlib import Path

import pytest

from detektr.errors import DetektrError
from detektr.ledger import EdgeLedger
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock
from detektr.memory.status_block_reader import NodeSnapshot
from detektr.observe.run_state import write_run_state
from detektr.observe.status import describe_nodes, list_pipelines, read_status
from detektr.observe.status_text import describe_status

SUPERVISED = {"cam": {"kind": "capture", "state": "running", "pids": [7], "restarts": 1, "why": ""}}


def test_supervised_nodes_come_first_and_lone_ones_stand_beside_them() -> None:
    snapshots = [
        NodeSnapshot("lone", 0, kind="processor", pid=9, is_alive=True, state="waiting", why="waiting for cam"),
        NodeSnapshot(
            "cam",
            0,
            kind="capture",
            pid=7,
            is_alive=True,
            state="stalled",
            frames=5,
            since_utc_ns=10**9,
            mode="by wire",
        ),
        NodeSnapshot("gone", 0, kind="processor", state="stopped"),
    ]
    nodes = describe_nodes(SUPERVISED, [EdgeLedger("cam", "lone", is_stalled=True)], snapshots)
    assert list(nodes) == ["cam", "lone", "gone"]
    assert nodes["cam"]["state"] == "stalled" and nodes["cam"]["frames"] == 5 and nodes["cam"]["restarts"] == 1
    assert (nodes["cam"]["since"], nodes["cam"]["mode"]) == ("1970-01-01T00:00:01+00:00", "by wire")
    assert (nodes["gone"]["since"], nodes["gone"]["mode"]) == (None, "")
    assert (nodes["lone"]["state"], nodes["lone"]["pids"], nodes["lone"]["why"]) == ("waiting", [9], "waiting for cam")
    assert (nodes["gone"]["state"], nodes["gone"]["pids"]) == ("stopped", [])


def test_pipeline_that_does_not_run_is_refused_with_those_that_do(shm_dir: Path) -> None:
    folder = RunFolder("other")
    folder.make()
    snapshot = StatusBlock(folder.status_block("cam", 0), "capture")
    with pytest.raises(DetektrError, match="no pipeline 'demo' is running; running: other"):
        read_status("demo")
    snapshot.close(unlink=True)
    folder.sweep_if_abandoned()
    assert list_pipelines() == []


def test_roster_of_a_dead_supervisor_is_not_believed(shm_dir: Path) -> None:
    folder = RunFolder("demo")
    folder.make()
    snapshot = StatusBlock(folder.status_block("cam", 0), "capture")
    lock = folder.try_lock()
    assert lock is not None
    run_state = {"pipeline": "demo", "pid": lock.words[0], "nodes": SUPERVISED, "started_utc_ns": 1}
    write_run_state(folder, run_state)
    assert read_status("demo")["nodes"]["cam"]["restarts"] == 1
    lock.close()
    assert read_status("demo")["nodes"]["cam"]["restarts"] == 0
    assert read_status("demo")["supervisor"] is None
    snapshot.close(unlink=True)
    assert "run.json" in folder.sweep_if_abandoned()


def test_pictures_that_a_source_left_out_stand_in_the_status_people_read() -> None:
    snapshots = [
        NodeSnapshot("cam", 0, kind="capture", is_alive=True, state="running", corrupt=4, stale=2, thinned=9),
        NodeSnapshot("lone", 0, kind="processor", is_alive=True, state="running"),
    ]
    text = describe_status({"pipeline": "shop", "nodes": describe_nodes({}, [], snapshots), "edges": []})
    _, headings, cam, lone = text.splitlines()[:4]
    at = headings.index("left out")
    assert cam[at:].startswith("corrupt 4, stale 2, thinned 9 ") and lone[at:].startswith("- ")
