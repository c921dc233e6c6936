"""Many who look at once: every answer adds up, none is an error, and the run loses nothing to them."""

from __future__ import annotations

import http.client
import json
import re
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.running import RunningPipeline
from tests.process.web.client import ANSWER_S_MAX, WebClient
from tests.process.web.test_live import Stream
from tests.process.web.test_reading import CODE, TOKEN, served

VIEWERS = 10
BUSY = """
class Slow:
    def process(self, frame):
        time.sleep(0.02)
        return {"n": frame.sequence}
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE + BUSY)


class Kept:
    """A client that keeps its connection, as scrapers do."""

    def __init__(self, client: WebClient) -> None:
        self._client, self._connection = client, self._open(client)

    @staticmethod
    def _open(client: WebClient) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(client.host, client.port, timeout=ANSWER_S_MAX)

    def get(self, path: str) -> tuple[int, bytes]:
        """Return status and body; an idle connection that the server has ended is opened again."""
        headers = {"Authorization": f"Bearer {self._client.token}"}
        for tried in range(2):
            try:
                self._connection.request("GET", path, headers=headers)
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.RemoteDisconnected, ConnectionError):
                self._connection.close()
                self._connection = self._open(self._client)
                if tried:
                    raise
        raise AssertionError("unreachable")

    def close(self) -> None:
        self._connection.close()


def check_edges(edges: list[dict[str, Any]]) -> None:
    """Check the sum of each edge of an answer."""
    assert edges
    for edge in edges:
        settled = edge["delivered"] + sum(edge["dropped"].values()) + edge["dead_lettered"]
        out = edge["in_flight"] if "in_flight" in edge else edge["leased"]
        assert edge["offered"] == settled + edge["queued"] + out, edge


def check_metrics(text: str) -> None:
    """Check the sum of each edge of a scrape."""
    sums: Counter[tuple[str, str]] = Counter()
    names = "offered_total|delivered_total|dropped_total|dead_lettered_total|queued|in_flight"
    pattern = rf'^detektr_edge_({names})\{{.*?from="(\w+)",.*?to="([\w-]+)".*\}} ([0-9.e+]+)$'
    found = re.findall(pattern, text, re.MULTILINE)
    assert {name for name, _, _, _ in found} >= set(names.split("|")), text
    for name, producer, consumer, value in found:
        sums[producer, consumer] += int(float(value)) * (1 if name == "offered_total" else -1)
    assert len(sums) >= 4 and not any(sums.values()), sums


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("scrapes", "calls"), [(60, 600), pytest.param(1000, 10_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
def test_every_answer_adds_up_while_many_look(tmp_path: Path, scrapes: int, calls: int) -> None:
    nodes = {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"rate": 100}, "when_full": "drop-oldest"},
        "buffer": {"kind": "buffer", "input": "cam", "high_water_mark": 8, "guests": 24},
        "eye": {"kind": "processor", "input": "buffer", "use": "mine:Slow"},
        "quick": {"kind": "processor", "input": "buffer", "use": "mine:Takes"},
        "out": {"kind": "sink", "input": ["eye", "quick"], "use": "mine:Takes"},
    }
    run = RunningPipeline(tmp_path, "demo", nodes, web={"port": 0, "token": TOKEN})
    faults: list[str] = []
    counts: Counter[str] = Counter()
    is_over = threading.Event()

    def guarded(what: str, act: Callable[[], None]) -> threading.Thread:
        def go() -> None:
            try:
                act()
            except Exception as fault:
                faults.append(f"{what}: {fault!r}")

        thread = threading.Thread(target=go, name=what)
        thread.start()
        return thread

    with served(run) as client:

        def scrape() -> None:
            kept = Kept(client)
            for _ in range(scrapes):
                status, body = kept.get("/metrics")
                assert status == 200, body
                check_metrics(body.decode())
                counts["scrapes"] += 1
            kept.close()

        def call() -> None:
            kept = Kept(client)
            for number in range(calls // 4):
                path = ("/frames/status", "/pipeline", "/nodes/buffer", "/frames/status?node=cam", "/leases")[
                    number % 5
                ]
                status, body = kept.get(path)
                assert status == 200, (path, body)
                said = json.loads(body)
                if path == "/nodes/buffer":
                    check_edges(said["inputs"] + said["outputs"])
                elif path != "/leases":
                    check_edges(said["edges"])
                if "status" in path:
                    assert said["size"] == sum(edge["queued"] for edge in said["edges"]) <= said["max_size"]
                counts["calls"] += 1
            kept.close()

        def watch() -> None:
            kept = Kept(client)
            while not is_over.wait(0.1):
                status, body = kept.get("/nodes/cam/latest.jpg?width=16")
                assert status == 200 and body.startswith(b"\xff\xd8"), body[:200]
                counts["pictures"] += 1
            kept.close()

        def listen() -> None:
            stream = Stream(client, results="all")
            for kind, _ in stream.events():
                counts[kind] += 1
                if is_over.is_set() and kind == "result":
                    break
            stream.close()

        looking = [guarded("viewer", watch) for _ in range(VIEWERS // 2)]
        looking += [guarded("listener", listen) for _ in range(VIEWERS // 2)]
        asking = [guarded("scraper", scrape), *(guarded("caller", call) for _ in range(4))]
        for thread in asking:
            thread.join(500)
        is_over.set()
        for thread in looking:
            thread.join(30)
        assert faults == []
        assert counts["scrapes"] == scrapes and counts["calls"] == calls // 4 * 4
        assert counts["pictures"] > VIEWERS and counts["result"] > VIEWERS and counts["drop"] > 0, counts
    assert run.end()["unaccounted"] == 0
