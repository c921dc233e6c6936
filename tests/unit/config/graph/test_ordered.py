"""Which nodes order frames, and what of that is refused: a frame that comes twice has no place in an order."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.config.document import Fault
from detektr.config.graph.checks import build_graph
from detektr.options import BufferOptions, CaptureOptions, EdgeInput, NodeOptions, ProcessorOptions


def processor(inputs: Any, use: str = "m:C", **more: Any) -> ProcessorOptions:
    return ProcessorOptions(input=inputs, use=use, **more)


def branches(**last: Any) -> dict[str, NodeOptions]:
    """Two branches of one camera, and a node that reads both."""
    nodes: dict[str, NodeOptions] = {"camera": CaptureOptions(source="clip.mp4")}
    return nodes | {
        "detect": processor("camera"), "pose": processor("camera"), "last": processor(["detect", "pose"], **last),
    }  # fmt: skip


def gathering(nodes: dict[str, NodeOptions]) -> dict[str, str]:
    """How the frames of each input are gathered by the node `last`, in words."""
    graph, faults = build_graph(nodes)
    assert faults == [] and graph is not None
    return {edge.producer: edge.gathering for edge in graph.edges_to("last")}


def only_fault(nodes: dict[str, NodeOptions]) -> Fault:
    graph, faults = build_graph(nodes)
    assert graph is None and len(faults) == 1, faults
    return faults[0]


def test_frames_that_come_by_two_inputs_are_ordered_only_where_they_are_joined() -> None:
    fault = only_fault(branches(order="camera"))
    assert fault.what == "processor 'last' gets the frames of camera twice: by 'pose' too"
    assert "`join: frame`" in fault.hint
    assert gathering(branches(order="camera", join="frame")) == dict.fromkeys(("detect", "pose"), "joined and in order")


@pytest.mark.parametrize("last", [{"partition_by": "camera"}, {"use": "motion"}])
def test_a_reader_of_two_branches_that_keeps_state_gets_them_as_they_come(last: dict[str, Any]) -> None:
    assert gathering(branches(**last)) == {"detect": "", "pose": ""}
    joined = gathering(branches(**last, join="frame"))
    assert joined == dict.fromkeys(("detect", "pose"), "joined and in order")


@pytest.mark.parametrize("last", [{"partition_by": "camera"}, {"use": "motion"}, {"order": "camera"}])
def test_inputs_of_different_cameras_are_no_branches(last: dict[str, Any]) -> None:
    nodes: dict[str, NodeOptions] = {name: CaptureOptions(source="clip.mp4") for name in ("door", "yard")}
    nodes |= {
        "buffer": BufferOptions(input=["door", "yard"]),
        "detect": processor(EdgeInput(from_="buffer", cameras="door")),
        "pose": processor("buffer"),
        "last": processor(["detect", EdgeInput(from_="pose", cameras="yard")], **last),
    }
    assert gathering(nodes) == {"detect": "in order", "pose": "in order"}
    nodes["yard"] = CaptureOptions(source="clip.mp4", camera="door")
    nodes["last"] = processor(["detect", "pose"], order="camera")
    assert only_fault(nodes).what == "processor 'last' gets the frames of door, yard twice: by 'pose' too"


@pytest.mark.parametrize(("below", "words"), [("camera", ""), ("detect", "in order")])
def test_code_that_keeps_state_is_ordered_below_a_processor(below: str, words: str) -> None:
    for last in ({"partition_by": "camera"}, {"use": "motion"}):
        assert gathering(branches() | {"last": processor(below, **last)}) == {below: words}
    assert gathering(branches() | {"last": processor(below)}) == {below: ""}
    assert gathering(branches() | {"last": processor(below, order="camera")}) == {below: "in order"}


@pytest.mark.parametrize("last", [{"partition_by": "camera"}, {"use": "motion"}])
def test_fresh_frames_are_not_held_back_for_code_that_keeps_state(last: dict[str, Any]) -> None:
    assert gathering(branches() | {"last": processor("detect", **last)}) == {"detect": "in order"}
    assert gathering(branches() | {"last": processor("detect", **last, fresh=True)}) == {"detect": ""}
    own = EdgeInput(from_="detect", fresh=True)
    assert gathering(branches() | {"last": processor(own, **last)}) == {"detect": ""}
