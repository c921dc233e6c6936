"""Events as they come, and the latest picture of a camera: nobody waits for whoever looks."""

from __future__ import annotations

import http.client
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.web.client import ANSWER_S_MAX, WebClient
from tests.process.web.test_pulling import average
from tests.process.web.test_reading import CODE, TOKEN, graph, served


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


class Stream:
    """An open stream of events."""

    def __init__(self, client: WebClient, last_id: str = "", results: str = "") -> None:
        self._connection = http.client.HTTPConnection(client.host, client.port, timeout=ANSWER_S_MAX)
        headers = {"Authorization": f"Bearer {client.token}", **({"Last-Event-ID": last_id} if last_id else {})}
        path = f"/events?results={results}" if results else "/events"
        self._connection.request("GET", path, headers=headers)
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        assert self._answer.headers["Content-Type"].startswith("text/event-stream")
        self.last_id = ""

    def events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield events as they come."""
        kind = ""
        while line := self._answer.readline().decode().rstrip("\n") or " ":
            if line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("id: "):
                self.last_id = line[4:]
            elif line.startswith("data: "):
                yield kind, json.loads(line[6:])

    def wait(self, kind: str, **said: Any) -> dict[str, Any]:
        """Return the next event of a kind that says so."""
        for found, content in self.events():
            if found == kind and said.items() <= content.items():
                return content
        raise AssertionError("the stream ended")

    def close(self) -> None:
        self._connection.close()


def test_who_listens_is_told_of_states_drops_and_operators_and_can_come_again(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        assert WebClient(f"http://127.0.0.1:{client.port}").ask("/events").status == 401
        stream = Stream(client)
        assert stream.wait("reset")["name"] == "demo"
        pid = run.kill("eye", signal.SIGSTOP)
        try:
            assert stream.wait("state", node="eye", state="suspended")["before"] == "running"
            drop = stream.wait("drop", to="eye", reason="queue_full")
            assert drop["count"] > 0 and drop["from"] == "buffer" and drop["run"] == run.status()["run"]
            last = stream.last_id
            stream.close()
            cleared = client.post("/buffer/clear")["cleared"]
            again = Stream(client, last)
            assert again.wait("operator", did="clear")["cleared"] == cleared
            again.close()
            other = Stream(client, "another-run-5")
            assert other.wait("reset")["name"] == "demo"
            other.close()
        finally:
            run.kill("eye", signal.SIGCONT)
            assert pid


def guests(run: RunningPipeline) -> list[dict[str, Any]]:
    """Return the edges of consumers that are not in the file."""
    return [edge for edge in run.status()["edges"] if str(edge["to"]).startswith("guest")]


@pytest.mark.thorough
def test_what_processors_return_goes_to_who_asks_for_it_and_costs_nothing_else(tmp_path: Path) -> None:
    nodes = graph(replicas=2)
    nodes["other"] = {"kind": "processor", "input": "buffer", "use": "mine:Takes"}
    run = RunningPipeline(tmp_path, "demo", nodes, web={"port": 0, "token": TOKEN})
    with served(run) as client:
        plain = Stream(client)
        plain.wait("reset")
        run.wait_delivered("eye", "out", 20)
        assert guests(run) == [], "nobody has asked for results"
        mine, every = Stream(client, results="eye"), Stream(client, results="all")
        numbers = []
        for kind, content in mine.events():
            if kind == "result":
                assert (content["node"], content["camera"]) == ("eye", "cam") and content["data"]["n"] == content[
                    "sequence"
                ]
                assert content["frame"].startswith(content["frame"].partition("_")[0] + "_cam_cam_")
                numbers.append((content["sequence"], content["skipped"]))
                if len(numbers) == 10:
                    break
        assert len({number for number, _ in numbers}) == 10
        assert sum(skipped for _, skipped in numbers) > 0, "40 frames a second are more than anybody looks at"
        assert every.wait("result", node="other")["replica"] == 0
        assert {edge["from"] for edge in guests(run)} == {"eye", "other"}
        assert all(edge["unaccounted"] == 0 for edge in guests(run) if "unaccounted" in edge)
        pid = run.kill("other")
        run.wait(lambda: run.pids("other") not in ([], [pid]), what="another one")
        number = run.edge("buffer", "other")["delivered"]
        while every.wait("result", node="other")["sequence"] < number:
            pass
        mine.close()
        every.close()
        run.wait(lambda: guests(run) == [], what="the end of the edge that nobody needs")
        for kind, _ in plain.events():
            assert kind != "result"
            if kind == "consumer":
                break
        plain.close()
        refused = client.ask("/events?results=buffer")
        assert (refused.status, refused.json["code"]) == (404, "no_node") and "eye, other, or all" in refused.json[
            "next"
        ]
        assert WebClient(f"http://127.0.0.1:{client.port}").ask("/events?results=all").status == 401
        last = Stream(client, results="all")
        last.wait("result")
        assert run.end()["unaccounted"] == 0, "who watches does not hold up the end"
        last.close()


def test_the_latest_picture_is_the_cameras_own_and_costs_its_ledger_nothing(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        assert WebClient(f"http://127.0.0.1:{client.port}").ask("/nodes/cam/latest.jpg").status == 401
        first = client.ask("/nodes/cam/latest.jpg")
        assert first.status == 200 and first.headers["content-type"] == "image/jpeg"
        for _ in range(5):
            shot = client.ask("/nodes/cam/latest.jpg")
            assert abs(average(shot.body) - int(shot.headers["x-detektr-sequence"]) % 256) <= 3
        run.wait(
            lambda: (
                client.ask("/nodes/cam/latest.jpg").headers["x-detektr-sequence"] != first.headers["x-detektr-sequence"]
            ),
            what="a newer picture",
        )
        assert client.ask("/nodes/eye/latest.jpg").json["code"] == "no_node"
        assert {edge["to"] for edge in run.status()["edges"]} == {"buffer", "eye", "out"}
        checked = client.ask("/ready")
        assert checked.status in (200, 503)


def test_a_container_asks_whether_the_run_is_healthy(tmp_path: Path, run_detektr: Any) -> None:
    assert run_detektr("healthcheck", "demo").returncode == 1
    run = RunningPipeline(tmp_path, "demo", graph())
    with run:
        run.wait_delivered("cam", "buffer", 1)
        run.wait(lambda: run_detektr("healthcheck", "demo").returncode == 0, what="health")
        leases = run_detektr("leases", "demo", "--json")
        assert leases.returncode == 0 and isinstance(json.loads(leases.stdout), list)
        pid = run.kill("eye", signal.SIGSTOP)
        try:
            sick = run.wait(lambda: (done := run_detektr("healthcheck", "demo")).returncode and done, what="sickness")
            assert "eye" in sick.stdout
        finally:
            run.kill("eye", signal.SIGCONT)
            assert pid
