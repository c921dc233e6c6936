"""A node of the kind `pull`: what is out at clients outlives the process that gave it, and the server that asked."""

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from detektr.errors import DetektrError
from detektr.http import frames
from detektr.options import Lane
from detektr.wire.codec import CLIENT_LEASE_NS_MAX, CLIENT_WAIT_NS_MAX, encode
from detektr.wire.message import Dequeue, Settle, Settled, Show
from tests.harness.peer import Peer
from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_reading import CODE, TOKEN, wait_successor, web_pid

COUNT = 240
FEW = f"""

def few():
    for count, picture in enumerate(pictures(40)):
        if count == {COUNT}:
            return
        yield picture
"""
RESTART = {"backoff": "100ms..1s", "limit": "20 in 10m"}


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE + FEW)


def graph(source: str = "pictures", when_full: str = "block", **more: Any) -> dict[str, Any]:
    return {
        "cam": {"kind": "capture", "source": f"python:mine:{source}", "when_full": when_full, "drain": "1s"},
        "buffer": {"kind": "buffer", "input": "cam", "high_water_mark": 8, "when_full": when_full, "drain": "1s"},
        "pull": {"kind": "pull", "input": "buffer", "window": 16, "restart": RESTART, "drain": "1s"} | more,
    }


def pipeline(tmp_path: Path, nodes: dict[str, Any], announce: Lane | None = None) -> RunningPipeline:
    return RunningPipeline(tmp_path, "demo", nodes, announce=announce, web={"port": 0, "token": TOKEN})


@contextmanager
def served(run: RunningPipeline) -> Iterator[WebClient]:
    """Run a pipeline and return a client of its server."""
    with run:
        yield WebClient(run.wait(lambda: run.status().get("web"), what="the server's address"), TOKEN)


def take(client: WebClient, count: int, lease_s: float = 30) -> list[dict[str, Any]]:
    """Return so many frames, of as many calls as it takes."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        found += client.get(f"/frames/dequeue?count={count - len(found)}&wait=20&lease={lease_s}")["frames"]
    return found


def ack(client: WebClient, given: list[dict[str, Any]]) -> list[str]:
    """Ack frames; returns what each came to."""
    answer = client.post("/frames/ack", {"leases": [one["lease"] for one in given]})
    return [one["result"] for one in answer["results"]]


def kill_pull(run: RunningPipeline) -> None:
    """Kill the node's process, and wait for its successor."""
    pid = run.kill("pull")
    run.wait(lambda: [other for other in run.pids("pull") if other != pid], what="a successor of pull")


def test_clients_get_every_frame_at_least_once_over_kills_of_the_node_and_of_the_server(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph("few", drain="20s"))
    seen: list[tuple[int, int]] = []
    faults: list[BaseException] = []

    def client_of(url: str) -> None:
        try:
            for frame in frames(url, TOKEN, count=10, lease_s=2, wait_s=5):
                seen.append((frame.facts["sequence"], frame.delivery))
        except BaseException as fault:
            faults.append(fault)

    def wait_more(count: int) -> None:
        reached = len(seen) + count
        run.wait(lambda: len(seen) >= reached or faults, what="more frames")

    with served(run) as client:
        url = f"http://127.0.0.1:{client.port}"
        clients = [threading.Thread(target=client_of, args=(url,)) for _ in range(2)]
        for one in clients:
            one.start()
        for _ in range(3):
            wait_more(10)
            kill_pull(run)
            wait_more(10)
            pid = web_pid(run)
            os.kill(pid, signal.SIGKILL)
            wait_successor(run, pid)
        report = run.end(None, within_s=60)
        for one in clients:
            one.join(30)
    # A client may find the server gone before it could be told of the end.
    assert all(isinstance(fault, DetektrError) and "does not answer" in str(fault) for fault in faults), faults
    assert {number for number, _ in seen} == set(range(COUNT)), "a frame that no client got"
    first = [number for number, delivery in seen if delivery == 1]
    assert len(first) == len(set(first)), "a repeat that is not marked"
    assert report["unaccounted"] == 0
    [edge] = [one for one in report["edges"] if one["to"] == "pull"]
    assert edge["offered"] == edge["delivered"] == COUNT


@pytest.mark.parametrize("announce", ["zmq", "shm"])
def test_an_ack_counts_though_the_process_that_gave_the_frame_was_killed(tmp_path: Path, announce: Lane) -> None:
    run = pipeline(tmp_path, graph(), announce)
    with served(run) as client:
        mine = take(client, 6)
        run.kill("pull")
        assert ack(client, mine[:2]) == ["acked"] * 2  # while there is none, or its successor does not have them yet
        kill_pull(run)
        assert ack(client, mine[2:4]) == ["acked"] * 2
        assert ack(client, mine[:1]) == ["already"]
        raw = client.ask(f"{mine[4]['picture']}&format=raw")
        assert raw.status == 200 and raw.body[0] == mine[4]["sequence"] % 256
        pid = web_pid(run)
        os.kill(pid, signal.SIGKILL)
        wait_successor(run, pid)
        assert ack(client, mine[4:]) == ["acked"] * 2
        others = take(client, 10)
        ack(client, others)
        others += take(client, 10)
        assert not {one["id"] for one in others} & {one["id"] for one in mine}, "acked, and given out again"
        assert [one["delivery"] for one in others] == [1] * len(others), "nobody was given these before"
        assert sorted(one["sequence"] for one in [*mine, *others]) == list(range(26))
        ack(client, others[10:])
        run.wait_delivered("buffer", "pull", 26)
    assert run.end()["unaccounted"] == 0


@pytest.mark.thorough
def test_a_deadline_stands_over_a_kill_and_what_expires_is_given_out_again_marked(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph())
    with served(run) as client:
        [short] = take(client, 1, lease_s=3)
        [long] = take(client, 1, lease_s=600)
        kill_pull(run)
        again: list[dict[str, Any]] = []

        def came_again() -> bool:
            given = take(client, 1)
            ack(client, given)
            again.extend(one for one in given if one["id"] in (short["id"], long["id"]))
            return bool(again)

        run.wait(came_again, what="the frame whose lease expired")
        [one] = again
        assert one["id"] == short["id"] and one["delivery"] == 2 and one["lease"] != short["lease"]
        assert datetime.datetime.now(datetime.UTC) >= datetime.datetime.fromisoformat(short["expires"])
        assert ack(client, [short]) == ["expired"]
        kill_pull(run)
        assert client.post("/frames/ack", {"leases": [long["lease"]], "outcome": "failed"})["acked"] == 1
        failed = next(one for _ in range(100) for one in take(client, 1) if one["id"] == long["id"])
        assert failed["delivery"] == 2
    run.end()


@pytest.mark.thorough
def test_frames_of_a_processor_come_with_its_results_also_after_a_kill_of_either(tmp_path: Path) -> None:
    nodes = graph(input="eye")
    nodes["eye"] = {"kind": "processor", "input": "buffer", "use": "mine:Takes", "restart": RESTART, "drain": "1s"}
    run = pipeline(tmp_path, nodes)
    with served(run) as client:
        mine = take(client, 4)
        assert [one["results"] for one in mine] == [{"eye": [{"n": one["sequence"]}]} for one in mine]
        eye = run.kill("eye")
        kill_pull(run)
        run.wait(lambda: [pid for pid in run.pids("eye") if pid != eye], what="a successor of eye")
        assert client.ask(f"{mine[0]['picture']}&format=raw").status == 200
        assert ack(client, mine) == ["acked"] * 4
        others = take(client, 6)
        assert ack(client, others) == ["acked"] * 6
        seen = [one["sequence"] for one in [*mine, *others]]
        assert len(set(seen)) == 10 and {one["delivery"] for one in mine} == {1}
        run.wait_delivered("eye", "pull", 10)
    assert run.end()["unaccounted"] == 0


@pytest.mark.thorough
def test_a_frame_that_fails_each_time_becomes_a_dead_letter(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph(max_deliveries=2))
    with served(run) as client:
        [poison] = take(client, 1)
        deliveries = [poison["delivery"]]
        assert client.post("/frames/ack", {"leases": [poison["lease"]], "outcome": "failed", "why": "no"})["acked"] == 1
        kill_pull(run)
        [poison] = take(client, 1)
        deliveries.append(poison["delivery"])
        assert client.post("/frames/ack", {"leases": [poison["lease"]], "outcome": "failed", "why": "no"})["acked"] == 1
        assert deliveries == [1, 2]
        run.wait(lambda: run.edge("buffer", "pull").get("dead_lettered") == 1, what="the dead letter")
        others = take(client, 4)
        assert poison["id"] not in {one["id"] for one in others}
    assert run.end()["unaccounted"] == 0


def no_puller(client: WebClient) -> Any:
    """Return the reason that nobody pulls; None: it is not said."""
    reasons = client.ask("/ready").json["reasons"]
    return next((one for one in reasons if one["code"] == "no_puller"), None)


def test_nobody_who_pulls_is_said_and_the_camera_waits_until_somebody_does(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph(drain="300ms"))
    with served(run) as client:
        run.wait(lambda: run.edge("buffer", "pull").get("queued") == 8, what="a full queue")
        reason = run.wait(lambda: no_puller(client), within_s=30, what="the reason no_puller")
        assert reason["node"] == "pull" and "/frames/dequeue" in reason["next"]
        node = client.get("/nodes/pull")
        assert node["state"] == "waiting" and node["why"].startswith("no_puller: ")
        assert client.get("/why")["sickest"][0]["code"] == "no_puller"

        # The old lie: what is queued is said, and nothing was dropped for it.
        status, edge = client.get("/frames/status"), run.edge("buffer", "pull")
        assert status["size"] == edge["queued"] == 8 and edge["in_flight"] == 16
        assert not any(edge["dropped"].values()) and not any(run.edge("cam", "buffer")["dropped"].values())
        leases = client.get("/leases?node=pull")
        assert [one["holder"]["node"] for one in leases if one["edge"] == "buffer->pull"] == ["pull"] * 16

        given = take(client, 3)
        assert [one["sequence"] for one in given] == [0, 1, 2]
        doing = [one["doing"] for one in client.get("/leases") if one["edge"] == "buffer->pull"]
        assert doing.count("out") == 3
        ack(client, given)
        run.wait(lambda: not no_puller(client), what="that somebody pulls")
        run.wait(lambda: run.status()["nodes"]["pull"]["state"] == "running", what="a node that runs")
    report = run.end()
    assert report["unaccounted"] == 0


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_client_that_took_all_for_an_hour_and_never_came_back_hides_no_lack_of_clients(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph(drain="300ms"))
    with served(run) as client:
        held = take(client, 16, lease_s=3600)
        reason = run.wait(lambda: no_puller(client), within_s=60, what="the reason no_puller")
        assert reason["node"] == "pull" and "(others are out at clients)" in reason["text"]
        asked = client.post("/frames/extend", {"leases": [held[0]["lease"]], "seconds": 3600})
        assert asked["extended"] == 1
        run.wait(lambda: not no_puller(client), what="that somebody is there")
        assert ack(client, held) == ["acked"] * 16
    assert run.end()["unaccounted"] == 0


@pytest.mark.thorough
def test_a_drop_policy_drops_and_counts_where_nobody_pulls(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph(when_full="drop-oldest", drain="300ms"))
    with served(run) as client:
        run.wait(lambda: run.edge("buffer", "pull").get("dropped", {}).get("queue_full", 0) > 20, what="drops")
        mine = take(client, 2)
        kill_pull(run)
        before = run.edge("buffer", "pull")["dropped"]["queue_full"]
        run.wait(lambda: run.edge("buffer", "pull")["dropped"]["queue_full"] > before + 20, what="more drops")
        assert ack(client, mine) == ["acked"] * 2, "what is out is nobody's to drop"
        run.wait(lambda: run.edge("buffer", "pull")["queued"] == 8, what="a full queue, once the two are leased")
        edge = run.edge("buffer", "pull")
        settled = edge["delivered"] + sum(edge["dropped"].values()) + edge["queued"] + edge["in_flight"]
        assert edge["offered"] == settled
    assert run.end()["unaccounted"] == 0


@pytest.mark.thorough
def test_frames_that_nobody_asks_for_are_dropped_at_the_end_of_a_file(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph("few", drain="1s"))
    with served(run) as client:
        got = 0
        with contextlib.suppress(StopIteration):
            for frame in frames(f"http://127.0.0.1:{client.port}", TOKEN, count=10, wait_s=5):
                got += 1
                if frame.facts["sequence"] == COUNT - 5:
                    break
        report = run.end(None)
    [edge] = [one for one in report["edges"] if one["to"] == "pull"]
    assert edge["dropped"]["stopped"] == COUNT - edge["delivered"] > 0 and edge["delivered"] >= COUNT - 5
    assert report["unaccounted"] == 0


def test_what_strangers_ask_for_is_refused_or_reaches_nobody_and_clients_pull_on(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph())
    with served(run) as client:
        mine = take(client, 2)
        peer = Peer("demo")
        try:
            hour_ns = CLIENT_LEASE_NS_MAX
            for number in range(1, 2000):  # each one of another life of it
                peer.send("pull.0", Dequeue("nobody.0", number << 32, 1, hour_ns, CLIENT_WAIT_NS_MAX))
            peer.send("pull.0", Dequeue("buffer.0", 7, 1024, hour_ns + 1, 0))
            peer.send("pull.0", Dequeue("buffer.0", 7, 4, 1, 0))
            peer.send("pull.0", Dequeue("no-process", 7, 1, 1, 1))
            peer.send(
                "pull.0", Settle("nobody.0", 8, ("pull.00000000-1", mine[0]["lease"][:-1] + "99999"), "done", "", 0)
            )
            peer.send("pull.0", Show("nobody.0", 9, "x"))
            peer.send("pull.0", encode(Show("nobody.0", 9, mine[0]["lease"]))[:-3])
            peer.send("pull.0", Settled(1, ("acked",)))
            run.wait(lambda: run.status()["nodes"]["pull"]["wire_errors"] >= 3, what="refused messages")
            assert ack(client, mine) == ["acked"] * 2
            # The buffer lives, is told of frames that it has not asked for, and refuses that.
            run.wait(lambda: run.status()["nodes"]["buffer"]["wire_errors"] > 0, what="a refused answer")
            peer.send("cam.0", Dequeue("nobody.0", 1, 1, 1, 1))
            run.wait(lambda: run.status()["nodes"]["cam"]["wire_errors"] > 0, what="a question refused")
            others = take(client, 4)
            assert sorted(one["sequence"] for one in others) == [2, 3, 4, 5] and len(ack(client, others)) == 4
        finally:
            peer.close()
    assert run.end()["unaccounted"] == 0
