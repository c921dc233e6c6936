from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from detektr.edge.gathering.known_above import KnownAbove
from detektr.edge.gathering.ways import WayEdge
from detektr.memory.run_folder import RunFolder
from tests.unit.edge.gathering.way import KEY, Way


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    for path in folder.path.iterdir():
        path.unlink()
    folder.remove_if_empty()


def test_a_frame_is_known_above_as_long_as_it_stands_on_an_edge_where_branches_part(folder: RunFolder) -> None:
    forks = [WayEdge("buffer", 1, "detect"), WayEdge("buffer", 1, "pose"), WayEdge("split", 2, "pose")]
    known = KnownAbove(folder, forks)
    assert known.names() == set(), "nobody has begun"
    detect, pose = Way(folder, "buffer", "detect", below=False), Way(folder, "buffer", "pose", below=False)
    parts = [Way(folder, "split", "pose", part) for part in (0, 1)]
    beside = Way(folder, "other", "pose")
    detect.lease(0, 1)
    pose.lease(1, 2)
    parts[1].lease(3)
    beside.lease(4)
    assert known.names() == {(KEY, 0), (KEY, 1), (KEY, 2), (KEY, 3)}
    detect.finish(0, 1)
    pose.drop(5, "filtered")
    assert known.names() == {(KEY, sequence) for sequence in (0, 1, 2, 3, 5)}, "settled, and not forgotten"
    for sequence in (1, 2, 5):
        pose.edge.forget((KEY, sequence))  # type: ignore[attr-defined]
    assert known.names() == {(KEY, 0), (KEY, 1), (KEY, 3)}, "on one edge is enough"
    known.close()
    for one in (detect, pose, beside, *parts):
        one.close()
