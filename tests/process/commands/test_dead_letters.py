"""`detektr dead-letters`: what a sink could not write is listed after the run, and given again to a later one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from detektr.options import Lane
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

CODE = """
import json, pathlib, time
import numpy as np

def pictures(count):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)
    while pathlib.Path("stay").exists():
        time.sleep(0.01)

class Sees:
    def process(self, frame):
        if frame.sequence == 1: raise ValueError("faulty picture")
        return {"n": frame.sequence, "raw": b"\\x00\\xff"}

class Hook:
    def write(self, event):
        if pathlib.Path("down").exists():
            raise ConnectionError("the target is down")
        event["data"]["raw"] = event["data"]["raw"].hex()
        with open("taken", "a") as taken: taken.write(json.dumps(event) + "\\n")
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)


def graph(count: int) -> dict[str, Any]:
    retry = {"backoff": "10ms..20ms", "for": "50ms"}
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": count}},
        "see": {"kind": "processor", "input": "cam", "use": "mine:Sees"},
        "hook": {"kind": "sink", "input": {"from": "see", "high_water_mark": 8}, "use": "mine:Hook", "retry": retry},
    }


def taken(folder: Path) -> list[dict[str, Any]]:
    path = folder / "taken"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("announce", ["zmq", "shm"])
def test_dead_letters_are_listed_after_their_run_and_resent_into_the_next(
    tmp_path: Path, run_detektr: RunDetektr, announce: Lane
) -> None:
    (tmp_path / "down").touch()
    with RunningPipeline(tmp_path, "shop", graph(40), announce=announce) as run:
        report = run.end(None)
    (edge,) = [edge for edge in report["edges"] if edge["to"] == "hook"]
    assert edge["dead_lettered"] == 39, run.tail()

    rows = json.loads(run_detektr("dead-letters", "list", "shop", "--json").stdout)
    events = [row for row in rows if row["kind"] == "event"]
    (frame,) = [row for row in rows if row["kind"] == "frame"]
    assert len(events) == 39 and all(row["resent"] is None for row in rows)
    listed = run_detektr("dead-letters", "list", "shop").stdout
    assert "see.0 -> hook" in listed and "the target is down" in listed and "faulty picture" in listed
    shown = run_detektr("dead-letters", "show", "shop", events[0]["id"]).stdout
    assert '"n": 0' in shown and "first failure: ConnectionError" in shown and "given up after" in shown
    shown = run_detektr("dead-letters", "show", "shop", frame["id"]).stdout
    assert ".pgm" in shown and "ValueError: faulty picture" in shown

    nothing = run_detektr("dead-letters", "resend", "shop", "--all")
    assert nothing.returncode == 1 and "no pipeline 'shop' is running" in nothing.stderr

    (tmp_path / "down").unlink()
    (tmp_path / "stay").touch()
    with RunningPipeline(tmp_path, "shop", graph(1), announce=announce) as run:
        run.wait(lambda: taken(tmp_path), what="an event of this run")
        one = run_detektr("dead-letters", "resend", "shop", events[3]["id"], frame["id"])
        assert one.returncode == 1 and "1 dead letter resent" in one.stdout, one
        assert "a frame cannot be resent" in one.stdout and "`source: " in one.stdout
        rest = run_detektr("dead-letters", "resend", "shop", "--all")
        assert (rest.returncode, rest.stdout.splitlines()[0]) == (0, "38 dead letters resent"), rest
        assert "1 of frames are left" in rest.stdout
        again = run_detektr("dead-letters", "resend", "shop", "--all")
        assert again.stdout.startswith("0 dead letters resent")
        other = run_detektr("dead-letters", "resend", "shop", events[0]["id"], "--to", "nobody")
        assert other.returncode == 1 and "no processor offers events to 'nobody' now; running: hook" in other.stdout
        run.wait(lambda: len(taken(tmp_path)) >= 40, what="all of them")
        (tmp_path / "stay").unlink()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    (edge,) = [edge for edge in report["edges"] if edge["to"] == "hook"]
    assert (edge["offered"], edge["delivered"]) == (40, 40)
    events_in = [event for event in taken(tmp_path) if "resent" in event]
    numbers = [event["data"]["n"] for event in events_in]
    assert numbers == [4, 0, *range(2, 4), *range(5, 40)], "in order"
    assert {event["resent"] for event in events_in} == {row["id"] for row in events}
    assert all(event["data"]["raw"] == "00ff" for event in taken(tmp_path)), "bytes too"
    left = json.loads(run_detektr("dead-letters", "list", "shop", "--json").stdout)
    assert [row["kind"] for row in left] == ["frame"]
    everything = json.loads(run_detektr("dead-letters", "list", "shop", "--json", "--all").stdout)
    assert sum(row["resent"] is not None for row in everything) == 39
    assert "39 that were resent are left out" in run_detektr("dead-letters", "list", "shop").stdout


@pytest.mark.thorough
def test_a_sink_that_is_down_again_gets_no_more_than_its_mark_and_what_is_left_can_be_resent_later(
    tmp_path: Path, run_detektr: RunDetektr
) -> None:
    (tmp_path / "down").touch()
    with RunningPipeline(tmp_path, "shop", graph(40)) as run:
        run.end(None)
    (tmp_path / "stay").touch()
    nodes = graph(1)
    nodes["hook"]["retry"] = {"backoff": "10ms..20ms", "for": "1h"}
    with RunningPipeline(tmp_path, "shop", nodes) as run:
        run.wait(lambda: run.status()["nodes"].get("hook", {}).get("state") == "retrying", what="an event that waits")
        done = run_detektr("dead-letters", "resend", "shop", "--all", "--wait", "500ms")
        assert done.returncode == 1 and "11 dead letters resent" in done.stdout, (
            done
        )  # a mark of 8, a window of 4, less one
        assert "the queue of hook is full" in done.stdout
        (tmp_path / "down").unlink()
        assert "28 dead letters resent" in run_detektr("dead-letters", "resend", "shop", "--all").stdout
        run.wait(lambda: len(taken(tmp_path)) >= 40, what="all of them")
        (tmp_path / "stay").unlink()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert [event["data"]["n"] for event in taken(tmp_path)] == [0, 0, *range(2, 40)]


def test_what_is_wrong_with_a_command_is_said_in_words(tmp_path: Path, run_detektr: RunDetektr) -> None:
    assert run_detektr("dead-letters", "list", "none").stdout == "none: no dead letters\n"
    missing = run_detektr("dead-letters", "show", "none", "abc")
    assert missing.returncode == 2 and "none has no dead letter 'abc'; see `detektr dead-letters list" in missing.stderr
    unnamed = run_detektr("dead-letters", "resend", "none")
    assert unnamed.returncode == 2 and "no ID is given; name some" in unnamed.stderr
    strange = run_detektr("dead-letters", "list", "../x")
    assert strange.returncode == 2 and "is not a name" in strange.stderr
