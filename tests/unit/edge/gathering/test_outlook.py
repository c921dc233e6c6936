"""What may still come to a node, by journals that lie in files, as edges in this process write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from detektr.edge.gathering.outlook import Outlook
from detektr.edge.gathering.ways import WayEdge
from detektr.edge.tombstone_edge import TombstoneEdge
from detektr.memory.journal_reader import DEAD_LETTERED, DELIVERED
from detektr.memory.run_folder import RunFolder
from tests.unit.edge.gathering.way import KEY, Way

Open = Callable[..., Way]


@pytest.fixture
def folder(shm_dir: Path) -> Iterator[RunFolder]:
    folder = RunFolder("demo")
    folder.make()
    yield folder
    for path in folder.path.iterdir():
        path.unlink()
    folder.remove_if_empty()


@pytest.fixture
def way(folder: RunFolder) -> Iterator[Open]:
    """Yield a function that makes an edge; all are closed at the end."""
    made: list[Way] = []

    def opened(producer: str, consumer: str, part: int = 0, **options: Any) -> Way:
        made.append(Way(folder, producer, consumer, part, **options))
        return made[-1]

    yield opened
    for one in made:
        one.close()


def chain(parts: int = 1) -> tuple[WayEdge, ...]:
    """The edges of camera -> buffer -> detect (replicas) -> track."""
    return (
        WayEdge("camera", 1, "buffer", capture="door"),
        WayEdge("buffer", 1, "detect", is_last_in_order=True),
        WayEdge("detect", parts, "track"),
    )


def fork() -> tuple[WayEdge, ...]:
    """The edges of a camera that detect and pose read, whom merge joins; merge reads the camera too."""
    return (
        WayEdge("camera", 1, "detect", capture="door", is_last_in_order=True),
        WayEdge("camera", 1, "pose", capture="door", is_last_in_order=True),
        WayEdge("camera", 1, "merge", capture="door", is_last_in_order=True),
        WayEdge("detect", 1, "merge"),
        WayEdge("pose", 1, "merge"),
    )


@pytest.fixture
def outlook(folder: RunFolder, request: pytest.FixtureRequest) -> Iterator[Outlook]:
    """Yield one of `chain`, unless the parameter says the node and its ways."""
    node, ways = getattr(request, "param", ("track", chain()))
    outlook = Outlook(folder, node, ways)
    yield outlook
    outlook.close()


def pending(outlook: Outlook, first: int = 0, last: int = 99, key: int = KEY) -> set[int]:
    """Look anew, and ask."""
    outlook.look()
    return outlook.pending(key, first, last)


def outcome(outlook: Outlook, branch: str, sequence: int) -> str:
    outlook.look()
    return outlook.outcome(branch, "door", (KEY, sequence))


def test_what_is_queued_or_leased_above_may_come_of_the_stream_and_sequences_that_are_asked_for(
    way: Open, outlook: Outlook
) -> None:
    buffer = way("buffer", "detect", below=False)
    buffer.lease(0, 1, 2, 3)
    buffer.lease(2, key=9)
    assert pending(outlook) == {0, 1, 2, 3}
    assert pending(outlook, 1, 3) == {1, 2}
    assert pending(outlook, key=9) == {2} and pending(outlook, key=8) == set()
    buffer.finish(0, 2)
    buffer.fail(3)
    assert pending(outlook) == {1}, "neither what was delivered comes, nor what was dead-lettered"


def test_what_has_come_is_pending_until_it_is_settled_and_what_an_edge_below_dropped_is_not(
    way: Open, outlook: Outlook
) -> None:
    buffer, detect = way("buffer", "detect", below=False), way("detect", "track")
    buffer.lease(0, 1, 2, 3)
    detect.lease(0, 1)
    detect.drop(2, "queue_full")
    assert pending(outlook) == {3}, "a drop of all takes what is leased too"
    detect.lease(3)
    assert pending(outlook) == {3}
    detect.finish(3)
    assert pending(outlook) == set(), "its tombstone says so, though it is leased above until its producer has seen it"


@pytest.mark.parametrize("outlook", [("track", chain(parts=2))], indirect=True)
def test_a_frame_that_is_live_on_one_part_may_come_whatever_another_part_says(way: Open, outlook: Outlook) -> None:
    way("buffer", "detect", below=False).lease(0, 1)
    first, second = way("detect", "track", 0), way("detect", "track", 1)
    first.drop(0, "gone")
    second.lease(0)
    first.lease(1)
    assert pending(outlook) == {0, 1}
    second.finish(0)
    assert pending(outlook) == {1}


@pytest.mark.parametrize("outlook", [("merge", fork())], indirect=True)
def test_a_frame_may_come_as_long_as_one_of_its_ways_is_open(way: Open, outlook: Outlook) -> None:
    way("camera", "detect", below=False).lease(0)
    way("camera", "pose", below=False).lease(0)
    detect, pose = way("detect", "merge"), way("pose", "merge")
    detect.drop(0, "filtered")
    assert pending(outlook) == {0}
    pose.drop(0, "filtered")
    assert pending(outlook) == set()


def test_one_look_is_one_moment(way: Open, outlook: Outlook) -> None:
    buffer = way("buffer", "detect", below=False)
    buffer.lease(0)
    assert pending(outlook) == {0}
    buffer.finish(0)
    assert outlook.pending(KEY, 0, 9) == {0}, "the journals are read once between two looks"
    assert pending(outlook) == set()


def test_where_there_are_no_journals_yet_nothing_is_known_to_come(way: Open, outlook: Outlook) -> None:
    assert pending(outlook) == set()
    way("buffer", "detect", below=False).lease(0)
    assert pending(outlook) == {0}


def test_a_journal_whose_name_is_gone_is_opened_anew(way: Open, outlook: Outlook) -> None:
    old = way("buffer", "detect", below=False)
    old.lease(0)
    assert pending(outlook) == {0}
    old.path.unlink()
    assert pending(outlook) == set()
    way("buffer", "detect", below=False).lease(5)
    assert pending(outlook) == {5}


@pytest.mark.parametrize("outlook", [("merge", fork())], indirect=True)
def test_why_a_branch_does_not_bring_a_frame_is_what_the_edge_says_that_ended_it(way: Open, outlook: Outlook) -> None:
    cut, above, below = way("camera", "merge", below=False), way("camera", "pose", below=False), way("pose", "merge")
    cut.drop(0, "thinned")
    assert outcome(outlook, "camera", 0) == "thinned"
    assert outcome(outlook, "pose", 0) == "", "nobody on its way knows the frame: it may come"
    above.lease(0, 1, 2, 3)
    assert outcome(outlook, "pose", 0) == ""
    above.fail(0)
    assert outcome(outlook, "pose", 0) == DEAD_LETTERED
    below.lease(1, 2)
    assert outcome(outlook, "pose", 1) == ""
    above.finish(1)
    assert outcome(outlook, "pose", 1) == "", "it waits here, though a node above it has failed for good"
    below.finish(2)
    assert outcome(outlook, "pose", 2) == DELIVERED
    below.drop(3, "filtered")
    assert outcome(outlook, "pose", 3) == "filtered"
    assert outcome(outlook, "detect", 0) == "", "another branch's end says nothing of this one"


@pytest.mark.parametrize("outlook", [("merge", fork())], indirect=True)
def test_a_frame_that_its_relay_took_along_when_it_failed_for_good_is_gone(way: Open, outlook: Outlook) -> None:
    above = way("camera", "pose", below=False)
    way("pose", "merge")
    above.lease(0)
    assert outcome(outlook, "pose", 0) == ""
    above.finish(0)  # its supervisor let it be, as delivered: the work was done
    assert outcome(outlook, "pose", 0) == "gone"


@pytest.mark.parametrize("outlook", [("merge", fork())], indirect=True)
def test_what_was_forgotten_where_the_branches_part_comes_by_no_other_branch(way: Open, outlook: Outlook) -> None:
    above = way("camera", "pose", below=False)
    above.lease(1)
    assert outcome(outlook, "pose", 2) == "", "it was not offered there yet"
    above.lease(2)
    above.fail(2)
    assert outcome(outlook, "pose", 2) == DEAD_LETTERED
    assert isinstance(above.edge, TombstoneEdge)
    above.edge.forget((KEY, 2))  # as the other branch's lease was let go of: its relay has failed for good
    assert outcome(outlook, "pose", 2) == "gone"
    assert outcome(outlook, "pose", 1) == ""


def two_cameras() -> tuple[WayEdge, ...]:
    """Two cameras, whom detect and merge read: the edge from detect to merge is one for both."""
    cameras = [("camera", "door"), ("other", "yard")]
    ways = [
        WayEdge(node, 1, consumer, camera, is_last_in_order=True)
        for node, camera in cameras
        for consumer in ("detect", "merge")
    ]
    return (*ways, WayEdge("detect", 1, "merge"))


@pytest.mark.parametrize("outlook", [("merge", two_cameras())], indirect=True)
def test_the_ends_of_another_camera_say_nothing(way: Open, outlook: Outlook) -> None:
    way("other", "detect", below=False).drop(0, "thinned")
    way("camera", "detect", below=False).lease(0)
    assert outcome(outlook, "detect", 0) == ""
    assert outlook.outcome("detect", "yard", (KEY, 0)) == "thinned"


@pytest.mark.parametrize("outlook", [("merge", two_cameras())], indirect=True)
def test_what_an_edge_below_says_is_never_older_than_what_one_above_says(way: Open, outlook: Outlook) -> None:
    door, yard = way("camera", "detect", below=False), way("other", "detect", below=False)
    below = way("detect", "merge")
    door.lease(0)
    yard.lease(5, key=9)
    outlook.look()
    assert outlook.outcome("detect", "door", (KEY, 0)) == ""
    below.lease(5, key=9)
    below.edge.drop_all("filtered")
    yard.finish(5, key=9)
    assert outlook.outcome("detect", "yard", (9, 5)) == "filtered", "not gone: its relay is well"
