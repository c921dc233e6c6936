"""Frames pulled over HTTP, and queues cleared: at least once, repeats marked, sums that hold."""

from __future__ import annotations

import io
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from detektr.errors import DetektrError
from detektr.http import frames
from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_reading import CODE, TOKEN, graph, served, wait_successor, web_pid

FEW = """
import pathlib


def few():
    for count, picture in enumerate(pictures(20)):
        yield picture
        if count > 40 and pathlib.Path("go").exists():
            return
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def guest(run: RunningPipeline) -> dict[str, Any]:
    """Return the edge of who pulls; empty before there is one."""
    found = [edge for edge in run.status()["edges"] if str(edge["to"]).startswith("guest")]
    return dict(found[0]) if found else {}


def test_frames_are_pulled_acked_and_given_again_when_a_client_is_silent(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        nobody = WebClient(f"http://127.0.0.1:{client.port}")
        for path, method in (("/frames/dequeue", "GET"), ("/frames/ack", "POST"), ("/buffer/clear", "POST")):
            assert nobody.ask(path, method, {} if method == "POST" else None).status == 401
        assert not guest(run), "who may not pull has made a consumer"

        first = client.get("/frames/dequeue?count=4&wait=20")["frames"]
        while len(first) < 4:
            first += client.get(f"/frames/dequeue?count={4 - len(first)}&wait=20")["frames"]
        assert len({frame["lease"] for frame in first}) == len({frame["id"] for frame in first}) == 4
        assert all(frame["delivery"] == 1 and frame["width"] == 16 for frame in first)
        leases = [frame["lease"] for frame in first]

        # The picture is that frame's own, in each form.
        one = first[0]
        raw = client.ask(f"{one['picture']}&format=raw")
        assert raw.status == 200 and raw.headers["x-detektr-format"] == one["format"]
        png = client.ask(f"{one['picture']}&format=png")
        assert png.headers["content-type"] == "image/png"
        assert png.body.startswith(b"\x89PNG")
        level = one["sequence"] % 256
        assert abs(average(png.body) - level) <= 2
        jpeg = client.ask(one["picture"])
        assert jpeg.headers["content-type"] == "image/jpeg" and abs(average(jpeg.body) - level) <= 3

        # Leases end once, each.
        body = {"leases": [*leases[:2], leases[0], "buffer.00000000-1", "nonsense"]}
        answer = client.post("/frames/ack", body)
        assert answer["acked"] == 2
        told = [one["result"] for one in answer["results"]]
        assert told == ["acked", "acked", "already", "unknown", "unknown"]
        assert client.post("/frames/ack", {"leases": leases[:1]})["results"][0]["result"] == "already"
        assert client.ask(one["picture"]).status == 410
        run.wait(lambda: guest(run).get("delivered", 0) == 2, what="the ledger's two delivered frames")

        # One is said to have failed, and comes again, marked; one expires, and comes again, marked.
        assert client.post("/frames/ack", {"leases": leases[2:3], "outcome": "failed", "why": "no"})["acked"] == 1
        assert client.post("/frames/extend", {"leases": leases[3:4], "seconds": 1})["extended"] == 1
        again: dict[str, int] = {}

        def both() -> bool:
            for frame in client.get("/frames/dequeue?count=2&wait=5")["frames"]:
                again[frame["id"]] = frame["delivery"]
                client.post("/frames/ack", {"leases": [frame["lease"]]})
            return {first[2]["id"], first[3]["id"]} <= again.keys()

        run.wait(both, what="both frames once more")
        assert again[first[2]["id"]] == again[first[3]["id"]] == 2
        assert client.post("/frames/ack", {"leases": leases[3:4]})["results"][0]["result"] == "expired"

        # The window is a bound, said in words.
        out: list[str] = []

        def full() -> Any:
            reply = client.ask("/frames/dequeue?count=100&wait=5")
            if reply.status == 200:
                out.extend(frame["lease"] for frame in reply.json["frames"])
                return None
            return reply

        reply = run.wait(full, what="a full window")
        assert reply.status == 429 and reply.json["code"] == "window_full" and int(reply.headers["retry-after"]) > 0
        assert client.post("/frames/ack", {"leases": out})["acked"] == len(out)

        wrong: list[Any] = [{}, {"leases": []}, {"leases": "x"}, {"leases": [1]}, {"leases": ["x"], "outcome": "maybe"}]
        for bad in wrong:
            assert client.ask("/frames/ack", "POST", bad).status == 400
        assert client.ask("/frames/dequeue?count=0").status == 400
        assert client.ask("/frames/dequeue?node=eye").json["code"] == "no_node"
        edges = client.get("/frames/status")["edges"]
        assert "eye" in [edge["to"] for edge in edges]
    assert run.end()["unaccounted"] == 0


def average(picture: bytes) -> float:
    """Return the mean level of a picture file."""
    import av

    with av.open(io.BytesIO(picture), "r") as container:
        return float(next(container.decode(video=0)).to_ndarray(format="gray").mean())


@pytest.mark.thorough
def test_an_idle_puller_does_not_hold_up_the_end_of_a_run(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN, "open": ["dequeue"]})
    with served(run, None) as client:
        assert run.wait(lambda: client.get("/frames/dequeue?wait=5")["frames"], what="a frame")
        run.wait(lambda: guest(run).get("in_flight", 0) > 3, what="leases at the server")
        report = run.end(within_s=30)
    assert report["unaccounted"] == 0
    assert "drain timeout" not in run.tail()


def test_what_is_queued_is_cleared_and_counted_and_what_is_leased_stays(tmp_path: Path) -> None:
    nodes = graph("mine:Hangs", drain="300ms", timeout="60s")
    run = RunningPipeline(tmp_path, "demo", nodes, web={"port": 0, "token": TOKEN})
    with served(run) as client:
        run.wait(lambda: run.edge("buffer", "eye").get("queued", 0) == 8, what="a full queue")
        leased = run.edge("buffer", "eye")["in_flight"]
        key = {"Idempotency-Key": "once"}
        first = client.ask("/buffer/clear", "POST", {}, key)
        assert first.status == 200 and first.json["edges"] == {"buffer->eye": first.json["cleared"]}
        assert first.json["cleared"] > 0
        again = client.ask("/buffer/clear", "POST", {}, key)
        assert again.json == first.json
        edge = run.edge("buffer", "eye")
        assert edge["dropped"]["cleared"] == first.json["cleared"] and edge["in_flight"] == leased
        settled = edge["delivered"] + sum(edge["dropped"].values()) + edge["queued"] + edge["in_flight"]
        assert edge["offered"] == settled
        assert client.post("/buffer/clear?edge=buffer-%3Eeye")["edges"].keys() == {"buffer->eye"}
        assert client.ask("/buffer/clear?edge=cam-%3Ebuffer", "POST", {}).json["code"] == "no_edge"
        assert client.ask("/buffer/clear?node=eye", "POST", {}).json["code"] == "no_node"
        assert client.ask("/buffer/clear", "GET").status == 405

        # A buffer that cannot answer is said to be silent, within its time.
        pid = run.pids("buffer")[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            assert client.ask("/buffer/clear", "POST", {}).json["code"] == "silent"
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_client_in_four_lines_gets_the_frames_and_what_fails_comes_again(tmp_path: Path) -> None:
    nodes = graph()
    nodes["cam"]["source"] = "python:mine:few"
    (tmp_path / "mine.py").write_text(CODE + FEW)
    run = RunningPipeline(tmp_path, "demo", nodes, web={"port": 0, "token": TOKEN})
    with served(run) as client:
        url = f"http://127.0.0.1:{client.port}"
        seen: list[tuple[int, int]] = []
        pulled = frames(url, TOKEN, count=4, wait_s=10)
        for frame in pulled:
            assert frame.picture(format="png").startswith(b"\x89PNG")
            seen.append((frame.facts["sequence"], frame.delivery))
            if len(seen) == 3:
                with pytest.raises(LookupError):
                    pulled.throw(LookupError("the work failed"))  # type: ignore[attr-defined]
                break
        (tmp_path / "go").touch()
        for frame in frames(url, TOKEN, count=4, wait_s=2):
            seen.append((frame.facts["sequence"], frame.delivery))
        assert (seen[2][0], 2) in seen, "what failed did not come again, marked"
        numbers = [number for number, delivery in seen if delivery == 1]
        assert len(numbers) == len(set(numbers)), "a repeat that is not marked"
        with pytest.raises(DetektrError, match="not the token"):
            next(frames(url, "x" * 20))
    assert run.end(None)["unaccounted"] == 0


@pytest.mark.thorough
def test_a_killed_server_leaves_no_lease_behind_and_its_successor_pulls_on(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        for _ in range(3):
            old = run.wait(lambda: client.get("/frames/dequeue?count=2&wait=10")["frames"], what="frames")
            pid = web_pid(run)
            os.kill(pid, signal.SIGKILL)
            wait_successor(run, pid)
            leases = [frame["lease"] for frame in old]
            told = client.post("/frames/ack", {"leases": leases})
            assert [one["result"] for one in told["results"]] == ["unknown"] * len(leases)
            assert client.ask(old[0]["picture"]).status == 410
            # What the dead one held is nobody's: new leases alone are out, and the file's own consumer missed nothing.
            new = run.wait(lambda: client.get("/frames/dequeue?count=2&wait=10")["frames"], what="new frames")
            assert not {frame["lease"] for frame in new} & set(leases)
            client.post("/frames/ack", {"leases": [frame["lease"] for frame in new]})
        guests = [edge for edge in run.status()["edges"] if str(edge["to"]).startswith("guest")]
        assert len(guests) == 1, guests
    report = run.end()
    assert report["unaccounted"] == 0
    [edge] = [edge for edge in report["edges"] if edge["to"] == "eye"]
    assert edge["offered"] == edge["delivered"] + sum(edge["dropped"].values())
