"""Results are thinned by frame, for each node and camera; what was left out is counted."""

from __future__ import annotations

from typing import Any

from detektr.web.live.thinning import EVENTS_MAX, KEYS_MAX, Thinner

MS = 1_000_000


def result(frame: int, node: str = "eye", camera: str = "door", **more: Any) -> dict[str, Any]:
    return {"node": node, "camera": camera, "frame": f"f{frame}", **more}


def test_the_newest_frame_is_told_and_those_before_it_are_counted() -> None:
    thinner = Thinner(100 * MS)
    assert thinner.due_ns() is None and thinner.take(1000 * MS) == []
    thinner.put(result(1, n=1))
    thinner.put(result(1, n=2))
    assert thinner.take(1000 * MS) == [result(1, n=1, skipped=0), result(1, n=2, skipped=0)], "a list is one frame's"
    for frame in (2, 3, 4):
        thinner.put(result(frame))
    assert thinner.due_ns() == 1100 * MS
    assert thinner.take(1099 * MS) == []
    assert thinner.take(1100 * MS) == [result(4, skipped=2)]
    assert thinner.due_ns() is None


def test_nodes_and_cameras_do_not_thin_each_other() -> None:
    thinner = Thinner(100 * MS)
    for one in (result(1), result(1, camera="yard"), result(1, node="count")):
        thinner.put(one)
    assert len(thinner.take(1000 * MS)) == 3


def test_what_waits_is_bounded() -> None:
    thinner = Thinner(100 * MS)
    for number in range(2 * KEYS_MAX):
        thinner.put(result(number, camera=f"c{number}"))
    for number in range(2 * EVENTS_MAX):
        thinner.put(result(7, camera="last", n=number))
    found = thinner.take(1000 * MS)
    assert len(found) == KEYS_MAX - 1 + EVENTS_MAX
    assert found[-1]["n"] == EVENTS_MAX - 1
