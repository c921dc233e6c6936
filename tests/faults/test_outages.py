"""A sink whose target is down: its events wait, over kills of the sink and of its producer, and arrive in order."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from detektr.memory.journal import DEAD_LETTERED
from detektr.nodes.dead_letter_spool import DeadLetterSpool, dead_letter_folder
from tests.harness.running import RunningPipeline

CODE = """
import json, pathlib
import numpy as np

def pictures(count, of=""):
    for number in range(count):
        yield np.full((48, 64), number % 250, np.uint8)

class Sees:
    def process(self, frame):
        return {"n": frame.sequence}

class Hook:
    def write(self, event):
        if pathlib.Path("down").exists():
            with open("tries", "a") as tries: tries.write(f"{event['data']['n']}\\n")
            raise ConnectionError("the target is down")
        with open("taken", "a") as taken: taken.write(json.dumps(event) + "\\n")
"""
QUICK = {"restart": {"backoff": "10ms..50ms", "limit": "99 in 1m"}}
COUNT = 120


@pytest.fixture(autouse=True)
def module(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "down").touch()


def graph(count: int = COUNT, retry: dict[str, str] | None = None, **sink: Any) -> dict[str, Any]:
    """A numbered source, a detector, and a sink whose target is down as long as there is a file of that name."""
    tried = retry or {"backoff": "20ms..100ms", "for": "1h"}
    return {
        "cam": {"kind": "capture", "source": "python:mine:pictures", "with": {"count": count}, **QUICK},
        "see": {"kind": "processor", "input": "cam", "use": "mine:Sees", "high_water_mark": COUNT, **QUICK},
        "hook": {"kind": "sink", "input": "see", "use": "mine:Hook", "retry": tried, **QUICK, **sink},
    }


def taken(folder: Path) -> list[dict[str, Any]]:
    path = folder / "taken"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def tries(folder: Path) -> list[int]:
    path = folder / "tries"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def assert_all_arrived(events: list[dict[str, Any]], count: int = COUNT) -> None:
    """Each event once, or marked, and in order."""
    numbers = [event["data"]["n"] for event in events]
    assert set(numbers) == set(range(count)) and numbers == sorted(numbers)
    seen: set[int] = set()
    for event in events:
        assert event["data"]["n"] not in seen or event["delivery_of_event"] > 1, "doubled, and not marked"
        seen.add(event["data"]["n"])


@pytest.mark.usefixtures("lane")
def test_events_outlast_an_outage_and_kills_of_the_sink_in_it_while_the_detector_goes_on(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "outage", graph(timeout="10ms")) as run:
        run.wait_delivered("cam", "see", COUNT)  # the detector has not waited for the sink
        run.wait(lambda: len(tries(tmp_path)) > 2, what="three tries")
        for _ in range(4):  # more often than `max_deliveries`
            before = len(tries(tmp_path))
            run.kill("hook")
            run.wait(lambda: len(tries(tmp_path)) > before + 1, what="tries of the successor")  # noqa: B023
        assert set(tries(tmp_path)) == {0} and not taken(tmp_path), "what is behind it waits"
        node = run.wait(lambda: (one := run.status()["nodes"]["hook"])["state"] == "retrying" and one)
        assert "ConnectionError: the target is down" in node["why"] and "since" in node["why"] and node["since"]
        (tmp_path / "down").unlink()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    events = taken(tmp_path)
    assert_all_arrived(events)
    assert events[0]["delivery_of_event"] > 5, "each failure counts, over all lives of the sink"
    assert report["nodes"]["hook"]["restarts"] == 4, "nobody takes a pause that is longer than `timeout` for a hang"


@pytest.mark.usefixtures("lane")
def test_events_outlast_an_outage_and_a_kill_of_their_producer_in_it(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "producer", graph()) as run:
        run.wait_delivered("cam", "see", COUNT)
        for _ in range(3):
            before = len(tries(tmp_path))
            run.kill("see")
            run.wait(lambda: len(tries(tmp_path)) > before + 2, what="more tries")  # noqa: B023
        run.kill("hook")
        run.kill("see")
        (tmp_path / "down").unlink()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert_all_arrived(taken(tmp_path))


def test_the_events_of_each_replica_arrive_in_their_order(tmp_path: Path) -> None:
    nodes = graph()
    nodes["see"]["replicas"] = 2
    with RunningPipeline(tmp_path, "replicas", nodes) as run:
        run.wait_delivered("cam", "see", COUNT)
        for target in (4, 12):
            run.wait(lambda: len(tries(tmp_path)) > target, what="tries")  # noqa: B023
            run.kill("hook")
        (tmp_path / "down").unlink()
        report = run.end(None)
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    events = taken(tmp_path)
    assert {event["data"]["n"] for event in events} == set(range(COUNT))
    for replica in range(2):
        numbers = [event["data"]["n"] for event in events if event["replica"] == replica]
        assert numbers == sorted(numbers) and numbers


def test_an_event_that_has_waited_for_long_enough_is_dead_lettered_with_its_first_failure(tmp_path: Path) -> None:
    nodes = graph(12, {"backoff": "10ms..20ms", "for": "100ms"})
    with RunningPipeline(tmp_path, "over", nodes) as run:
        report = run.end(None)
    (edge,) = [edge for edge in report["edges"] if edge["to"] == "hook"]
    assert (edge["dead_lettered"], edge["delivered"], report["unaccounted"]) == (12, 0, 0), run.tail()
    letters = list(DeadLetterSpool(dead_letter_folder("over"), 1 << 20).read().letters.values())
    assert len(letters) == 12, "all of them are kept, however fast they come"
    for letter in letters:
        assert letter["why"].startswith("first failure: ConnectionError: the target is down")
        assert "Traceback" in letter["why"]
        last = letter["why"].splitlines()[-1]
        assert last.startswith("ConnectionError: the target is down (mine.py:") and "`for` of `retry`" in last
        assert (letter["kind"], letter["producer"], letter["consumer"]) == ("event", "see.0", "hook")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_producer_killed_while_it_counts_a_dead_letter_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    fired = tmp_path / "fired"
    fired.mkdir()
    counts = f"arguments[1] == {DEAD_LETTERED}"
    point = {"target": "detektr.memory.journal:Journal.settle", "when": when, "call": 2, "condition": counts}
    monkeypatch.setenv("FAULT_POINTS", json.dumps({"points": {"see.0": [point] * 3}, "fired": str(fired)}))
    folders = [str(Path(__file__).with_name("points")), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
    with RunningPipeline(tmp_path, "counting", graph(12, {"backoff": "10ms..20ms", "for": "50ms"})) as run:
        report = run.end(None)
    (edge,) = [edge for edge in report["edges"] if edge["to"] == "hook"]
    assert (edge["dead_lettered"], report["unaccounted"]) == (12, 0), run.tail()
    assert (fired / "see.0").stat().st_size == 3, run.tail()
    frames = [letter["frame"] for letter in DeadLetterSpool(dead_letter_folder("counting"), 0).read().letters.values()]
    assert len(set(frames)) == 12, "one is lost"
    assert len(frames) == (15 if when == "before" else 12), "those that were killed before they counted are there twice"


def test_a_sink_in_a_long_pause_stops_in_its_drain_and_what_waits_is_dead_lettered(tmp_path: Path) -> None:
    nodes = graph(retry={"backoff": "1h..1h", "for": "10h"})
    for node in nodes.values():
        node["drain"] = "1s"
    with RunningPipeline(tmp_path, "pausing", nodes) as run:
        run.wait_delivered("cam", "see", COUNT)
        run.wait(lambda: run.status()["nodes"]["hook"]["state"] == "retrying", what="the pause")
        report = run.end(within_s=20)
    (edge,) = [edge for edge in report["edges"] if edge["to"] == "hook"]
    assert (edge["dead_lettered"], report["unaccounted"]) == (COUNT, 0), run.tail()
    tried = tries(tmp_path)
    assert tried[:2] == [0, 0], "it was tried once more when the drain began"
    assert max(Counter(tried).values()) == 2, (
        "and not again: others may have had their turn in what was left of the drain"
    )
    assert len(DeadLetterSpool(dead_letter_folder("pausing"), 1 << 20).read().letters) == COUNT


def test_a_drain_ends_a_long_pause_so_that_all_is_written_where_the_target_is_back(tmp_path: Path) -> None:
    with RunningPipeline(tmp_path, "back", graph(retry={"backoff": "1h..1h", "for": "10h"})) as run:
        run.wait_delivered("cam", "see", COUNT)
        run.wait(lambda: run.status()["nodes"]["hook"]["state"] == "retrying", what="the pause")
        (tmp_path / "down").unlink()
        report = run.end()
    assert run.exit_code == 0 and report["unaccounted"] == 0, run.tail()
    assert_all_arrived(taken(tmp_path))


def test_an_event_that_no_try_can_get_in_is_given_up_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE.replace("ConnectionError(", "__import__('detektr').ResultError("))
    with RunningPipeline(tmp_path, "never", graph(5)) as run:
        report = run.end(None)
    (edge,) = [edge for edge in report["edges"] if edge["to"] == "hook"]
    assert edge["dead_lettered"] == 5 and tries(tmp_path) == list(range(5)), run.tail()
