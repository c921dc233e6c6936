"""What an operator does to nodes that run: paused, resumed, restarted; no frame is lost, and everybody says so."""

from __future__ import annotations

import functools
import http.server
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_live import Stream
from tests.process.web.test_reading import CODE, TOKEN, graph, is_gone, served, web_pid

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

COUNTS = """
import json, os, pathlib


def some():
    for count, picture in enumerate(pictures(100)):
        yield picture
        if pathlib.Path("end").exists():
            return


class Notes:
    def process(self, frame):
        return {"n": frame.sequence}

    def process_batch(self, frames):
        return [self.process(frame) for frame in frames]

    def write(self, event):
        fd = os.open("seen.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(fd, (json.dumps(event["data"]["n"]) + "\\n").encode())
        os.close(fd)
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE + COUNTS)


def careful(**eye: Any) -> dict[str, Any]:
    """Return a graph in which every frame is waited for."""
    return {
        "cam": {"kind": "capture", "source": "python:mine:some", "when_full": "block"},
        "buffer": {"kind": "buffer", "input": "cam", "high_water_mark": 8, "when_full": "block"},
        "eye": {"kind": "processor", "input": "buffer", "use": "mine:Notes", **eye},
        "out": {"kind": "sink", "input": "eye", "use": "mine:Notes"},
    }


def told(client: WebClient, node: str) -> dict[str, Any]:
    """Return what the server says of a node."""
    return dict(client.get(f"/nodes/{node}"))


def sickest(client: WebClient) -> list[tuple[str, str]]:
    """Return code and culprit of what is wrong."""
    return [(one["code"], one["culprit"]) for one in client.get("/pipeline")["sickest"]]


def is_sick(client: WebClient, wanted: tuple[str, str]) -> bool:
    """Whether this is among what is wrong."""
    return wanted in sickest(client)


def is_another(run: RunningPipeline, node: str, before: int) -> bool:
    """Whether a node of one process has another one, which works."""
    return run.pids(node) not in ([], [before]) and run.status()["nodes"][node]["state"] == "running"


def lose_nothing(run: RunningPipeline, folder: Path) -> int:
    """End a careful run; returns how many frames there were, each of which came to the sink once."""
    (folder / "end").touch()
    report = run.end(None)
    assert report["unaccounted"] == 0
    frames = {edge["offered"] for edge in report["edges"]}
    assert len(frames) == 1, report["edges"]
    for edge in report["edges"]:
        assert edge["delivered"] == edge["offered"] and not sum(edge["dropped"].values()), edge
    count = int(frames.pop())
    seen = [json.loads(line) for line in (folder / "seen.jsonl").read_text().splitlines()]
    assert Counter(seen) == Counter(range(count))
    return count


def test_a_paused_node_takes_nothing_until_it_is_resumed_and_everybody_says_so(tmp_path: Path) -> None:
    nodes = graph(timeout="300ms", restart={"backoff": "10ms..50ms"})
    web = {"port": 0, "token": TOKEN}
    run = RunningPipeline(tmp_path, "demo", nodes, web=web, audit="sqlite:audit.db")
    with served(run) as client:
        run.wait_delivered("buffer", "eye", 5)
        stream = Stream(client)
        stream.wait("reset")
        first = client.post("/nodes/eye/pause")
        expected = {"node": "eye", "did": "pause", "processes": ["eye.0"], "changed": True, "state": "paused"}
        assert first == expected
        assert client.post("/pipelines/demo/nodes/eye/pause") == {**expected, "changed": False}
        assert stream.wait("operator")["did"] == "pause"
        assert stream.wait("state", node="eye", state="paused")
        stream.close()
        node = told(client, "eye")
        assert node["state"] == "paused" and "`detektr resume demo eye`" in node["why"]

        # Nothing is worked on any more, whatever its `timeout`; the queue before it follows its own policy.
        run.wait(lambda: run.edge("buffer", "eye")["dropped"].get("queue_full", 0) > 50, what="drops at a full queue")
        before = run.edge("buffer", "eye")
        run.wait(lambda: run.edge("buffer", "eye")["dropped"]["queue_full"] > 100, what="more of them")
        after = run.edge("buffer", "eye")
        assert (after["delivered"], after["in_flight"]) == (before["delivered"], before["in_flight"])
        assert after["redelivered"] == after["dead_lettered"] == 0
        run.wait(lambda: ("paused", "eye") in sickest(client)[:1], what="the culprit")
        reasons = run.wait(lambda: client.ask("/ready").json["reasons"], what="why it is not ready")
        assert reasons[0]["code"] == "paused" and "resume" in reasons[0]["next"]

        # Its successor is paused too.
        pid = run.kill("eye")
        run.wait(
            lambda: run.pids("eye") not in ([], [pid]) and told(client, "eye")["state"] == "paused", what="another"
        )
        assert run.edge("buffer", "eye")["delivered"] == after["delivered"]

        assert client.post("/nodes/eye/resume")["changed"]
        run.wait_delivered("buffer", "eye", after["delivered"] + 20)
        run.wait(lambda: told(client, "eye")["state"] == "running", what="its state")
        assert not client.post("/nodes/eye/resume")["changed"]
    report = run.end()
    assert report["unaccounted"] == 0


@pytest.mark.thorough
def test_a_paused_node_holds_back_who_waits_for_it_and_loses_nothing(tmp_path: Path, run_detektr: RunDetektr) -> None:
    run = RunningPipeline(tmp_path, "demo", careful(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        for node in ("out", "eye", "buffer", "cam"):
            run.wait_delivered("cam", "buffer", run.edge("cam", "buffer")["delivered"] + 10)
            done = run_detektr("pause", "demo", node)
            assert (done.returncode, done.stdout) == (0, f"{node}.0 is paused\n"), done
            known: dict[str, int] = {}

            def has_stopped(known: dict[str, int] = known) -> bool:
                """Whether nothing has moved since the last look, a second ago or more."""
                at, captured = run.status()["seconds"], run.edge("cam", "buffer")["offered"]
                if known.get("captured") != captured:
                    known |= {"captured": captured, "at": at}
                return bool(at - known["at"] > 1)

            run.wait(has_stopped, what="the capture to wait")
            wanted = ("paused", node)
            run.wait(functools.partial(is_sick, client, wanted), what="the culprit")
            done = run_detektr("resume", "demo", node)
            assert (done.returncode, done.stdout) == (0, f"{node}.0 goes on\n"), done
        run.wait_delivered("eye", "out", run.edge("eye", "out")["delivered"] + 10)
        assert lose_nothing(run, tmp_path) > 40


@pytest.mark.thorough
def test_the_end_of_a_run_resumes_what_is_paused(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", careful(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        run.wait_delivered("eye", "out", 5)
        client.post("/nodes/eye/pause")
        run.wait(lambda: run.edge("buffer", "eye")["queued"] == 8, what="a full queue")
        report = run.end()
    assert report["unaccounted"] == 0
    assert all(edge["delivered"] == edge["offered"] for edge in report["edges"]), report["edges"]


class Snapshots(http.server.BaseHTTPRequestHandler):
    """A camera that gives one picture for each request."""

    def do_GET(self) -> None:
        picture = Path(str(self.server.picture)).read_bytes()  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Type", "image/jpeg")
        self.send_header("Content-Length", str(len(picture)))
        self.end_headers()
        self.wfile.write(picture)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def camera(picture: Path) -> Iterator[str]:
    """Serve a picture as a camera does; returns its address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Snapshots) as server:
        vars(server)["picture"] = picture
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/now.jpg"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.thorough
def test_a_paused_camera_gives_no_frames_and_counts_what_it_throws_away(tmp_path: Path) -> None:
    import av
    import numpy as np

    picture = tmp_path / "now.jpg"
    with av.open(str(picture), "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), "bgr24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    with camera(picture) as address:
        nodes = graph()
        nodes["cam"] = {"kind": "capture", "source": address, "fps": 25}
        run = RunningPipeline(tmp_path, "demo", nodes, web={"port": 0, "token": TOKEN})
        with served(run) as client:
            assert client.post("/nodes/cam/pause")["state"] == "paused"
            run.wait(lambda: told(client, "cam")["state"] == "paused", what="the pause")
            before = told(client, "cam")
            run.wait(lambda: told(client, "cam")["paused"] > before["paused"] + 10, what="pictures thrown away")
            after = told(client, "cam")
            assert after["frames"] <= before["frames"] + 1, "one may have been on its way"
            assert ("camera_down", "cam") not in sickest(client) and ("paused", "cam") in sickest(client)
            text = client.ask("/metrics").body.decode()
            assert 'detektr_node_paused_total{node="cam"' in text
            client.post("/nodes/cam/resume")
            run.wait_delivered("cam", "buffer", after["frames"] + 5)
        assert run.end()["unaccounted"] == 0


def test_processes_are_restarted_one_after_the_other_and_no_frame_is_lost(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", careful(replicas=2), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        for node in ("eye", "out", "buffer", "cam", "eye"):
            run.wait_delivered("eye", "out", run.edge("eye", "out").get("delivered", 0) + 10)
            before = run.pids(node)
            answer = client.post(f"/nodes/{node}/restart")
            assert answer["changed"] and answer["processes"] == [f"{node}.{n}" for n in range(len(before))]

            def is_new(node: str = node, before: list[int] = before) -> bool:
                pids = run.pids(node)
                assert node != "eye" or len(pids) >= 1, "both replicas at once"
                return (
                    len(pids) == len(before)
                    and not set(pids) & set(before)
                    and told(client, node)["state"] == "running"
                )

            run.wait(is_new, what=f"another {node}")
            assert told(client, node)["restarts"] == 0, "an operator's restart is no failure"
        before = run.pids("eye")
        assert client.post("/nodes/eye/restart?replica=1")["processes"] == ["eye.1"]
        run.wait(lambda: len(run.pids("eye")) == 2 and run.pids("eye") != before, what="another eye.1")
        assert run.pids("eye")[0] == before[0]
        run.wait_delivered("eye", "out", run.edge("eye", "out")["delivered"] + 10)
        assert not [one for one in sickest(client) if one[0] == "failed"]
        assert lose_nothing(run, tmp_path) > 60


def test_a_processor_that_passes_frames_on_and_a_batch_are_restarted_without_loss(tmp_path: Path) -> None:
    nodes = careful(batch={"size": 4, "wait": "10ms"})
    nodes["look"] = {"kind": "processor", "input": "buffer", "use": "mine:Notes"}
    nodes["eye"] |= {"input": "look"}
    run = RunningPipeline(tmp_path, "demo", nodes, web={"port": 0, "token": TOKEN})
    with served(run) as client:
        for node in ("look", "eye", "look", "buffer", "look"):
            run.wait_delivered("eye", "out", run.edge("eye", "out").get("delivered", 0) + 10)
            [before] = run.pids(node)
            client.post(f"/nodes/{node}/restart")
            run.wait(functools.partial(is_another, run, node, before), what=f"another {node}")
        client.post("/nodes/look/pause")
        run.wait(lambda: told(client, "look")["state"] == "paused", what="the pause")
        client.post("/nodes/look/resume")
        run.wait_delivered("eye", "out", run.edge("eye", "out")["delivered"] + 10)
        assert lose_nothing(run, tmp_path) > 60


def test_what_cannot_be_done_is_said_in_words(tmp_path: Path, run_detektr: RunDetektr) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run) as client:
        nobody = WebClient(f"http://127.0.0.1:{client.port}")
        for deed in ("pause", "resume", "restart"):
            path = f"/nodes/eye/{deed}"
            assert nobody.ask(path, "POST").status == 401
            assert client.ask(path).headers["allow"] == "POST"
            for extra in ({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://evil.example"}):
                assert client.ask(path, "POST", headers=extra).json["code"] == "cross_site"
            reply = client.ask(f"/nodes/nobody/{deed}", "POST")
            assert (reply.status, reply.json["code"]) == (404, "no_node") and "cam, buffer, eye, out" in reply.json[
                "next"
            ]
        run.wait(lambda: told(client, "eye")["state"] == "running", what="its state")
        assert client.ask("/nodes/eye/restart?replica=7", "POST").json["code"] == "no_replica"
        assert client.ask("/nodes/eye/pause?replica=0", "POST").status == 400
        assert client.ask("/nodes/eye/pause", "POST", {"x": 1}).json["code"] == "body"
        refused = run_detektr("pause", "demo", "nobody")
        assert refused.returncode == 1 and "it has: cam, buffer, eye, out" in refused.stderr
        assert run.process is not None
        run.process.kill()
        run.process.wait()
        reply = run.wait(
            lambda: (found := client.ask("/nodes/eye/pause", "POST")).json["code"] == "supervisor_dead" and found,
            what="word of the dead supervisor",
        )
        assert reply.status == 503 and reply.json["next"]
        pid = web_pid(run)
        os.kill(pid, signal.SIGTERM)
        run.wait(lambda: is_gone(pid), what="the end of the server, which outlives a supervisor")
    missing = run_detektr("restart", "demo", "eye")
    assert missing.returncode == 1 and "Traceback" not in missing.stderr and "demo" in missing.stderr
