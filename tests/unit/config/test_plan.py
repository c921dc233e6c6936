"""What the processes of a graph are told of frames that are ordered or joined."""

from __future__ import annotations

from pathlib import Path

from detektr.config.plan import plan_processes
from detektr.edge.gathering.ways import WayEdge
from detektr.nodes.spec import NodeSpec
from detektr.options import NodeOptions
from tests.unit.config.graph.drawing import buffer, built, capture, processor, sink


def planned() -> dict[str, NodeSpec]:
    """door, yard -> buffer -> detect (two replicas), pose -> merge (a join) -> track (in order, two replicas)."""
    nodes: dict[str, NodeOptions] = {
        "door": capture(), "cam2": capture(camera="yard"), "buffer": buffer(["door", "cam2"]),
        "detect": processor("buffer", replicas=2), "pose": processor("buffer"),
        "merge": processor(["detect", "pose"], join="frame"),
        "track": processor("merge", order="camera", replicas=2), "events": sink("track"),
    }  # fmt: skip
    specs = plan_processes("demo", built(**nodes), nodes, Path("/"))
    return {f"{spec.node}.{spec.replica}": spec for spec in specs}


TO_MERGE = (
    WayEdge("door", 1, "buffer", capture="door"),
    WayEdge("cam2", 1, "buffer", capture="cam2"),
    WayEdge("buffer", 1, "detect", is_last_in_order=True),
    WayEdge("buffer", 1, "pose", is_last_in_order=True),
    WayEdge("detect", 2, "merge"),
    WayEdge("pose", 1, "merge"),
)


def test_a_node_that_gathers_frames_knows_the_ways_to_it_and_where_they_are_still_in_order() -> None:
    specs = planned()
    assert specs["merge.0"].ways == TO_MERGE
    assert specs["track.0"].ways == specs["track.1"].ways == (*TO_MERGE, WayEdge("merge", 1, "track"))
    assert specs["detect.0"].ways == specs["buffer.0"].ways == ()
    assert [name for name, spec in specs.items() if spec.is_ordered] == ["track.0", "track.1"]
    assert [name for name, spec in specs.items() if spec.is_mixed] == ["events.0", "track.0", "track.1", "merge.0"]


def test_who_keeps_names_for_a_join_below_knows_where_the_branches_part() -> None:
    forks = (WayEdge("buffer", 1, "detect"), WayEdge("buffer", 1, "pose"))
    specs = planned()
    for name in ("detect.0", "detect.1", "pose.0", "merge.0"):
        assert specs[name].forks == forks, name
    assert specs["buffer.0"].forks == specs["track.0"].forks == ()
    assert specs["buffer.0"].edges["pose"].keeps_settled > 0 and specs["detect.0"].edges["merge"].tombstones > 0


def test_each_edge_on_the_way_knows_whom_to_wake_and_who_holds_frames_back() -> None:
    specs = planned()
    waiting = ("merge.0", "track.0", "track.1")
    edges = [specs["door.0"].edges["buffer"], specs["buffer.0"].edges["pose"], specs["detect.1"].edges["merge"]]
    assert [edge.gatherers for edge in edges] == [waiting] * 3
    assert specs["merge.0"].edges["track"].gatherers == ("track.0", "track.1")
    assert specs["track.0"].edges["events"].gatherers == ()
    assert [edge.is_gathering for edge in edges] == [False, False, True]
    assert [edge.is_joined for edge in edges] == [False, True, True]
    assert [one.is_gathering for one in specs["merge.0"].upstreams] == [True] * 3
    assert not any(one.is_gathering for one in specs["detect.0"].upstreams)


def test_who_holds_frames_back_may_be_leased_them_beside_its_window() -> None:
    specs = planned()
    edge = specs["detect.0"].edges["merge"]
    [upstream] = {one.window for one in specs["merge.0"].upstreams if one.producer == "detect"}
    assert upstream > 4 and edge.window_total == upstream + specs["merge.0"].upstreams[0].passed_max + edge.reserve
