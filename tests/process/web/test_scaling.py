"""A processor that is scaled over HTTP and from the shell: who may, what is refused, and what everybody says of it."""

from __future__ import annotations

import functools
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_live import Stream
from tests.process.web.test_operating import COUNTS, careful, lose_nothing, sickest, told
from tests.process.web.test_reading import CODE, TOKEN, graph, served

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

WEB = {"port": 0, "token": TOKEN}


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE + COUNTS)


def is_told_everywhere(client: WebClient, run: RunningPipeline, replicas: int) -> bool:
    """Whether status, the server and the metrics say that so many replicas are at work, and find nothing wrong."""
    node = told(client, "eye")
    lines = client.ask("/metrics").body.decode().splitlines()
    up = [line.rpartition(" ")[2] for line in lines if line.startswith("detektr_node_up{") and 'node="eye"' in line]
    count = [line.rpartition(" ")[2] for line in lines if line.startswith("detektr_node_replicas{") and '"eye"' in line]
    return (
        (node["state"], node["replicas"], len(node["pids"])) == ("running", replicas, replicas)
        and len(run.pids("eye")) == replicas
        and (up, count) == (["1.0"] * replicas, [f"{replicas}.0"])
    )


def test_a_node_is_scaled_up_and_down_and_everybody_says_so(tmp_path: Path, run_detektr: RunDetektr) -> None:
    audit = tmp_path / "audit.db"
    run = RunningPipeline(tmp_path, "demo", careful(max_replicas=3), web=WEB, audit=f"sqlite:{audit}")
    with served(run) as client:
        run.wait_delivered("eye", "out", 10)
        assert is_told_everywhere(client, run, 1) and told(client, "eye")["max_replicas"] == 3
        stream = Stream(client)
        stream.wait("reset")
        answer = client.post("/nodes/eye/scale", {"replicas": 3})
        processes = ["eye.0", "eye.1", "eye.2"]
        assert answer | {"state": ""} == {
            **{"node": "eye", "did": "scale", "processes": processes, "changed": True, "state": "", "replicas": 3}
        }
        event = stream.wait("operator")
        assert (event["did"], event["replicas"]) == ("scale", 3)
        stream.close()
        run.wait(functools.partial(is_told_everywhere, client, run, 3), what="3 replicas")
        assert not client.post("/pipelines/demo/nodes/eye/scale", {"replicas": 3})["changed"]
        run.wait_delivered("eye", "out", run.edge("eye", "out")["delivered"] + 30)
        done = run_detektr("scale", "demo", "eye", "1")
        assert done.returncode == 0 and done.stdout.startswith("eye is scaled to 1 replica; "), done
        run.wait(functools.partial(is_told_everywhere, client, run, 1), what="1 replica")
        done = run_detektr("scale", "demo", "eye", "1")
        assert (done.returncode, done.stdout) == (0, "eye has 1 replica, as before\n")
        assert told(client, "eye")["restarts"] == 0
        codes = {code for code, _ in sickest(client)}
        assert not codes & {"failed", "hung", "stalled"}, codes
        assert not {reason["code"] for reason in client.ask("/ready").json["reasons"]} & {"failed", "hung", "stalled"}
        client.post("/nodes/eye/scale", {"replicas": 2})
        run.wait(functools.partial(is_told_everywhere, client, run, 2), what="2 replicas")
        run.wait_delivered("eye", "out", run.edge("eye", "out")["delivered"] + 30)
        assert lose_nothing(run, tmp_path) > 60
    with closing(sqlite3.connect(audit)) as store:
        rows = [
            (event, json.loads(data)) for event, data in store.execute("SELECT event, data FROM records ORDER BY id")
        ]
    scaled = [(data["before"], data["replicas"]) for event, data in rows if event == "NodeScaled"]
    assert scaled == [(1, 3), (3, 1), (1, 2)]
    asked = [data["to"] for event, data in rows if event == "OperatorActed"]
    assert asked == [["eye.1", "eye.2"], ["eye.2", "eye.1"], ["eye.1"]]


def test_what_cannot_be_scaled_is_refused_in_words(tmp_path: Path, run_detektr: RunDetektr) -> None:
    run = RunningPipeline(tmp_path, "demo", graph(max_replicas=2), web=WEB)
    with served(run) as client:
        run.wait_delivered("eye", "out", 5)
        nobody = WebClient(f"http://127.0.0.1:{client.port}")
        assert nobody.ask("/nodes/eye/scale", "POST", {"replicas": 2}).status == 401
        other = {"Sec-Fetch-Site": "cross-site"}
        assert client.ask("/nodes/eye/scale", "POST", {"replicas": 2}, other).json["code"] == "cross_site"
        assert client.ask("/nodes/eye/scale").headers["allow"] == "POST"
        for body in ({}, {"replicas": "2"}, {"replicas": True}, {"replicas": 2, "x": 1}, {"replicas": 1.5}):
            reply = client.ask("/nodes/eye/scale", "POST", body)
            assert (reply.status, reply.json["code"]) == (400, "body"), reply
        for node in ("cam", "buffer", "out"):
            reply = client.ask(f"/nodes/{node}/scale", "POST", {"replicas": 2})
            assert (reply.status, reply.json["code"]) == (422, "no_scale")
            assert "always has 1 process" in reply.json["detail"]
        reply = client.ask("/nodes/eye/scale", "POST", {"replicas": 3})
        assert reply.status == 422 and "`max_replicas: 2`" in reply.json["detail"]
        assert "write `max_replicas: 3`" in reply.json["next"]
        assert client.ask("/nodes/nobody/scale", "POST", {"replicas": 2}).json["code"] == "no_node"
        refused = run_detektr("scale", "demo", "eye", "0")
        assert refused.returncode == 1 and "1 to 2" in refused.stderr and "Traceback" not in refused.stderr
        assert told(client, "eye")["replicas"] == 1
        run.end()
    gone = run_detektr("scale", "demo", "eye", "2")
    assert gone.returncode == 1 and "demo does not run" in gone.stderr
