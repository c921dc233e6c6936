"""The checks of a chaos run find what they are there for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.harness.chaos import TARGETS, Promise, check_ledger, check_notes, disorder
from tests.harness.checked import Note, partly_joined


def note(sequence: int, delivery: int = 1, *, camera: str = "door", pid: int = 1, **more: Any) -> Note:
    return Note(camera, sequence, delivery, True, pid, sequence, **more)


def report(**edge: Any) -> dict[str, Any]:
    told = {"from": "buffer", "to": "merge", "delivered": 2, "dropped": {}, "dead_lettered": 0, "queued": 0}
    return {"unaccounted": 0, "edges": [told | {"in_flight": 0} | edge]}


def test_frames_behind_a_later_one_are_found_of_a_camera_or_of_a_process_unless_they_are_marked() -> None:
    notes = [note(0), note(2, pid=2), note(1), note(1, camera="yard"), note(3, pid=2)]
    assert disorder(notes, is_of_camera=False) == []
    assert disorder(notes, is_of_camera=True) == ["process 1 saw 1 of door after 2"]
    assert disorder([note(2), note(1, 2), note(3)], is_of_camera=True) == []
    assert disorder([note(1), note(3, 2), note(2)], is_of_camera=True) != [], "it began before an earlier one"


def test_joined_frames_without_a_branch_or_with_a_gap_too_many_are_found() -> None:
    whole = note(0, nodes=["detect", "track", "pose"])
    gap = note(1, nodes=["detect", "track"], missing={"pose": "filtered"})
    silent, both = note(2, nodes=["track"]), note(3, nodes=["track", "pose"], missing={"pose": "gone"})
    assert partly_joined([whole, gap, silent, both], ("track", "pose")) == [silent, both]
    promise = Promise(branches=("track", "pose"))
    assert check_notes("merge", [whole, whole._replace(sequence=1)], report(), promise) == []
    [found] = check_notes("merge", [whole, gap], report(), promise)
    assert "1 came without the results of a branch" in found


@pytest.mark.parametrize(
    ("notes", "words"),
    [
        ([note(0)], "2 delivered, 1 worked on"),
        ([note(0), note(0), note(1)], "1 worked on twice and not marked"),
        ([note(0), note(1)._replace(is_right=False)], "1 frames with another frame's pixels"),
        ([note(1), note(0)], "process 1 saw 0 of door after 1"),
    ],
)
def test_what_was_lost_doubled_wrong_or_disordered_is_found(notes: list[Note], words: str) -> None:
    [found] = check_notes("merge", notes, report(), Promise(order="process"))
    assert words in found


@pytest.mark.parametrize(
    ("edge", "words"),
    [
        ({"dropped": {"gone": 1}}, "lost between buffer and merge"), ({"dead_lettered": 1}, "1 dead"),
        ({"from": "yard", "dropped": {"ring_full": 1}}, "lost between yard and merge"), ({"queued": 1}, "not drained"),
    ],
)  # fmt: skip
def test_what_the_ledger_says_was_lost_is_found(edge: dict[str, Any], words: str) -> None:
    assert check_ledger(report(**{"from": "door", "dropped": {"capture_died": 3}}), ("door", "yard")) == []
    [found] = check_ledger(report(**edge), ("door", "yard"))
    assert words in found


@pytest.mark.parametrize("name", TARGETS)
def test_each_target_names_its_own_nodes(name: str) -> None:
    target = TARGETS[name]
    nodes = target.nodes({consumer: Path(consumer) for consumer in target.promises})
    assert set(target.victims) == set(nodes)
    assert {*target.captures, *target.promises} <= set(nodes)
    for producer, consumer in target.ways:
        inputs = nodes[consumer]["input"]
        assert producer in (inputs if isinstance(inputs, list) else [inputs])
