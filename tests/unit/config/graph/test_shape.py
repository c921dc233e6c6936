from __future__ import annotations

from typing import Any

import pytest

from detektr.options import NodeOptions
from tests.unit.config.graph.drawing import buffer, built, capture, only, own, processor, refused, sink, told


def test_producers_come_before_consumers_whatever_the_file_says() -> None:
    graph = built(events=sink("motion"), motion=processor("buffer"), buffer=buffer("camera"), camera=capture())
    assert list(graph.nodes) == ["camera", "buffer", "motion", "events"]
    assert [(edge.producer, edge.consumer) for edge in graph.edges] == [
        ("camera", "buffer"), ("buffer", "motion"), ("motion", "events"),
    ]  # fmt: skip
    assert graph.nodes["buffer"].inputs == ("camera",) and graph.nodes["buffer"].outputs == ("motion",)
    assert graph.edges_to("motion") == graph.edges_from("buffer")


def test_a_buffer_that_nobody_reads_is_a_dead_end() -> None:
    fault = only(refused(camera=capture(), buffer=buffer("camera")))
    assert fault.line == 2
    assert "'buffer'" in fault.text and "pile up" in fault.text and "input: buffer" in fault.hint


def test_a_capture_that_nobody_reads_is_a_dead_end() -> None:
    fault = only(refused(camera=capture(), door=capture(), motion=processor("door")))
    assert fault.line == 1 and "the capture 'camera'" in fault.text


def test_a_processor_without_a_sink_is_fine() -> None:
    assert built(camera=capture(), motion=processor("camera")).nodes["motion"].outputs == ()


def test_an_input_that_is_not_there_is_told_with_the_nearest_name() -> None:
    faults = refused(camera=capture(), buffer=buffer("camera"), motion=processor("bufer"))
    missing = next(fault for fault in faults if fault.line == 3)
    assert (
        "'bufer'" in missing.what and "camera, buffer, motion" in missing.expected and missing.hint == "write `buffer`"
    )


def test_a_node_reads_neither_from_itself_nor_twice_nor_from_nothing() -> None:
    faults = refused(
        camera=capture(), a=processor("a"), b=processor(["camera", "camera"]), c=processor([]), d=processor("camera")
    )
    assert [(fault.line, fault.what) for fault in faults] == [
        (2, "node 'a' reads from itself"),
        (3, "node 'b' reads twice from 'camera'"),
        (4, "node 'c' reads from nothing (`input` is an empty list)"),
    ]


def test_a_cycle_is_named_once_in_the_direction_of_its_frames() -> None:
    faults = refused(camera=capture(), a=buffer(["camera", "c"]), b=buffer("a"), c=buffer("b"), motion=processor("c"))
    assert only(faults).what == "a cycle: a -> b -> c -> a"


def test_two_cycles_are_both_named() -> None:
    faults = refused(
        camera=capture(), motion=processor("camera"), a=buffer("b"), b=buffer("a"), c=buffer("d"), d=buffer("c")
    )
    assert [fault.what for fault in faults] == ["a cycle: a -> b -> a", "a cycle: c -> d -> c"]


@pytest.mark.parametrize(
    ("reader", "what", "hint"),
    [
        (sink("camera"), "sink 'it' reads from the capture 'camera'", "read a processor (motion)"),
        (buffer("events"), "buffer 'it' reads from the sink 'events'", "read a capture, buffer or processor"),
        (processor("events"), "processor 'it' reads from the sink 'events'", "a sink ends its branch"),
        (sink("events"), "sink 'it' reads from the sink 'events'", "read a processor"),
    ],
)
def test_what_may_not_be_read_is_told_with_what_may(reader: NodeOptions, what: str, hint: str) -> None:
    faults = refused(camera=capture(), motion=processor("camera"), events=sink("motion"), it=reader)
    fault = next(fault for fault in faults if "reads from" in fault.what)
    assert fault.line == 4 and fault.what == what and hint in fault.hint


def test_a_pipeline_without_a_capture_is_refused() -> None:
    faults = refused(a=processor("b"))
    assert any("without a capture" in fault.what for fault in faults)


def test_nothing_is_said_of_dead_ends_while_a_reader_may_be_misspelt() -> None:
    assert refused(camera=capture(), unsure=["motion"]) == []
    assert refused(camera=capture(), events=sink("motion"), unsure=["motion"]) == []


def test_a_frame_that_would_be_passed_on_twice_is_refused() -> None:
    fault = only(
        refused(
            camera=capture(),
            detect=processor("camera"),
            pose=processor("camera"),
            both=processor(["detect", "pose"]),
            last=processor("both"),
        )
    )
    assert fault.line == 4
    assert fault.what == "processor 'both' gets the frames of camera twice: by 'pose' too"
    assert fault.hint == "add `join: frame`, which brings both together, or read only one of them"
    faults = refused(
        camera=capture(), a=buffer("camera"), b=buffer("camera"), c=buffer(["a", "b"]), last=processor("c")
    )
    assert "buffer 'c' gets the frames of camera twice" in only(faults).what
    assert only(faults).hint == "read only one of them, or let a processor with `join: frame` read both"
    built(camera=capture(), detect=processor("camera"), pose=processor("camera"), both=processor(["detect", "pose"]))


def test_inputs_of_other_cameras_bring_no_frame_twice() -> None:
    nodes: dict[str, Any] = {
        "a": capture(), "b": capture(camera="yard"), "all": buffer(["a", "b"]),
        "detect": processor("all"), "pose": processor("all"),
    }  # fmt: skip
    built(**nodes, it=processor([own("detect", cameras="a"), own("pose", cameras="yard")], order="camera"))
    fault = only(refused(**nodes, it=processor([own("detect", cameras="a"), "pose"], order="camera")))
    assert fault.what == "processor 'it' gets the frames of a twice: by 'pose' too"


# -- order and join, in a file: line 6 says what `it` is

FILE = """name: demo
nodes:
  camera: {kind: capture, source: clip.mp4}
  detect: {kind: processor, input: camera, use: "m:C"}
  pose: {kind: processor, input: camera, use: "m:C"}
  it: {kind: processor, use: "m:C", %s}
  yard: {kind: capture, source: clip.mp4}
  look: {kind: processor, input: yard, use: "m:C"}
"""
FRESH = (
    "which holds frames back, or `fresh`, which drops them, remove one of them, or, to drop frames, write `fresh` at"
    " the processors that it reads"
)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            "input: detect, join: frame",
            "node 'it' joins the frames of one input, expected two inputs or more, name the other branches in `input`,"
            " or leave `join` out",
        ),
        (
            "input: [], join: frame",
            "node 'it' reads from nothing (`input` is an empty list), expected a capture or a buffer or a processor,"
            " name one: camera, detect, pose, yard or look",
        ),
        (
            "input: [detect, look], join: frame",
            "node 'it' joins 'detect' and 'look', but only one of them gets the frames of camera, yard, expected"
            " branches of the same cameras, let both read the same cameras (`cameras` of an input may leave some out),"
            " or leave `join` out",
        ),
        (
            "input: [detect, detect], join: frame",
            "node 'it' reads twice from 'detect', expected each input once, remove one",
        ),
        (
            "input: [detect, pose], join: frame, fresh: true",
            f"node 'it' has `join: frame` and `fresh: true`, expected `join`, {FRESH}",
        ),
        (
            "input: [detect, {from: pose, fresh: true}], join: frame",
            f"node 'it' has `join: frame` and `fresh: true`, expected `join`, {FRESH}",
        ),
        (
            "input: detect, order: camera, fresh: true",
            f"node 'it' has `order: camera` and `fresh: true`, expected `order`, {FRESH}",
        ),
        (
            "input: [detect, pose], order: camera",
            "processor 'it' gets the frames of camera twice: by 'pose' too, expected one way for each frame that comes"
            " in order, add `join: frame`, which brings both together, or read only one of them",
        ),
        ("input: detect, order: frame", "node 'it': `order` is 'frame', expected camera, correct it, or leave it out"),
        (
            "input: [detect, pose], join: camera",
            "node 'it': `join` is 'camera', expected frame, correct it, or leave it out",
        ),
        ("input: [detect, pose], join: true", "node 'it': `join` is true, expected frame, correct it, or leave it out"),
    ],
)  # fmt: skip
def test_what_cannot_be_ordered_or_joined_is_told_in_the_words_of_the_file(keys: str, expected: str) -> None:
    assert told(FILE % keys) == [f"6: {expected}"]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        (["input: [detect, pose]", "join: frame", "fresh: true"], 10),
        (["input:", "  - detect", "  - from: pose", "    fresh: true", "order: camera", "join: frame"], 14),
        (["join: frame", "input:", "  - detect", "  - pose", "  - look"], 13),
        (["input: detect", "order: camera", "join: frame"], 11),
    ],
)
def test_each_fault_has_the_line_of_its_key(keys: list[str], line: int) -> None:
    block = "\n    ".join(["", "kind: processor", "use: 'm:C'", *keys])
    [fault] = told(FILE.replace(' {kind: processor, use: "m:C", %s}', block))
    assert fault.startswith(f"{line}: node 'it' ")


@pytest.mark.parametrize(
    ("node", "key", "where"),
    [
        ("{kind: sink, input: detect, use: jsonl, order: camera}", "order", ""),
        ("{kind: sink, input: [detect, pose], use: jsonl, join: frame}", "join", ""),
        ("{kind: buffer, input: detect, order: camera}", "order", ""),
        ("{kind: capture, source: clip.mp4, join: frame}", "join", ""),
        ("{kind: processor, input: {from: detect, order: camera}, use: 'm:C'}", "order", ": `input`"),
        ("{kind: processor, input: [{from: detect, join: frame}, yard], use: 'm:C'}", "join", ": `input`"),
    ],
)
def test_both_are_keys_of_a_processor_and_of_nothing_else(node: str, key: str, where: str) -> None:
    has_reader = node.startswith(("{kind: buffer", "{kind: capture"))
    reader = "  last: {kind: processor, input: other, use: 'm:C'}\n" if has_reader else ""
    faults = told(FILE % "input: detect" + f"  other: {node}\n{reader}")
    assert len(faults) == 1, faults
    assert faults[0].startswith(f"9: node 'other'{where} has the unknown key {key!r}, expected ")
    assert faults[0].endswith(", remove it (it is a key of a processor)")


@pytest.mark.parametrize(("written", "meant"), [("ordr", "order"), ("orders", "order"), ("joins", "join")])
def test_a_misspelt_key_is_told_with_the_nearest_name(written: str, meant: str) -> None:
    [fault] = told(FILE % f"input: detect, {written}: camera")
    assert fault.startswith(f"6: node 'it' has the unknown key {written!r}, ") and fault.endswith(f", write `{meant}`")
