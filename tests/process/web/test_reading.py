"""The web server of a run: what it answers, to whom, and how long it lives."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient

if TYPE_CHECKING:
    from tests.conftest import WaitUntil

TOKEN = "a-token-for-the-tests"
PICTURES = """
import time
import numpy as np


def pictures(rate=40):
    begun = time.monotonic()
    for count in range(100_000):
        time.sleep(max(0.0, begun + count / rate - time.monotonic()))
        yield np.full((16, 16, 3), count % 256, np.uint8)
"""
"""A source whose pictures are as bright as their number says."""
CODE = (
    PICTURES
    + """

class Takes:
    def process(self, frame):
        return {"n": frame.sequence}

    def write(self, event):
        pass


class Hangs:
    def process(self, frame):
        time.sleep(1000)
"""
)


def graph(use: str = "mine:Takes", **more: Any) -> dict[str, Any]:
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "when_full": "drop-oldest"},
        "buffer": {"kind": "buffer", "input": "cam", "high_water_mark": 8, "guests": 24},
        "eye": {"kind": "processor", "input": "buffer", "use": use, **more},
        "out": {"kind": "sink", "input": "eye", "use": "mine:Takes"},
    }


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


@contextmanager
def served(run: RunningPipeline, token: str | None = TOKEN) -> Iterator[WebClient]:
    """Run a pipeline and return a client of its server."""
    with run:
        url = run.wait(lambda: run.status().get("web"), what="the server's address")
        run.wait_delivered("cam", "buffer", 1)
        yield WebClient(url, token)


def web_pid(run: RunningPipeline) -> int:
    """Return the process of a run's server, which holds a lock with its number."""
    lock = Path(os.environ["DETEKTR_STATE_DIR"]) / run.name / "web.lock"
    return int(run.wait(lambda: lock.exists() and lock.read_text(), what="the server's lock"))


def wait_successor(run: RunningPipeline, pid: int) -> None:
    """Wait for the server that follows the process `pid`."""
    run.wait(lambda: web_pid(run) != pid, what="another server")


def is_gone(pid: int) -> bool:
    """Whether a process has ended, whether or not somebody has waited for it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_run_tells_what_it_does_and_only_who_may_sees_more(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0, "token": TOKEN})
    with served(run, None) as anybody:
        knowing = WebClient(f"http://127.0.0.1:{anybody.port}", TOKEN)
        assert anybody.get("/ping") == {"ok": True}
        run.wait(lambda: anybody.ask("/ready").status == 200, what="readiness")
        assert anybody.get("/healthz")["healthy"]
        assert anybody.get("/pipelines") == [{"name": "demo", "url": "/pipelines/demo/pipeline"}]
        whole = anybody.get("/pipelines/demo/pipeline")
        assert whole["name"] == "demo" and whole["run"] == run.status()["run"] and whole["sickest"] == []
        assert [node["name"] for node in whole["nodes"]] == ["cam", "buffer", "eye", "out"]
        assert anybody.get("/nodes/buffer")["inputs"][0]["from"] == "cam"
        assert anybody.get("/runs")[-1]["state"] == "running"
        assert {"sickest", "evidence", "window"} <= anybody.get("/why").keys()
        status = anybody.get("/frames/status")
        assert status["max_size"] == sum(edge["mark"] for edge in status["edges"])
        for edge in status["edges"]:
            settled = edge["delivered"] + sum(edge["dropped"].values()) + edge["dead_lettered"]
            assert edge["offered"] == settled + edge["queued"] + edge["leased"]
        described = anybody.get("/openapi.json")
        assert described["openapi"] == "3.1.0" and "/pipelines/{pipeline}/frames/status" in described["paths"]

        # What the processes wrote is for who knows the token.
        refused = anybody.ask("/logs")
        assert refused.status == 401 and refused.headers["content-type"] == "application/problem+json"
        assert {"type", "title", "status", "detail", "code", "next"} == refused.json.keys()
        assert "buffer.0: running" in knowing.ask("/logs?node=buffer").body.decode()
        assert WebClient(f"http://127.0.0.1:{anybody.port}", "x" * 20).ask("/logs").status == 401
        assert anybody.ask("/pipeline", headers={"Host": "evil.example"}).json["code"] == "host"
        assert anybody.ask("/pipeline", headers={"Sec-Fetch-Site": "cross-site"}).status == 403
        assert anybody.ask("/metrics", headers={"Host": "evil.example"}).status == 200

        # A browser's session stands for the token.
        assert anybody.ask("/session", "POST", {"token": "x" * 20}).status == 401
        began = anybody.ask("/session", "POST", {"token": TOKEN})
        cookie = began.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
        assert anybody.ask("/logs", headers={"Cookie": cookie.partition(";")[0]}).status == 200

        # What is not there, is said.
        for path, code in (("/nope", "no_path"), ("/nodes/nobody", "no_node"), ("/pipelines/x/ready", "no_pipeline")):
            assert (anybody.ask(path).status, anybody.ask(path).json["code"]) == (404, code)
        assert anybody.ask("/pipeline", "POST").headers["allow"] == "GET"
        assert anybody.ask("/frames/status?node=%2e%2e").status == 400
        assert anybody.ask("/pipeline?run=nope-nope").status == 400
        assert anybody.ask("/pipeline?run=20000101").status == 404

        # The counts under the old names are the ledger's own, whoever asks first.
        text = anybody.ask("/metrics").body.decode()
        [consumed] = re.findall(r"^frame_buffer_consumer_frames_consumed_total\{.*\} (\d+)", text, re.MULTILINE)
        [delivered] = re.findall(r'^detektr_edge_delivered_total\{from="buffer".*\} (\d+)', text, re.MULTILINE)
        assert consumed == delivered and int(consumed) > 0
        pid = web_pid(run)
    assert run.end()["unaccounted"] == 0
    assert is_gone(pid), "the server outlives a run that has ended"


def test_size_is_what_is_really_queued_while_a_node_hangs(tmp_path: Path) -> None:
    nodes = graph("mine:Hangs", drain="300ms", timeout="60s")
    run = RunningPipeline(tmp_path, "demo", nodes, web={"port": 0, "token": TOKEN})
    with served(run) as client:
        run.wait(lambda: client.get("/frames/status")["edges"][0]["dropped"], what="drops")
        status = client.get("/frames/status")
        [edge] = status["edges"]
        assert status["size"] == edge["queued"] == edge["mark"] == status["max_size"], "the old lie"
        [lease] = [one for one in client.get("/leases?node=eye") if one["doing"] == "working"]
        assert lease["edge"] == "buffer->eye" and lease["holder"]["node"] == "eye" and lease["age_ms"] > 0
        assert lease["holder"]["pid"] == run.pids("eye")[0]
        reply = run.wait(
            lambda: (found := client.ask("/ready")).status == 503 and found.json["reasons"] and found,
            what="the reason why it is not ready",
        )
        assert {"losing", "hung", "stalled"} & {reason["code"] for reason in reply.json["reasons"]}
        assert all(reason["next"] and reason["text"] for reason in reply.json["reasons"])


def test_the_server_outlives_a_killed_supervisor_and_the_next_run_ends_it(
    tmp_path: Path, wait_until: WaitUntil
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": port, "token": TOKEN}).start()
    client = WebClient(f"http://127.0.0.1:{port}", TOKEN)
    run.wait_delivered("cam", "buffer", 20)
    ours = run.status()["run"]
    pid = web_pid(run)
    assert run.process is not None
    run.process.kill()
    run.process.wait()

    def dead() -> bool:
        reply = client.ask("/ready")
        return reply.status == 503 and reply.json["reasons"][0]["code"] == "supervisor_dead"

    wait_until(dead, 20, "a server that says that the supervisor is dead")
    wait_until(lambda: not run.pids("cam"), 20, "the end of the nodes")
    wait_until(dead, 20, "the same when nobody is left")
    assert client.ask("/pipeline").json["run"] == ours
    assert client.get("/why?run=last")["sickest"][0]["code"] == "supervisor_dead"
    assert not is_gone(pid)

    # The port is free for the next run, which has a server of its own.
    with served(RunningPipeline(tmp_path, "demo", graph(), web={"port": port, "token": TOKEN})) as client:
        assert is_gone(pid)
        assert client.get("/pipeline")["run"] != ours


@pytest.mark.thorough
def test_a_killed_server_is_started_again_on_its_port(tmp_path: Path) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(), web={"port": 0})
    with served(run) as client:
        assert client.get("/ping") == {"ok": True}
        token = (Path(os.environ["DETEKTR_STATE_DIR"]) / "demo" / "web.token").read_text().strip()
        first = web_pid(run)
        os.kill(first, signal.SIGKILL)
        wait_successor(run, first)
        assert client.get("/ping") == {"ok": True}
        assert WebClient(f"http://127.0.0.1:{client.port}", token).ask("/logs").status == 200, "another token"
        assert token not in run.tail()


def test_one_server_beside_two_pipelines_and_none(tmp_path: Path, wait_until: WaitUntil) -> None:
    command = [sys.executable, "-m", "detektr", "web", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "DETEKTR_WEB_TOKEN": TOKEN}
    ) as server:
        try:
            assert server.stdout is not None
            said = server.stdout.readline()
            client = WebClient(said.split()[2].rstrip(";"), TOKEN)
            assert TOKEN not in said
            assert client.ask("/pipeline").json["code"] == "no_pipeline"
            assert client.ask("/ready").status == 503 and client.get("/pipelines") == []
            for folder in ("a", "b"):
                (tmp_path / folder).mkdir()
                (tmp_path / folder / "mine.py").write_text(CODE)
            with (
                RunningPipeline(tmp_path / "a", "one", graph()) as one,
                RunningPipeline(tmp_path / "b", "two", graph()) as two,
            ):
                one.wait_delivered("cam", "buffer", 1)
                two.wait_delivered("cam", "buffer", 1)
                asked = client.ask("/frames/status")
                assert asked.status == 409 and asked.json["pipelines"] == ["one", "two"]
                assert client.get("/pipelines/two/frames/status")["pipeline"] == "two"
                two.end()
                wait_until(lambda: client.ask("/frames/status").status == 200, what="one that is left")
                assert client.get("/frames/status")["pipeline"] == "one"
        finally:
            server.terminate()
    assert server.returncode == 0


def ended(client: socket.socket) -> bool:
    """Wait for the end of a connection; False: it does not come within the socket's time."""
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.thorough
def test_who_sends_half_a_request_keeps_out_nobody(tmp_path: Path, wait_until: WaitUntil) -> None:
    command = [sys.executable, "-m", "detektr", "web", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            client = WebClient(server.stdout.readline().split()[2].rstrip(";"))
            clients = [socket.create_connection((client.host, client.port)) for _ in range(40)]
            for each in clients:
                each.sendall(b"GET /ping HTTP/1.1\r\n")
            assert client.get("/ping") == {"ok": True}
            clients[-1].settimeout(20)
            assert ended(clients[-1]), "a connection that says nothing is never ended"
            for each in clients:
                each.close()
            long = client.ask("/ping", headers={"X-Long": "x" * 20_000})
            assert long.status in (400, 431)
            assert client.ask("/session", "POST", b"{" + b" " * 200_000).status == 413
            assert client.ask("/session", "POST", b"[1]").json["code"] == "body"
        finally:
            server.terminate()


def test_a_wrong_web_section_is_refused_in_words_and_without_its_token(tmp_path: Path, run_detektr: Any) -> None:
    text = {"name": "demo", "nodes": graph(), "web": {"port": 99999, "token": "secret-7", "open": ["all"], "prot": 1}}
    (tmp_path / "pipeline.yaml").write_text(json.dumps(text))
    done = run_detektr("validate")
    assert done.returncode == 2 and "secret-7" not in done.stdout + done.stderr
    for said in ("`port` is 99999", "a text of 8 characters", "`open`", "unknown key 'prot'"):
        assert said in done.stderr, done.stderr
