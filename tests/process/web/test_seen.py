"""What processors saw is kept while nobody looks: with pictures, over kills and runs, within what the disk takes."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_pulling import average
from tests.process.web.test_reading import PICTURES, TOKEN, graph, served, wait_successor, web_pid

CODE = (
    PICTURES
    + """

class Takes:
    def process(self, frame):
        labels = ["cart", "<b>cart</b>"][: 1 + frame.sequence // 40 % 2]
        shade = int(frame.bgr[0, 0, 0])
        return {"shade": shade, "detections": [{"box": [1, 2, 3, 4], "label": label} for label in labels]}

    def write(self, event):
        pass


class Counts:
    def process(self, frame):
        return {"n": frame.sequence}
"""
)
WEB = {"port": 0, "token": TOKEN, "seen": "2d"}


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def seen(client: WebClient, query: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(f"/seen{query}")["seen"]
    return found


def wait_seen(run: RunningPipeline, client: WebClient, count: int, query: str = "") -> list[dict[str, Any]]:
    """Wait for so many sightings with a picture."""

    def look() -> list[dict[str, Any]] | None:
        found = [one for one in seen(client, query) if one["still"]]
        return found if len(found) >= count else None

    return list(run.wait(look, what=f"{count} sightings"))


def test_what_was_seen_while_nobody_looked_is_there_with_its_pictures_after_a_kill_and_in_the_next_run(
    tmp_path: Path,
) -> None:
    nodes = graph()
    nodes["count"] = {"kind": "processor", "input": "buffer", "use": "mine:Counts"}
    run = RunningPipeline(tmp_path, "demo", nodes, web=WEB)
    with served(run) as client:
        first = wait_seen(run, client, 2)
        assert {one["words"] for one in first} == {"cart", "cart, <b>cart</b>"}
        assert {(one["camera"], one["node"]) for one in first} == {("cam", "eye")}, "what says nothing is not kept"
        assert all(one["at"] <= one["until"] and one["data"]["detections"] for one in first)
        answer = client.get("/seen?camera=cam&node=eye&most=1")
        assert answer["keep_s"] == 2 * 24 * 3600 and answer["cameras"] == ["cam"] and answer["fault"] is None
        assert answer["since"] == min(one["at"] for one in first) and len(answer["seen"]) == 1
        assert seen(client, "?camera=other") == seen(client, "?node=count") == []
        assert seen(client, "?at=2020-01-01T00:00:00%2B00:00") == []
        assert client.ask("/seen?at=never+ever").status == 400
        assert WebClient(f"http://127.0.0.1:{client.port}").ask("/seen").status == 401
        edges = {edge["from"] for edge in run.status()["edges"] if str(edge["to"]).startswith("guest")}
        assert edges == {"eye", "count"}, "it reads as an ephemeral consumer"

        # Their pictures are those of their own frames, long after the slots were used again; also of the killed server.
        run.wait_delivered("cam", "buffer", 100)
        pid = web_pid(run)
        os.kill(pid, signal.SIGKILL)
        wait_successor(run, pid)
        client = WebClient(str(run.wait(lambda: run.status().get("web"), what="the server's address")), TOKEN)
        for one in first:
            still = client.ask(f"/frames/{one['frame']}/still.jpg")
            assert still.status == 200 and still.headers["content-type"] == "image/jpeg"
            assert abs(average(still.body) - one["data"]["shade"]) <= 3
        wait_seen(run, client, 3)
        assert run.end()["unaccounted"] == 0
    with served(RunningPipeline(tmp_path, "demo", nodes, web=WEB)) as client:
        frames = {one["frame"] for one in seen(client, "?most=500")}
        assert {one["frame"] for one in first} <= frames
        assert client.ask(f"/frames/{first[0]['frame']}/still.jpg").status == 200
    file = Path(os.environ["DETEKTR_STATE_DIR"]) / "demo" / "seen.db"
    assert file.stat().st_mode & 0o777 == 0o600

    # After the end, any server that is told the name says it.
    command = [sys.executable, "-m", "detektr", "web", "demo", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url, words = server.stdout.readline().removeprefix("web on ").split("; its token is ")
        token = Path(words.split()[-1]).read_text().strip()
        later = WebClient(url, token)
        frame = first[0]["frame"]
        assert [one["words"] for one in seen(later, f"?frame={frame}")] == [first[0]["words"]]
        assert later.ask(f"/frames/{frame}/still.jpg").status == 200 and later.get("/seen")["keep_s"] == 0
        server.terminate()


def test_where_the_file_does_not_say_so_nothing_is_kept_and_nobody_listens(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        run.wait_delivered("eye", "out", 20)
        answer = client.get("/seen")
        assert (answer["keep_s"], answer["seen"], answer["since"]) == (0, [], None)
        assert {edge["to"] for edge in run.status()["edges"]} == {"buffer", "eye", "out"}
    assert not (Path(os.environ["DETEKTR_STATE_DIR"]) / "demo" / "seen.db").exists()


def test_a_file_that_cannot_be_written_is_told_and_costs_nothing_else(tmp_path: Path) -> None:
    file = Path(os.environ["DETEKTR_STATE_DIR"]) / "demo" / "seen.db"
    file.mkdir(parents=True)
    run = RunningPipeline(tmp_path, "demo", graph(), web=WEB)
    with served(run) as client:
        run.wait(lambda: client.get("/seen")["fault"], what="the fault, in words")
        run.wait_delivered("eye", "out", 60)
        mended_s = time.time()
        file.rmdir()
        wait_seen(run, client, 2)
        assert client.get("/seen")["fault"] is None and client.get("/seen")["left_out"] == 0
        first_s = min(datetime.datetime.fromisoformat(one["at"]).timestamp() for one in seen(client))
        assert first_s < mended_s, "what was seen meanwhile has waited for the disk"
        assert run.end()["unaccounted"] == 0
