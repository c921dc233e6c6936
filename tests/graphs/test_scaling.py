"""A processor in more replicas, or fewer, while frames flow: none is lost or done twice, each camera's are in order."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detektr.supervisor.operating.line import ask_supervisor
from tests.graphs.test_partition import events, graph, owners
from tests.harness.following import Seen, assert_in_order, assert_told_where_it_begins, read_seen
from tests.harness.running import RunningPipeline

CAMERAS = ("cam0", "cam1", "cam2")


def scale(run: RunningPipeline, replicas: int, *, is_waited_for: bool = True) -> None:
    """Scale `follow`, and wait until it has so many processes, of which none leaves any more."""
    assert ask_supervisor(run.name, "scale", "follow", replicas=replicas)["replicas"] == replicas
    if is_waited_for:
        run.wait(lambda: is_scaled(run, replicas), 40, f"{replicas} replicas")


def is_scaled(run: RunningPipeline, replicas: int) -> bool:
    """Whether `follow` has so many processes, at work."""
    node = run.status()["nodes"]["follow"]
    return bool(len(run.pids("follow")) == replicas == node["replicas"] and node["state"] == "running")


def assert_once(seen: list[Seen], count: int, cameras: tuple[str, ...] = CAMERAS) -> None:
    """Every frame was worked on once."""
    found = Counter((one.camera, one.sequence) for one in seen)
    assert found == Counter({(camera, number): 1 for camera in cameras for number in range(count)})


def chain(tmp_path: Path, count: int, **more: Any) -> dict[str, Any]:
    """Code that keeps state, whose frames other code that keeps state reads in order."""
    nodes = graph(tmp_path, cameras=3, count=count, replicas=1, busy_s=0.002, every=20)
    nodes["follow"] |= {"max_replicas": 3, "when_full": "block", **more}
    nodes["then"] = nodes["follow"] | {
        **{"input": "follow", "replicas": 1, "max_replicas": 1, "order": "camera"},
        "with": {"path": str(tmp_path / "then"), "every": 20},
    }
    nodes["events"]["input"] = ["follow", "then"]
    return nodes


@pytest.mark.usefixtures("lane")
def test_a_stateful_chain_that_is_scaled_under_load_works_on_every_frame_once_and_in_order(tmp_path: Path) -> None:
    count = 900
    with RunningPipeline(tmp_path, "scaled", chain(tmp_path, count)) as run:
        run.wait_delivered("buffer", "follow", 100)
        assert run.wait(lambda: owners("scaled")) == dict.fromkeys(CAMERAS, 0)
        scale(run, 3)
        run.wait(lambda: sorted(owners("scaled").values()) == [0, 1, 2], what="a camera with each")
        done = run.edge("buffer", "follow")["delivered"]
        run.wait_delivered("buffer", "follow", done + 200, 40)
        scale(run, 2)
        assert set(owners("scaled").values()) == {0, 1}
        report = run.end(None, 90)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert report["nodes"]["follow"]["restarts"] == 0
    for edge in report["edges"]:
        assert edge["delivered"] == edge["offered"] and not edge["redelivered"], edge
    for name in ("seen", "then"):
        seen = read_seen(tmp_path / name)
        assert_once(seen, count)
        for camera in CAMERAS:
            assert_in_order(seen, camera, count)
        assert_told_where_it_begins(seen)
    assert len({one.pid for one in read_seen(tmp_path / "seen")}) == 3
    assert "follow.2 has left" in run.tail(400)


@pytest.mark.thorough
@pytest.mark.usefixtures("lane")
def test_frames_that_go_to_any_replica_are_worked_on_once_while_their_number_changes(tmp_path: Path) -> None:
    count = 600
    nodes = graph(
        tmp_path, cameras=3, count=count, replicas=2, use="tests.harness.following:Shared", busy_s=0.002, every=2
    )
    nodes["follow"]["max_replicas"] = 4
    with RunningPipeline(tmp_path, "shared", nodes) as run:
        for target, replicas in ((100, 4), (300, 1), (500, 3), (700, 2)):
            run.wait_delivered("buffer", "follow", target)
            scale(run, replicas)
        report = run.end(None, 90)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert_once(read_seen(tmp_path / "seen"), count)
    for edge in report["edges"]:
        assert edge["delivered"] == edge["offered"], edge
    assert len(events(tmp_path / "events")) == sum(
        edge["offered"] for edge in report["edges"] if edge["to"] == "events"
    )


@pytest.mark.usefixtures("lane")
def test_replicas_that_are_killed_while_they_come_and_leave_lose_nothing_and_doubles_are_marked(tmp_path: Path) -> None:
    count = 900
    nodes = graph(tmp_path, cameras=3, count=count, replicas=1, busy_s=0.002, every=20, max_deliveries=50)
    nodes["follow"]["max_replicas"] = 3
    with RunningPipeline(tmp_path, "killed", nodes) as run:
        run.wait_delivered("buffer", "follow", 100)
        scale(run, 3, is_waited_for=False)
        run.kill("follow", place=1)
        run.wait(lambda: is_scaled(run, 3), 40, "3 replicas")
        scale(run, 1, is_waited_for=False)
        run.kill("follow", place=2)
        run.kill("follow", place=0)
        run.wait(lambda: is_scaled(run, 1), 40, "1 replica")
        run.wait(lambda: owners("killed") == dict.fromkeys(CAMERAS, 0), 40, "all cameras with it")
        scale(run, 2)
        report = run.end(None, 90)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    for camera in CAMERAS:
        assert_in_order(seen, camera, count)
    assert_told_where_it_begins(seen)
    for edge in report["edges"]:
        assert edge["delivered"] == edge["offered"], edge


@pytest.mark.thorough
def test_a_paused_node_is_scaled_and_restarted_and_goes_on_where_it_was(tmp_path: Path) -> None:
    count = 300
    nodes = graph(tmp_path, cameras=3, count=count, replicas=3, busy_s=0.002, every=20)
    with RunningPipeline(tmp_path, "paused", nodes) as run:
        run.wait_delivered("buffer", "follow", 100)
        ask_supervisor("paused", "pause", "follow")
        run.wait(lambda: run.status()["nodes"]["follow"]["state"] == "paused", what="a pause")
        scale(run, 1, is_waited_for=False)
        run.wait(lambda: len(run.pids("follow")) == 1, what="one process")
        scale(run, 2, is_waited_for=False)
        run.wait(lambda: len(run.pids("follow")) == 2, what="two processes")
        before = run.pids("follow")
        ask_supervisor("paused", "restart", "follow")
        run.wait(lambda: len(run.pids("follow")) == 2 and not set(before) & set(run.pids("follow")), what="others")
        assert run.wait(lambda: run.status()["nodes"]["follow"]["state"] == "paused", what="the pause still")
        ask_supervisor("paused", "resume", "follow")
        report = run.end(None, 60)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    seen = read_seen(tmp_path / "seen")
    assert_once(seen, count)
    for camera in CAMERAS:
        assert_in_order(seen, camera, count)


@pytest.mark.thorough
def test_events_that_a_slow_sink_has_not_taken_keep_their_replica_until_it_has(tmp_path: Path) -> None:
    """What it has not begun goes to the others meanwhile; scaled up again, its successor goes on with the events."""
    count = 200
    nodes = graph(tmp_path, cameras=3, count=count, replicas=2, use="tests.harness.following:Shared")
    nodes["follow"] |= {"high_water_mark": 4, "drain": "1s"}
    with RunningPipeline(tmp_path, "slow", nodes) as run:
        run.wait_delivered("buffer", "follow", 20)
        ask_supervisor("slow", "pause", "events")
        run.wait(lambda: run.edge("follow", "events")["queued"] == 8, what="full queues")
        scale(run, 1, is_waited_for=False)
        status = run.wait(lambda: (found := run.status())["nodes"]["follow"]["replicas"] == 1 and found)
        assert len(status["nodes"]["follow"]["pids"]) == 2, "it waits for its sink"
        scale(run, 2, is_waited_for=False)
        run.wait(lambda: "its successor begins" in run.tail(400), what="a successor")
        scale(run, 1, is_waited_for=False)
        ask_supervisor("slow", "resume", "events")
        run.wait(lambda: is_scaled(run, 1), what="one replica")
        report = run.end(None, 60)
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert_once(read_seen(tmp_path / "seen"), count)
    written = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert len(written) == 3 * count and not any(sum(edge["dropped"].values()) for edge in report["edges"])


@pytest.mark.thorough
def test_a_replica_that_cannot_begin_leaves_the_node_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import pathlib\n"
        "class Once:\n"
        "    def open(self):\n"
        "        try:\n"
        "            pathlib.Path('begun').touch(exist_ok=False)\n"
        "        except FileExistsError:\n"
        "            raise OSError('the device is taken') from None\n"
        "    def process(self, frame):\n"
        "        return None\n"
    )
    nodes = graph(tmp_path, cameras=1, count=100_000, replicas=1, rate=200)
    nodes["follow"] |= {"use": "mine:Once", "max_replicas": 2, "restart": {"backoff": "10ms..20ms", "limit": "2 in 1m"}}
    del nodes["follow"]["with"]
    with RunningPipeline(tmp_path, "taken", nodes) as run:
        run.wait_delivered("buffer", "follow", 20)
        scale(run, 2, is_waited_for=False)
        run.wait(lambda: run.status()["nodes"]["follow"]["replicas"] == 1, what="one replica again")
        run.wait(lambda: is_scaled(run, 1), what="a node that works")
        done = run.edge("buffer", "follow")["delivered"]
        run.wait_delivered("buffer", "follow", done + 50)
        report = run.end()
    assert run.exit_code == 0, run.tail()
    assert report["unaccounted"] == 0
    assert "follow.1 cannot begin" in run.tail(400) and "the device is taken" in run.tail(400)
