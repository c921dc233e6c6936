"""The room that edges have for what is held back below them, in graphs whose other numbers are known."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.config.graph.sizing import FRAMES_MARK
from detektr.config.graph.topology import Graph, GraphEdge
from detektr.options import NodeOptions
from tests.unit.config.graph.drawing import buffer, built, capture, processor, sink


def edges_of(graph: Graph) -> dict[tuple[str, str], GraphEdge]:
    return {(edge.producer, edge.consumer): edge for edge in graph.edges}


def ordered(**track: Any) -> dict[str, NodeOptions]:
    return {
        "a": capture(guests=0, memory="1GiB"), "b": capture(guests=0, memory="1GiB"),
        "buffer": buffer(["a", "b"], high_water_mark=8, guests=0),
        "detect": processor("buffer", replicas=3, window=4),
        "track": processor("detect", window=2, **track), "events": sink("track"),
    }  # fmt: skip


def joined(**merge: Any) -> dict[str, NodeOptions]:
    return {
        "camera": capture(guests=0, high_water_mark=8, memory="1GiB"),
        "detect": processor("camera", replicas=2, window=3), "pose": processor("camera", window=4),
        "merge": processor(["detect", "pose"], join="frame", window=2, **merge),
    }  # fmt: skip


def test_who_orders_can_be_leased_all_that_is_leased_above_it() -> None:
    edges = edges_of(built(**ordered(order="camera")))
    above, here = edges["buffer", "detect"], edges["detect", "track"]
    leased = above.limit + above.reserve
    assert here.window + here.held_back == here.limit == leased
    assert here.tombstones == leased, "and its producer keeps as many names"


def test_each_edge_on_the_way_keeps_a_lease_for_the_oldest_frame_of_each_camera() -> None:
    edges = edges_of(built(**ordered(order="camera")))
    assert edges["buffer", "detect"].reserve == edges["detect", "track"].reserve == 2
    assert edges["a", "buffer"].reserve == 0, "a buffer takes frames as they come"
    assert edges["track", "events"].reserve == 0, "events are no frames"
    assert edges["buffer", "detect"].window_total == 3 * edges["buffer", "detect"].limit + 2


def test_ordering_holds_no_further_picture_but_those_of_the_oldest_frames() -> None:
    plain, own_order = built(**ordered()), built(**ordered(order="camera"))
    assert own_order.nodes["buffer"].held - plain.nodes["buffer"].held <= 2 * (1 + 3)
    assert all(edge.held_back == edge.reserve == 0 for edge in plain.edges)
    assert [edge.gathering for edge in plain.edges if edge.gathering] == []
    assert edges_of(own_order)["detect", "track"].terms == f"block at {FRAMES_MARK}, in order"


def test_who_passes_frames_on_to_a_gatherer_may_have_passed_on_all_that_it_was_leased() -> None:
    nodes = ordered() | {"last": processor("track", order="camera")}
    edges = edges_of(built(**nodes))
    above, middle, here = edges["buffer", "detect"], edges["detect", "track"], edges["track", "last"]
    assert middle.passed_max == above.limit + above.reserve
    assert here.limit == middle.parts * (middle.limit + middle.reserve)


def test_who_orders_is_a_relay_itself_where_others_read_it() -> None:
    edges = edges_of(built(**ordered(order="camera") | {"last": processor("track", window=1)}))
    assert edges["detect", "track"].passed_max == FRAMES_MARK + 1
    assert edges["detect", "track"].limit >= edges["detect", "track"].window + edges["detect", "track"].passed_max


def test_a_join_can_be_leased_on_each_branch_all_that_this_branch_is_leased_above() -> None:
    edges = edges_of(built(**joined()))
    for branch in ("detect", "pose"):
        above, here = edges["camera", branch], edges[branch, "merge"]
        assert here.limit == above.limit + above.reserve, branch
    assert edges["detect", "merge"].terms.endswith("joined")


def test_a_join_that_reads_the_camera_holds_what_its_other_branches_hold() -> None:
    nodes = joined() | {"merge": processor(["camera", "detect", "pose"], join="frame", window=2)}
    edges = edges_of(built(**nodes))
    others = [edges["camera", branch] for branch in ("detect", "pose")]
    assert edges["camera", "merge"].held_back == sum(one.mark_of_input + one.window_total for one in others)


def test_edges_where_branches_part_have_a_cell_for_each_frame_that_is_known_there() -> None:
    graph = built(**joined())
    edges = edges_of(graph)
    for branch in ("detect", "pose"):
        assert edges["camera", branch].keeps_settled == graph.nodes["camera"].held + 1
        assert edges[branch, "merge"].tombstones == edges["camera", branch].limit + edges["camera", branch].reserve + (
            graph.nodes["camera"].held + 1
        )


def test_a_buffer_below_such_a_place_keeps_as_many() -> None:
    nodes = joined() | {"queue": buffer("camera", guests=0), "pose": processor("queue", window=4)}
    graph = built(**nodes)
    edges = edges_of(graph)
    assert edges["queue", "pose"].keeps_settled == edges["camera", "queue"].keeps_settled
    assert edges["camera", "queue"].keeps_settled == graph.nodes["camera"].held + 1


def test_who_is_beside_the_ways_needs_nothing() -> None:
    nodes: dict[str, NodeOptions] = joined() | {"beside": processor("camera"), "events": sink("merge")}
    edge = edges_of(built(**nodes))["camera", "beside"]
    assert (edge.held_back, edge.reserve, edge.keeps_settled, edge.gathering) == (0, 0, 0, "")


@pytest.mark.parametrize(("inputs", "how"), [("detect", {"order": "camera"}), (["detect", "pose"], {"join": "frame"})])
def test_all_of_it_counts_as_memory_of_the_camera(inputs: Any, how: dict[str, Any]) -> None:
    def memory(**how: Any) -> tuple[int, int]:
        nodes: dict[str, NodeOptions] = {
            "camera": capture(memory="1GiB", high_water_mark=100, guests=0),
            "detect": processor("camera", window=100), "pose": processor("camera", window=100),
            "it": processor(inputs, **how),
        }  # fmt: skip
        graph = built(**nodes)
        found = graph.nodes["camera"].memory
        assert found is not None
        return found.journal_bytes, sum(edge.journal_bytes for edge in graph.edges)

    plain, own = memory(), memory(**how)
    assert own[0] > plain[0]
    assert own[0] == own[1]
