"""One frame by its id: where it is while it lives, what became of it, or why nobody knows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.effort import alike
from tests.harness.running import RunningPipeline
from tests.process.web.client import WebClient
from tests.process.web.test_operating import COUNTS, careful
from tests.process.web.test_reading import CODE, TOKEN, served

if TYPE_CHECKING:
    from tests.conftest import RunDetektr


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE + COUNTS)


def held(client: WebClient) -> dict[str, Any]:
    """Return the oldest lease of eye, once it has one."""
    found = [one for one in client.get("/leases?node=eye") if one["edge"] == "buffer->eye" and one["frame"]]
    return dict(found[0]) if found else {}


@pytest.mark.parametrize("audit", [alike("none"), "sqlite:audit.db"])
def test_a_frame_is_found_where_it_waits_and_by_its_trail_afterwards(
    tmp_path: Path, audit: str, run_detektr: RunDetektr
) -> None:
    kept = {"to": audit, "frames": "all"} if audit != "none" else "none"
    run = RunningPipeline(tmp_path, "demo", careful(), web={"port": 0, "token": TOKEN}, audit=kept)
    with served(run) as client:
        assert WebClient(f"http://127.0.0.1:{client.port}").ask("/frames/x").status == 401
        client.post("/nodes/eye/pause")
        lease = run.wait(lambda: run.edge("buffer", "eye")["queued"] == 8 and held(client), what="a lease of eye")
        answer = client.get(f"/frames/{lease['frame']}")
        assert (answer["frame"], answer["pipeline"], answer["camera"]) == (lease["frame"], "demo", "cam")
        places = {place["edge"]: place for place in answer["places"]}
        assert places["cam->buffer"]["holder"]["node"] == "buffer"
        mine = places["buffer->eye"]
        assert (mine["state"], mine["what"], mine["doing"]) == ("leased", "frame", "waiting")
        assert mine["holder"]["pid"] == run.pids("eye")[0] and mine["since"] and mine["age_ms"] >= 0

        # It is done: only a trail knows of it now.
        client.post("/nodes/eye/resume")
        run.wait_delivered("eye", "out", run.edge("eye", "out")["delivered"] + 20)
        path = f"/pipelines/demo/frames/{lease['frame']}"
        if audit == "none":
            reply = run.wait(lambda: (one := client.ask(path)).status == 404 and one, what="its end")
            assert reply.json["code"] == "no_frame" and "keeps no audit trail" in reply.json["detail"]
            assert "frames: all" in reply.json["next"]
        else:

            def settled() -> Any:
                reply = client.ask(path)  # a row comes a moment after what it tells of
                is_known = reply.status == 200 and not reply.json["places"]
                return is_known and "delivered" in [step["what"] for step in reply.json["steps"]] and reply.json

            answer = run.wait(settled, what="its trail")
            told = run_detektr("trace", lease["frame"], "--json")
            assert answer["steps"] == json.loads(told.stdout)["steps"], told
        bad = client.ask("/frames/nonsense")
        assert (bad.status, bad.json["code"]) == (404, "no_frame") and "write its id" in bad.json["next"]
        assert client.ask("/frames/ack").status == 405, "that is no frame called ack"


def test_what_a_trail_of_lost_frames_does_not_have_was_not_lost(tmp_path: Path) -> None:
    audit = {"to": "sqlite:audit.db", "frames": "dropped"}
    run = RunningPipeline(tmp_path, "demo", careful(), web={"port": 0, "token": TOKEN}, audit=audit)
    with served(run) as client:
        client.post("/nodes/eye/pause")
        frame = run.wait(lambda: held(client), what="a lease of eye")["frame"]
        client.post("/nodes/eye/resume")
        reply = run.wait(lambda: (one := client.ask(f"/frames/{frame}")).status == 404 and one, what="its end")
        assert "`frames: dropped`" in reply.json["detail"] and "not lost" in reply.json["detail"]
