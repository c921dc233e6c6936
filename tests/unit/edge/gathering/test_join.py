from __future__ import annotations

from detektr.edge.gathering.join import Join, Joined
from detektr.memory.journal_reader import DEAD_LETTERED, DELIVERED, LIVE

FRAME, NEXT = (1, 0), (1, 1)


class Below:
    """What journals say of a frame that a branch has not brought; one that nobody says anything of may come."""

    def __init__(self) -> None:
        self.said: dict[tuple[str, int], str] = {}
        self.witnesses: list[str] = []

    def outcome(self, branch: str, name: tuple[int, int], witness: str) -> str:
        self.witnesses.append(witness)
        return self.said.get((branch, name[1]), LIVE)


def new_join(*branches: str) -> tuple[Join[str], Below]:
    below = Below()
    return Join(branches or ("detect", "pose"), below.outcome), below


def test_a_frame_is_ready_when_every_branch_has_brought_it_in_the_branches_order() -> None:
    join, _ = new_join()
    join.hold(FRAME, "pose", "by pose")
    assert join.ready() == []
    join.hold(FRAME, "detect", "by detect")
    assert join.ready() == [Joined(FRAME, ("by detect", "by pose"), {}, is_done=False)]
    assert join.ready() == [], "it is held no more"


def test_what_is_held_back_is_said() -> None:
    join, _ = new_join()
    said = [join.is_holding]
    join.hold(FRAME, "pose", "by pose")
    said.append(join.is_holding)
    join.hold(FRAME, "detect", "by detect")
    join.ready()
    said.append(join.is_holding)
    assert said == [False, True, False]


def test_a_branch_that_will_not_bring_it_is_missing_for_its_reason() -> None:
    join, below = new_join("camera", "detect", "pose")
    join.hold(FRAME, "detect", "by detect")
    below.said["pose", 0] = "filtered"
    assert join.ready() == []
    below.said["camera", 0] = DEAD_LETTERED
    assert join.ready() == [Joined(FRAME, ("by detect",), {"camera": DEAD_LETTERED, "pose": "filtered"}, is_done=False)]
    assert set(below.witnesses) == {"by detect"}, "asked by what has come, whose camera is known"


def test_frames_are_ready_each_by_itself_in_the_order_in_which_they_came() -> None:
    join, _ = new_join()
    for name in (NEXT, FRAME):
        join.hold(name, "detect", f"detect {name[1]}")
    join.hold(FRAME, "pose", "pose 0")
    assert [joined.name for joined in join.ready()] == [FRAME]
    join.hold(FRAME, "detect", "again")
    join.hold(FRAME, "pose", "again")
    join.hold(NEXT, "pose", "pose 1")
    assert [joined.name for joined in join.ready()] == [NEXT, FRAME]


def test_what_a_predecessor_was_done_with_on_one_branch_is_done() -> None:
    join, below = new_join("camera", "detect", "pose")
    join.hold(FRAME, "detect", "by detect")
    below.said["pose", 0] = DELIVERED
    below.said["camera", 0] = "thinned"
    assert join.ready() == [Joined(FRAME, ("by detect",), {"camera": "thinned"}, is_done=True)]


def test_of_two_leases_of_one_frame_on_one_branch_the_later_one_counts() -> None:
    join, _ = new_join()
    join.hold(FRAME, "detect", "ended")
    join.hold(FRAME, "detect", "stands")
    join.hold(FRAME, "pose", "by pose")
    assert join.ready()[0].items == ("stands", "by pose")


def test_leases_that_are_over_are_let_go_of_and_what_is_left_waits_on() -> None:
    join, _ = new_join()
    join.hold(FRAME, "detect", "over")
    join.hold(FRAME, "pose", "by pose")
    join.hold(NEXT, "detect", "over")
    join.forget(lambda item: item == "over")
    assert join.is_holding and join.ready() == [], "0 waits for its detector again"
    join.forget(lambda item: item == "by pose")
    assert not join.is_holding
