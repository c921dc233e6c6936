"""A node of the kind `pull` that an operator pauses and restarts: it gives out nothing new, and loses nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.process.web.test_operating import told
from tests.process.web.test_pull_node import ack, graph, module, pipeline, served, take

__all__ = ["module"]  # the fixture that writes the code of the cameras


@pytest.mark.thorough
@pytest.mark.usefixtures("module")
def test_a_paused_pull_gives_out_nothing_and_takes_acks(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph())
    with served(run) as client:
        before = take(client, 2)
        client.post("/nodes/pull/pause")
        run.wait(lambda: told(client, "pull")["state"] == "paused", what="the pause")
        asked = client.get("/frames/dequeue?count=5&wait=1")
        assert asked["frames"] == []
        assert ack(client, before) == ["acked", "acked"]
        client.post("/nodes/pull/resume")
        after = take(client, 2)
        assert [one["sequence"] for one in after] == [2, 3]
        assert [one["delivery"] for one in after] == [1, 1]


@pytest.mark.usefixtures("module")
def test_what_is_out_stays_out_over_an_orderly_restart(tmp_path: Path) -> None:
    run = pipeline(tmp_path, graph())
    with served(run) as client:
        before = take(client, 3)
        (pid,) = run.pids("pull")
        client.post("/nodes/pull/restart")
        run.wait(lambda: [other for other in run.pids("pull") if other != pid], what="a successor of pull")
        after = take(client, 2)
        assert [one["sequence"] for one in after] == [3, 4]
        assert ack(client, before + after) == ["acked"] * 5
