"""State stays with its camera: the same events with any number of replicas, and what holds when replicas die."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from detektr.memory.partition_file import open_partition
from detektr.memory.run_folder import RunFolder
from tests.harness.following import assert_in_order, assert_told_where_it_begins, of_camera, read_seen
from tests.harness.running import RunningPipeline

RESTART = {"backoff": "50ms..200ms", "limit": "1000 in 1m"}
SHIPPED = Path(__file__).parents[2] / "pipeline.yaml"


def graph(
    tmp_path: Path, *, cameras: int, count: int, replicas: int, restart: dict[str, str] | None = None, **follow: Any
) -> dict[str, Any]:
    """Numbered sources, a buffer that loses nothing, and a processor that remembers each camera."""
    use = follow.pop("use", "tests.harness.following:Follow")
    rate = follow.pop("rate", 0.0)
    worker = {key: follow.pop(key) for key in ("partition_by", "max_deliveries", "batch") if key in follow}
    nodes: dict[str, Any] = {
        f"cam{number}": {
            "kind": "capture",
            "source": "python:tests.harness.checked:numbered",
            "with": {"count": count, "width": 64 + 16 * number, "height": 48, "rate": rate},
            "drain": "20s",
        }
        for number in range(cameras)
    }
    nodes["buffer"] = {"kind": "buffer", "input": list(nodes), "when_full": "block", "drain": "20s"}
    nodes["follow"] = {
        "kind": "processor", "input": "buffer", "use": use, "replicas": replicas, "drain": "20s",
        "with": {"path": str(tmp_path / "seen"), **follow}, "restart": restart or RESTART, **worker,
    }  # fmt: skip
    nodes["events"] = {"kind": "sink", "input": "follow", "use": "jsonl", "with": {"path": str(tmp_path / "events")}}
    return nodes


def events(path: Path) -> list[tuple[str, int, int, int]]:
    """Return the events that `Follow` emitted, in the order of cameras and frames."""
    found = [json.loads(line) for line in path.read_text().splitlines()]
    return sorted((one["camera"], one["sequence"], one["data"]["count"], one["data"]["sum"]) for one in found)


def owners(pipeline: str) -> dict[str, int]:
    """Return which replica has each camera, as the map says; empty: there is none."""
    reader = open_partition(RunFolder(pipeline).partition("follow"))
    state = None if reader is None else reader.read()
    if reader is not None:
        reader.close()
    return {} if state is None else {camera: owner for camera, owner, _ in state[1]}


@pytest.mark.usefixtures("lane")
def test_stateful_code_writes_the_same_events_with_any_number_of_replicas(tmp_path: Path) -> None:
    written = {}
    for replicas in (1, 2, 4):
        folder = tmp_path / str(replicas)
        folder.mkdir()
        with RunningPipeline(folder, "same", graph(folder, cameras=3, count=150, replicas=replicas)) as run:
            report = run.end(None)
        assert run.exit_code == 0, run.tail()
        assert report["unaccounted"] == 0
        written[replicas] = events(folder / "events")
        seen = read_seen(folder / "seen")
        for camera in ("cam0", "cam1", "cam2"):
            assert_in_order(seen, camera, 150)
        assert_told_where_it_begins(seen)
        assert len({one.pid for one in seen}) == min(replicas, 3), "each replica has its cameras"
    assert len(written[1]) == 450
    assert written[1] == written[2] == written[4]


def test_code_that_says_nothing_is_partitioned_where_the_file_asks_for_it(tmp_path: Path) -> None:
    nodes = graph(
        tmp_path, cameras=2, count=150, replicas=2, use="tests.harness.following:Shared", partition_by="camera"
    )
    with RunningPipeline(tmp_path, "asked", nodes) as run:
        run.end(None)
    assert run.exit_code == 0, run.tail()
    seen = read_seen(tmp_path / "seen")
    assert [len({one.pid for one in of_camera(seen, camera)}) for camera in ("cam0", "cam1")] == [1, 1]
    assert_told_where_it_begins(seen)


@pytest.mark.usefixtures("lane")
def test_a_frame_that_fails_is_tried_again_before_the_next_one_of_its_camera(tmp_path: Path) -> None:
    nodes = graph(tmp_path, cameras=2, count=120, replicas=2, faulty=[0, 7, 8, 50, 119])
    with RunningPipeline(tmp_path, "again", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in ("cam0", "cam1"):
        assert_in_order(seen, camera, 120)
        assert [one.known for one in of_camera(seen, camera)] == list(range(1, 121)), "state has each frame once"
    again = {one.sequence for one in seen if one.delivery > 1}
    assert again >= {0, 7, 8, 50, 119}


@pytest.mark.usefixtures("lane")
def test_a_frame_that_fails_in_a_batch_is_tried_again_before_the_next_one_of_its_camera(tmp_path: Path) -> None:
    """The rest of its batch, and of the next one, may be of its camera: it waits too."""
    batched: dict[str, Any] = {"use": "tests.harness.following:FollowBatch", "batch": {"size": 8}}
    nodes = graph(tmp_path, cameras=2, count=120, replicas=1, faulty=[0, 7, 8, 50, 119], **batched)
    with RunningPipeline(tmp_path, "lists", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in ("cam0", "cam1"):
        assert_in_order(seen, camera, 120)
        assert [one.known for one in of_camera(seen, camera)] == list(range(1, 121)), "state has each frame once"
    assert {one.sequence for one in seen if one.delivery > 1} >= {0, 7, 8, 50, 119}


@pytest.mark.usefixtures("lane")
def test_a_result_that_cannot_be_packed_yet_takes_the_rest_of_its_batch_along(tmp_path: Path) -> None:
    """A frame behind it was worked on; it comes again after it, and its first result is no event."""
    (tmp_path / "mine.py").write_text(
        "from collections import UserDict\n"
        "class Once(UserDict):\n"
        "    def __init__(self, frame):\n"
        "        super().__init__(n=frame.sequence)\n"
        "        self.is_bad = frame.sequence % 10 == 3 and frame.delivery == 1\n"
        "    def __iter__(self):\n"
        "        if self.is_bad:\n"
        "            raise OSError('not yet')\n"
        "        return super().__iter__()\n"
        "class Lists:\n"
        "    stateful = True\n"
        "    def __init__(self, path): pass\n"
        "    def process_batch(self, frames):\n"
        "        return [Once(frame) for frame in frames]\n"
    )
    nodes = graph(tmp_path, cameras=1, count=60, replicas=1, use="mine:Lists", batch={"size": 8})
    with RunningPipeline(tmp_path, "packed", nodes) as run:
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    written = [json.loads(line)["sequence"] for line in (tmp_path / "events").read_text().splitlines()]
    assert written == list(range(60))


@pytest.mark.usefixtures("lane")
def test_with_replicas_killed_each_frame_of_each_camera_is_worked_on_in_order_and_doubles_are_marked(
    tmp_path: Path,
) -> None:
    nodes = graph(tmp_path, cameras=3, count=500, replicas=2, busy_s=0.002, every=50, max_deliveries=50)
    with RunningPipeline(tmp_path, "killed", nodes) as run:
        for target in (100, 300, 500, 700, 900, 1100):
            run.wait_delivered("buffer", "follow", target)
            run.kill("follow", place=target // 200 % 2)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in ("cam0", "cam1", "cam2"):
        assert_in_order(seen, camera, 500)
    assert_told_where_it_begins(seen)


def test_a_dead_replicas_cameras_move_after_a_second_and_come_back_to_its_successor(tmp_path: Path) -> None:
    slow = {"backoff": "2s..2s", "limit": "1000 in 1m"}
    nodes = graph(tmp_path, cameras=2, count=1200, replicas=2, rate=100, every=100, restart=slow)
    with RunningPipeline(tmp_path, "moves", nodes) as run:
        run.wait_delivered("buffer", "follow", 100)
        assert run.wait(lambda: owners("moves")) == {"cam0": 0, "cam1": 1}
        run.kill("follow", place=0)
        run.wait(lambda: owners("moves") == {"cam0": 1, "cam1": 1}, what="cam0 with the other replica")
        run.wait(lambda: owners("moves") == {"cam0": 0, "cam1": 1}, what="cam0 with its first replica")
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert "follow.1 gets the frames of cam0" in run.tail(200)
    assert "follow.0 gets the frames of cam0" in run.tail(200)
    seen = read_seen(tmp_path / "seen")
    for camera in ("cam0", "cam1"):
        assert_in_order(seen, camera, 1200)
    assert_told_where_it_begins(seen)
    assert len({one.pid for one in of_camera(seen, "cam0")}) == 3
    assert len({one.pid for one in of_camera(seen, "cam1")}) == 1, "whose replica lives stays there"


def test_a_killed_producer_leaves_each_camera_where_it_was(tmp_path: Path) -> None:
    nodes = graph(tmp_path, cameras=2, count=600, replicas=2, busy_s=0.001, every=50)
    nodes["buffer"]["restart"] = RESTART
    with RunningPipeline(tmp_path, "stays", nodes) as run:
        for target in (100, 400, 700):
            run.wait_delivered("buffer", "follow", target)
            run.kill("buffer")
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in ("cam0", "cam1"):
        assert_in_order(seen, camera, 600)
        assert len({one.pid for one in of_camera(seen, camera)}) == 1
    assert_told_where_it_begins(seen)


def test_the_shipped_file_writes_the_events_of_one_replica_with_two(tmp_path: Path) -> None:
    """Motion compares each frame with those before it, so a replica that saw every other one saw other motion."""
    written = []
    for replicas in (1, 2):
        folder = tmp_path / str(replicas)
        folder.mkdir()
        values = yaml.safe_load(SHIPPED.read_text())
        nodes = values["nodes"]
        nodes["camera"] |= {"source": "lavfi:testsrc2=size=640x360:rate=30:duration=4", "realtime": False}
        nodes["buffer"]["when_full"] = "block"
        nodes["motion"] |= {"replicas": replicas, "with": {"threshold": 0.01, "every": 0.3}}
        with RunningPipeline(folder, "demo", nodes) as run:
            report = run.end(None)
        assert run.exit_code == 0, run.tail()
        assert report["unaccounted"] == 0
        found = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        kept = ("state", "sequence", "fraction", "box", "seconds", "peak")
        written.append([[one["data"][key] for key in kept] for one in found])
    assert [one[0] for one in written[0]].count("began") == 1
    assert len(written[0]) > 5
    assert written[0] == written[1]


def test_cameras_of_a_replica_that_will_not_come_back_move_at_once(tmp_path: Path) -> None:
    never = {"when": "never"}
    nodes = graph(tmp_path, cameras=2, count=400, replicas=2, rate=100, every=100, restart=never)
    nodes["follow"]["optional"] = True
    nodes["events"]["optional"] = True
    with RunningPipeline(tmp_path, "never", nodes) as run:
        run.wait_delivered("buffer", "follow", 100)
        run.kill("follow", signal.SIGKILL, place=1)
        run.wait(lambda: owners("never") == {"cam0": 0, "cam1": 0}, what="both with the one that is left")
        report = run.end(None)
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    assert len({one.pid for one in of_camera(seen, "cam1")}) == 2
