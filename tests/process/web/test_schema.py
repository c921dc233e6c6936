"""Whatever the description allows, and more: schemathesis asks every endpoint; each answer is one that is described."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis.strategies import just
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_reading import CODE, TOKEN, graph, served

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
ENDLESS = "/events"
CALL_S_MAX = 20
NODES = ("cam", "buffer", "eye", "out", "last")


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


@contextmanager
def asked(folder: Path) -> Iterator[tuple[RunningPipeline, WebClient]]:
    """Run a pipeline that somebody will ask for everything."""
    run = RunningPipeline(folder, "demo", graph(), web={"port": 0, "token": TOKEN}, audit="sqlite:audit.db")
    with served(run) as client:
        run.wait_delivered("eye", "out", 5)
        yield run, client


def ask_all(url: str, description: dict[str, Any], headers: dict[str, str], examples: int) -> dict[str, set[int]]:
    """Ask every operation so many times; returns the statuses of each, having checked every answer."""
    found: dict[str, set[int]] = {}
    for result in schemathesis.openapi.from_dict(description).get_all_operations():
        assert isinstance(result, Ok), result
        operation = result.ok()
        if operation.path.endswith(ENDLESS):
            continue
        statuses = found.setdefault(f"{operation.method.upper()} {operation.path}", set())
        ask_once = functools.partial(_ask, url, headers, statuses, itertools.cycle(NODES))

        def ask(case: Any, ask_once: Callable[[Any], None]) -> None:
            ask_once(case)

        settings(max_examples=examples)(given(case=operation.as_strategy(), ask_once=just(ask_once))(ask))()
    return found


def _ask(url: str, headers: dict[str, str], statuses: set[int], nodes: Iterator[str], case: Any) -> None:
    """Ask once, mostly about what there is, and check the answer."""
    if "pipeline" in (case.path_parameters or {}) and next(nodes) != "last":
        case.path_parameters["pipeline"] = "demo"
    if "name" in (case.path_parameters or {}) and (node := next(nodes)) != "last":
        case.path_parameters["name"] = node
    if case.query and "wait" in case.query:
        case.query["wait"] = 0
    answer = case.call(base_url=url, headers=headers, timeout=CALL_S_MAX)
    statuses.add(answer.status_code)
    assert answer.status_code != 500, answer.text
    case.validate_response(answer, checks=CHECKS)


@pytest.mark.parametrize("examples", [3, pytest.param(40, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_every_answer_is_described_and_none_is_a_fault(tmp_path: Path, examples: int) -> None:
    with asked(tmp_path) as (run, client):
        description = client.get("/openapi.json")
        url = f"http://127.0.0.1:{client.port}"
        found = ask_all(url, description, {"Authorization": f"Bearer {TOKEN}"}, examples)
        assert len(found) > 40 and all(found.values())
        good = [place for place, statuses in found.items() if 200 in statuses]
        assert {"GET /pipeline", "GET /frames/status", "POST /nodes/{name}/pause", "POST /frames/ack"} <= set(good)
        assert client.get("/ping") == {"ok": True}
        for node in NODES[:-1]:
            client.post(f"/nodes/{node}/resume")
        run.wait(lambda: all(one["state"] == "running" for one in run.status()["nodes"].values()), what="all at work")
    assert run.end()["unaccounted"] == 0


def untouched(run: RunningPipeline) -> None:
    """Check that nobody has changed anything in a run."""
    status = run.status()
    assert {edge["to"] for edge in status["edges"]} == {"buffer", "eye", "out"}, "somebody pulls"
    assert not [edge for edge in status["edges"] if edge["dropped"].get("cleared")]
    assert {node["state"] for node in status["nodes"].values()} == {"running"}


@pytest.mark.thorough
def test_nothing_changes_without_the_token_or_for_another_site(tmp_path: Path) -> None:
    with asked(tmp_path) as (run, client):
        description = client.get("/openapi.json")
        url, known = f"http://127.0.0.1:{client.port}", {"Authorization": f"Bearer {TOKEN}"}
        pids = {node: facts["pids"] for node, facts in run.status()["nodes"].items()}
        for headers in (
            {},
            {"Authorization": "Bearer not-the-token-at-all"},
            {**known, "Sec-Fetch-Site": "cross-site"},
            {**known, "Sec-Fetch-Site": "same-site"},
            {**known, "Origin": "https://evil.example"},
            {**known, "Host": "evil.example"},
        ):
            found = ask_all(url, description, headers, 2)
            changing = [place for place in found if place.startswith("POST ") or "dequeue" in place]
            assert len(changing) > 10
            for place in changing:
                allowed = {400, 401, 403, 404, 421} if "session" not in place else {200, 400, 401, 403, 421}
                assert found[place] <= allowed, (headers, place, found[place])
                if "session" not in place:
                    assert found[place] & {401, 403, 421}, (headers, place, found[place])
            untouched(run)
        assert {node: facts["pids"] for node, facts in run.status()["nodes"].items()} == pids, "somebody restarted one"
    assert run.end()["unaccounted"] == 0
