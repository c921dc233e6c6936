from __future__ import annotations

from detektr.edge.partition.assignment import ABSENT_NS, BACK_NS, MOVE_NS, Assignment, ReplicaFact, spread
from detektr.edge.partition.camera_map import NOBODY, Home, first_map

UP = ReplicaFact(True, 0)
CAMERAS = ("a", "b", "c", "d", "e")


def owners(assignment: Assignment) -> list[int]:
    return [home.owner for home in assignment.map.homes.values()]


def test_a_run_begins_with_cameras_in_the_files_order_and_replicas_in_turn() -> None:
    assert owners(Assignment(CAMERAS, 2)) == [0, 1, 0, 1, 0]
    assert first_map(("a",), 4).cameras_of(0) == ["a"]


def test_a_camera_that_is_not_in_the_file_has_one_home_for_good() -> None:
    found = first_map((), 3)
    assert {found.home("guest").owner for _ in range(3)} == {found.home("guest").owner}
    assert 0 <= found.home("guest").owner < 3


def test_while_nobody_dies_nothing_changes() -> None:
    assignment = Assignment(CAMERAS, 2)
    assert not assignment.look([UP, UP], None, 10**12)
    assert assignment.due_ns([UP, UP], 10**12) is None


def test_a_dead_replicas_cameras_wait_a_second_for_its_successor_and_then_go_to_the_least_busy() -> None:
    assignment = Assignment(CAMERAS, 3)  # a, d: 0; b, e: 1; c: 2
    dead = ReplicaFact(False, 5)
    assert assignment.due_ns([dead, UP, UP], 6) == 5 + ABSENT_NS
    assert not assignment.look([dead, UP, UP], None, 4 + ABSENT_NS)
    assert assignment.look([dead, UP, UP], None, 5 + ABSENT_NS)
    assert owners(assignment) == [2, 1, 2, 1, 1]
    assert assignment.map.homes["a"] == Home(2, 2)
    assert assignment.map.homes["b"] == Home(1, 1), "whose replica lives stays, and is not told otherwise"


def test_a_successor_within_the_second_keeps_the_cameras() -> None:
    assignment = Assignment(CAMERAS, 2)
    assert not assignment.look([ReplicaFact(False, 5), UP], None, 6)
    assert not assignment.look([ReplicaFact(True, 7), UP], None, ABSENT_NS * 2)
    assert assignment.map.epoch == 1


def test_cameras_of_a_replica_that_will_not_come_back_move_at_once() -> None:
    assignment = Assignment(CAMERAS, 2)
    assert assignment.look([UP, ReplicaFact(False, 5, is_over=True)], None, 6)
    assert owners(assignment) == [0] * 5


def test_where_nobody_lives_cameras_stay_where_they_are() -> None:
    assignment = Assignment(CAMERAS, 2)
    dead = [ReplicaFact(False, 5), ReplicaFact(False, 6)]
    assert not assignment.look(dead, None, ABSENT_NS * 9)
    assert assignment.due_ns(dead, 7) is None


def moved_and_back() -> tuple[Assignment, int]:
    """Return an assignment whose camera `a` is on its way back to replica 0, and the moment at which that began."""
    assignment = Assignment(("a", "b"), 2)
    assignment.look([ReplicaFact(False, 0), UP], None, ABSENT_NS)
    now_ns = 2 * ABSENT_NS + BACK_NS
    back = [ReplicaFact(True, 2 * ABSENT_NS), UP]
    assert assignment.due_ns(back, now_ns - 1) == now_ns
    assert not assignment.look(back, 2, now_ns - 1)
    assert assignment.look(back, 2, now_ns)
    assert assignment.map.homes["a"] == Home(NOBODY, 2), "it was the other's since epoch 2"
    assert assignment.is_moving
    return assignment, now_ns


def test_a_camera_comes_back_only_when_every_edge_says_that_its_owner_holds_none_of_it() -> None:
    assignment, now_ns = moved_and_back()
    assert not assignment.look([UP, UP], 2, now_ns + 1), "some edge keeps to the map before"
    assert assignment.look([UP, UP], 3, now_ns + 2)
    assert assignment.map.homes == {"a": Home(0, 4), "b": Home(1, 1)}
    assert not assignment.is_moving


def test_a_camera_on_the_move_goes_on_at_once_when_its_last_owner_dies() -> None:
    assignment, now_ns = moved_and_back()
    assert assignment.look([UP, ReplicaFact(False, now_ns)], 2, now_ns + 1)
    assert assignment.map.homes["a"] == Home(0, 4)


def test_a_camera_on_the_move_stays_when_its_next_owner_dies_or_an_edge_does_not_answer() -> None:
    for facts, after_ns in (([ReplicaFact(False, 0), UP], 1), ([UP, UP], MOVE_NS + 1)):
        assignment, now_ns = moved_and_back()
        assert assignment.look(facts, 2, now_ns + after_ns)
        assert assignment.map.homes["a"] == Home(1, 2), "as if it had never left: nobody else had it"
        assert not assignment.look([UP, UP], 2, now_ns + after_ns + BACK_NS - 1)
        assert assignment.look([UP, UP], 2, now_ns + after_ns + BACK_NS), "tried again, but not all the time"


LEAVES = ReplicaFact(True, 0, is_leaving=True)


def test_cameras_are_shared_evenly_and_few_of_them_move() -> None:
    owners = dict(zip("abcdef", (0, 1, 2, 0, 1, 2), strict=True))
    assert spread(owners, 2) == {"a": 0, "b": 1, "c": 0, "d": 0, "e": 1, "f": 1}
    assert spread(dict.fromkeys("abc", 0), 3) == {"a": 0, "c": 1, "b": 2}
    assert spread(owners, 3) == owners
    assert set(spread(owners, 1).values()) == {0}


def test_a_new_replica_gets_its_share_at_once_and_in_two_steps() -> None:
    assignment = Assignment(("a", "b"), 1)
    assignment.scale(2)
    assert assignment.look([UP, ReplicaFact(False, 0)], None, 1), "how many there are is said to all"
    assert owners(assignment) == [0, 0] and assignment.map.replicas == 2
    facts = [UP, ReplicaFact(True, 5)]
    assert assignment.due_ns(facts, 5) == 5
    assert assignment.look(facts, 1, 5) and owners(assignment) == [0, NOBODY] and assignment.is_moving
    assert not assignment.look(facts, 2, 6), "an edge still has leases that keep to the map before"
    assert assignment.look(facts, 3, 7) and owners(assignment) == [0, 1]
    assert assignment.map.homes["b"] == Home(1, 4)


def test_who_leaves_keeps_a_camera_until_nobody_holds_a_frame_of_it() -> None:
    assignment = Assignment(("a", "b"), 2)
    assignment.scale(1)
    facts = [UP, LEAVES]
    assert assignment.look(facts, 1, 5) and owners(assignment) == [0, NOBODY]
    assert not assignment.is_free(1)
    assert not assignment.look(facts, 1, 6)
    assert assignment.look(facts, 2, 7) and owners(assignment) == [0, 0]
    assert assignment.is_free(1) and assignment.map.replicas == 1
    assert assignment.due_ns(facts, 8) is None


def test_who_dies_as_it_leaves_is_not_waited_for_and_gets_nothing() -> None:
    assignment = Assignment(("a", "b", "c"), 3)
    assignment.scale(2)
    dying = ReplicaFact(False, 5, is_leaving=True)
    assert assignment.look([ReplicaFact(True, 0), UP, dying], None, 6)
    assert owners(assignment) == [0, 1, 0]
    assignment = Assignment(("a", "b"), 2)
    assignment.scale(1)
    assert not assignment.is_free(1)
    dead = ReplicaFact(False, 0)
    assert assignment.look([dead, LEAVES], None, ABSENT_NS * 2) and owners(assignment) == [0, 1], "it has nobody else"
