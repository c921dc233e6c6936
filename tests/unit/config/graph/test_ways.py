from __future__ import annotations

import pytest

from detektr.config.graph.ways import Ways, is_partitioned
from detektr.options import NodeOptions, ProcessorOptions, inputs_of
from tests.unit.config.graph.drawing import buffer, built, capture, own, processor, sink


def ways(**nodes: NodeOptions) -> Ways:
    graph = built(**nodes)
    return Ways(nodes, list(graph.nodes), {name: list(inputs_of(node)) for name, node in nodes.items()})


def motion(inputs: str, **more: object) -> ProcessorOptions:
    """A processor of which the file tells that it keeps state."""
    return ProcessorOptions(input=inputs, use="motion", **more)  # type: ignore[arg-type]


def gathering() -> dict[str, NodeOptions]:
    """camera -> buffer -> detect, pose -> merge (a join) -> track (in order), and who is not concerned."""
    return {
        "camera": capture(), "buffer": buffer("camera"),
        "detect": processor("buffer", replicas=2), "pose": processor("buffer"),
        "merge": processor(["detect", "pose"], join="frame"),
        "track": processor("merge", order="camera"),
        "beside": processor("buffer"), "events": sink("track"),
    }  # fmt: skip


def test_who_orders_and_who_joins() -> None:
    found = ways(**gathering())
    assert [name for name in gathering() if found.is_gatherer(name)] == ["merge", "track"]
    assert [name for name in gathering() if found.is_ordered(name)] == ["track"]
    both = ways(**gathering() | {"merge": processor(["detect", "pose"], join="frame", order="camera")})
    assert [both.in_words(name) for name in ("merge", "track", "beside")] == ["joined and in order", "in order", ""]


@pytest.mark.parametrize(
    ("reader", "is_ordered"),
    [
        (processor("detect"), False),
        (processor("detect", partition_by="camera"), True),
        (motion("detect"), True),
        (motion("queue"), True),
        (motion("camera"), False),
        (processor("camera", order="camera"), True),
        (motion("detect", fresh=True), False),
        (ProcessorOptions(input=own("detect", fresh=True), use="motion"), False),
    ],
)
def test_who_keeps_state_is_ordered_below_a_processor_unless_it_wants_the_newest_frame_first(
    reader: ProcessorOptions, *, is_ordered: bool
) -> None:
    found = ways(camera=capture(), detect=processor("camera"), queue=buffer("detect"), b=processor("queue"), it=reader)
    assert found.is_ordered("it") is is_ordered is found.is_gatherer("it")


def test_frames_may_come_mixed_below_a_processor_and_nowhere_else() -> None:
    found = ways(**gathering())
    mixed = [name for name in gathering() if name != "events" and found.is_mixed(name)]
    assert mixed == ["merge", "track"]


def test_gatherers_of_a_reader_are_itself_and_those_that_it_leads_to() -> None:
    found = ways(**gathering())
    assert {name: found.gatherers(name) for name in ("buffer", "detect", "merge", "track", "beside")} == {
        "buffer": {"merge", "track"}, "detect": {"merge", "track"}, "merge": {"merge", "track"}, "track": {"track"},
        "beside": set(),
    }  # fmt: skip
    assert found.joins("detect") == {"merge"} and found.joins("track") == set()


def test_the_edges_to_a_gatherer_are_all_on_its_ways_from_above() -> None:
    found = ways(**gathering())
    to_merge = [
        ("camera", "buffer"), ("buffer", "detect"), ("buffer", "pose"), ("detect", "merge"), ("pose", "merge"),
    ]  # fmt: skip
    assert found.edges_to("merge") == to_merge
    assert found.edges_to("track") == [*to_merge, ("merge", "track")]


def test_edges_where_branches_part_or_that_lie_below_keep_what_became_of_their_frames() -> None:
    found = ways(**gathering())
    edges = [
        ("camera", "buffer"), ("buffer", "detect"), ("buffer", "pose"), ("buffer", "beside"), ("detect", "merge"),
        ("merge", "track"),
    ]  # fmt: skip
    kept = [edge for edge in edges if found.keeps_settled(*edge)]
    assert kept == [("buffer", "detect"), ("buffer", "pose"), ("detect", "merge")]
    assert found.forks_above("buffer") == [], "it is where they part itself"
    assert found.forks_above("detect") == [("buffer", "detect"), ("buffer", "pose")]
    assert found.forks_above("merge") == found.forks_above("detect"), "it may be done with one branch, and die"
    assert found.forks_above("track") == [], "whose frames have come by all branches"


def test_a_join_of_a_join_has_the_forks_of_both_above_it() -> None:
    nodes: dict[str, NodeOptions] = {
        "camera": capture(),
        "detect": processor("camera"), "face": processor("detect"), "plate": processor("detect"),
        "inner": processor(["face", "plate"], join="frame"),
        "pose": processor("camera"),
        "outer": processor(["inner", "pose"], join="frame"),
    }  # fmt: skip
    found = ways(**nodes)
    outer, inner = [("camera", "detect"), ("camera", "pose")], [("detect", "face"), ("detect", "plate")]
    assert found.forks_above("detect") == found.forks_above("pose") == outer
    assert found.forks_above("face") == found.forks_above("inner") == [*outer, *inner]
    assert found.keeps_settled("inner", "outer") and found.keeps_settled("detect", "plate")


def test_a_camera_that_a_join_reads_beside_a_processor_is_a_fork() -> None:
    found = ways(camera=capture(), detect=processor("camera"), merge=processor(["camera", "detect"], join="frame"))
    assert found.forks_above("detect") == [("camera", "detect"), ("camera", "merge")]
    assert found.keeps_settled("camera", "merge")


@pytest.mark.parametrize(
    ("options", "is_by_camera"),
    [
        ({"order": "camera"}, False),
        ({"order": "camera", "replicas": 2}, True),
        ({"replicas": 2}, False),
        ({"partition_by": "camera"}, True),
    ],
)
def test_replicas_of_a_gatherer_have_cameras_of_their_own(options: dict[str, object], *, is_by_camera: bool) -> None:
    assert is_partitioned(processor("a", **options)) is is_by_camera
    assert is_partitioned(processor(["a", "b"], join="frame", replicas=2))
