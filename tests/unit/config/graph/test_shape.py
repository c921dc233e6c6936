from __future__ import annotations

import pytest

from detektr.options import NodeOptions
from tests.unit.config.graph.drawing import buffer, built, capture, only, processor, refused, sink


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
    faults = refused(
        camera=capture(), a=buffer("camera"), b=buffer("camera"), c=buffer(["a", "b"]), last=processor("c")
    )
    assert "buffer 'c' gets the frames of camera twice" in only(faults).what
    built(camera=capture(), detect=processor("camera"), pose=processor("camera"), both=processor(["detect", "pose"]))
