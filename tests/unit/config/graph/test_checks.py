from __future__ import annotations

from typing import Any

import pytest

from detektr.config.graph.checks import build_graph, mermaid
from detektr.config.graph.sizing import FRAMES_MARK, SPARE_FRAMES
from detektr.config.graph.topology import Graph
from detektr.options import (
    BatchOptions,
    CaptureOptions,
    EdgeInput,
    NodeOptions,
    ProcessorOptions,
    SinkOptions,
)
from tests.unit.config.graph.drawing import buffer, built, capture, only, own, processor, refused, sink, told


def test_a_direct_reader_gives_the_capture_its_mark_window_guests_and_spare() -> None:
    graph = built(camera=capture(high_water_mark=8, guests=8), motion=processor("camera", window=3, replicas=2))
    edge = graph.edges[0]
    assert (edge.mark, edge.low, edge.window, edge.window_total, edge.cells) == (8, 7, 3, 6, 14)
    assert graph.nodes["camera"].slots == 8 + 6 + 8 + 4


@pytest.mark.parametrize(("policy", "held"), [("drop-oldest", 10 + 7), ("block", 10 + 7), ("drop-newest", 20 + 7)])
def test_what_a_buffer_holds_for_one_input_is_its_window_upstream(policy: Any, held: int) -> None:
    graph = built(
        camera=capture(high_water_mark=5, guests=1),
        buffer=buffer("camera", high_water_mark=10, when_full=policy, guests=2, low_water_mark=4),
        a=processor("buffer", window=2, replicas=2),
        b=processor("buffer", window=3),
    )
    upstream, first, second = graph.edges
    assert (first.mark, first.low, first.when_full, first.cells) == (10, 4, policy, 14)
    assert second.window_total == 3
    assert upstream.window == held + 2 + 2
    assert graph.nodes["camera"].slots == 5 + upstream.window + 1 + 4


def test_a_capture_that_drops_the_newest_needs_the_marks_of_all_its_readers() -> None:
    nodes = {"a": processor("camera", window=1), "b": processor("camera", window=1)}
    written: dict[str, Any] = {"high_water_mark": 8, "guests": 8}
    assert built(camera=capture(when_full="drop-newest", **written), **nodes).nodes["camera"].slots == 16 + 2 + 8 + 4
    assert built(camera=capture(when_full="block", **written), **nodes).nodes["camera"].slots == 8 + 2 + 8 + 4


def test_a_buffer_of_two_inputs_has_two_lanes_and_a_window_on_each() -> None:
    graph = built(
        a=capture(),
        b=capture("rtsp://h/x"),
        buffer=buffer(["a", "b"], high_water_mark=10, guests=8),
        it=processor("buffer"),
    )
    edge = graph.edges_to("it")[0]
    assert edge.inputs == 2 and edge.cells == 2 * 10 + 4
    assert [upstream.window for upstream in graph.edges_to("buffer")] == [10 + 4 + 8 + 2] * 2
    assert [upstream.inputs for upstream in graph.edges_to("buffer")] == [1, 1]


def test_a_worker_of_two_inputs_has_its_window_on_each() -> None:
    graph = built(a=capture(), b=capture(), it=processor(["a", "b"], window=3))
    assert [edge.window_total for edge in graph.edges_to("it")] == [3, 3]


def test_each_replica_of_a_processor_has_an_edge_of_its_own_to_a_sink() -> None:
    graph = built(a=capture(), b=capture(), it=processor(["a", "b"], replicas=3), events=sink("it", window=2))
    edge = graph.edges_to("events")[0]
    assert (edge.parts, edge.inputs, edge.mark, edge.window_total, edge.cells) == (3, 1, 256, 2, 258)
    assert edge.when_full == "block"


@pytest.mark.parametrize(
    ("source", "policy"),
    [
        ("clip.mp4", "block"), ("lavfi:testsrc2", "block"), ("python:m:f", "block"),
        ("rtsp://h/x", "drop-oldest"), ("/dev/video0", "drop-oldest"),
    ],
)  # fmt: skip
def test_a_file_blocks_and_a_live_source_drops_the_oldest(source: str, policy: str) -> None:
    assert built(it=capture(source), p=processor("it")).edges[0].when_full == policy
    assert built(it=capture(source, when_full="drop-newest"), p=processor("it")).edges[0].when_full == "drop-newest"


def test_fewer_slots_than_needed_are_refused_with_both_numbers() -> None:
    fault = only(refused(camera=capture(slots=8), motion=processor("camera")))
    assert "8 slots" in fault.what and "9" in fault.expected and "slots: 9" in fault.hint
    assert built(camera=capture(slots=24), motion=processor("camera")).nodes["camera"].slots == 24


def test_nothing_is_said_of_slots_below_which_a_number_is_wrong() -> None:
    assert refused(camera=capture(slots=8), motion=processor("camera"), broken=["motion"]) == []


def test_a_ring_and_a_crowd_have_limits() -> None:
    fault = only(refused(camera=capture(), b=buffer("camera", high_water_mark=65536), p=processor("b")))
    assert "needs 65" in fault.what and "at most 65536" in fault.expected
    crowd = [processor("camera", replicas=64) for _ in range(3)]
    fault = only(refused(camera=capture(), a=crowd[0], b=crowd[1], c=crowd[2]))
    assert "192 replicas" in fault.what and fault.line == 1


def test_a_process_has_a_limit_of_inputs_and_an_edge_of_cameras() -> None:
    cameras: dict[str, Any] = {f"c{number}": capture() for number in range(65)}
    fault = only(refused(**cameras, b=buffer(list(cameras)), p=processor("b")))
    assert fault.what == "buffer 'b' reads from 65 processes" and fault.expected == "at most 64" and fault.line == 66
    cameras.popitem()
    built(**cameras, b=buffer(list(cameras)), p=processor("b"))
    twice: dict[str, Any] = {name: processor("c", replicas=33) for name in ("p", "q")}
    fault = only(refused(c=capture(), **twice, s=sink(list(twice))))
    assert "sink 's' reads from 66 processes" in fault.what and "two of them" in fault.hint
    many: dict[str, Any] = {f"c{number}": capture() for number in range(129)}
    names: list[str | EdgeInput] = list(many)
    split: dict[str, Any] = {"b0": buffer(names[:43]), "b1": buffer(names[43:86]), "b2": buffer(names[86:])}
    fault = only(refused(**many, **split, all=buffer(list(split)), p=processor("all")))
    assert "the frames of 129 captures come through buffer 'all'" in fault.what and "at most 128" in fault.expected


def test_mermaid_shows_kinds_policies_and_marks_and_survives_its_own_keywords() -> None:
    nodes: dict[str, NodeOptions] = {"end": capture(), "class": processor("end", replicas=2), "graph": sink("class")}
    drawn = mermaid(built(**nodes))
    assert drawn.splitlines() == [
        "flowchart LR",
        '    n0(["end<br/>capture, 20 slots"])',
        '    n1["class<br/>processor x2"]',
        '    n2[/"graph<br/>sink"/]',
        '    n0 -->|"block at 4"| n1',
        '    n1 -->|"block at 256"| n2',
    ]


def test_no_edge_to_an_optional_node_blocks() -> None:
    nodes: dict[str, NodeOptions] = {
        "cam": CaptureOptions(source="clip.mp4"),
        "work": ProcessorOptions(input="cam", use="a:b"),
        "log": SinkOptions(input="work", use="a:b"),
        "hook": SinkOptions(input="work", use="a:b", optional=True),
    }
    graph, faults = build_graph(nodes)
    assert graph is not None and faults == []
    policies = {edge.consumer: (edge.when_full, edge.is_optional) for edge in graph.edges}
    assert policies == {"work": ("block", False), "log": ("block", False), "hook": ("drop-oldest", True)}


def test_an_edge_has_what_its_input_says_and_else_what_its_producer_says() -> None:
    graph = built(
        camera=capture(camera="door"),
        buffer=buffer("camera", high_water_mark=10, low_water_mark=6, when_full="block", max_age="2s"),
        own=processor(
            own("buffer", when_full="drop-newest", high_water_mark=4, max_age="500ms", fps=3, cameras="door")
        ),
        as_all=processor("buffer"),
    )
    mine, other = graph.edges_to("own")[0], graph.edges_to("as_all")[0]
    assert (mine.when_full, mine.mark, mine.low, mine.max_age_ns) == ("drop-newest", 4, 3, 500_000_000)
    assert (mine.fps, mine.cameras) == (3, ("door",))
    assert (other.when_full, other.mark, other.low, other.max_age_ns) == ("block", 10, 6, 2_000_000_000)
    assert (other.fps, other.cameras) == (None, ())
    assert mine.terms == "drop-newest at 4, at most 0.5 s old, 3 fps, only door" and other.terms.startswith("block at")
    assert mine.terms in mermaid(graph)


@pytest.mark.parametrize("terms", [{"when_full": "drop-newest"}, {"fps": 3}, {"cameras": ["camera"]}])
def test_an_edge_whose_queue_may_hold_other_frames_than_those_beside_it_adds_its_own_mark(terms: Any) -> None:
    readers = {name: processor("camera", window=1) for name in ("a", "b")}
    mine = processor(own("camera", high_water_mark=20, **terms), window=1)
    assert (
        built(camera=capture(high_water_mark=8, guests=8), **readers, own=mine).nodes["camera"].slots
        == 8 + 20 + 3 + 8 + 4
    )


def test_the_longest_of_the_marks_counts_where_all_edges_hold_the_same_frames() -> None:
    mine = processor(own("camera", high_water_mark=20, when_full="drop-oldest", max_age="1s"), window=1)
    camera = capture(guests=8)
    slots = built(camera=camera, as_all=processor("camera", window=1), own=mine).nodes["camera"].slots
    assert slots == 20 + 2 + 8 + 4


def test_only_an_edge_without_a_policy_of_its_own_takes_the_one_that_its_source_turns_out_to_need() -> None:
    camera = capture("rtsp://h/x")
    graph = built(
        camera=camera,
        as_all=processor("camera"),
        own=processor(own("camera", when_full="drop-newest")),
        loose=processor("camera", optional=True),
    )
    assert {edge.consumer: edge.is_policy_open for edge in graph.edges} == {
        "as_all": True,
        "own": False,
        "loose": False,
    }


def test_what_cannot_be_on_one_edge_is_refused_with_its_value() -> None:
    nodes: dict[str, Any] = {"door": capture(), "yard": capture("rtsp://h/x", camera="back")}
    fault = only(refused(**nodes, b=buffer(["door", "yard"]), p=processor(own("b", cameras=["door", "bakc"]))))
    assert "'p' wants frames of camera 'bakc', and none come through 'b'" in fault.what
    assert (fault.expected, fault.hint) == ("door or back", "write `back`")
    several: dict[str, Any] = {"c": capture(), "p": processor("c", replicas=4)}
    fault = only(refused(**several, s=sink(own("p", fps=1))))
    assert "`fps: 1` of 'p', which has 4 replicas" in fault.what and "`input` of 'p'" in fault.hint
    fault = only(refused(c=capture(), p=processor([own("c", when_full="block")], optional=True)))
    assert "'p' is `optional`, but its input 'c' says `when_full: block`" in fault.what
    fault = only(refused(c=capture(), p=processor([own("c", fps=3), "c"])))
    assert fault.what == "node 'p' reads twice from 'c'"


def test_the_mark_holds_for_each_camera_that_comes_by_one_input_where_cameras_have_replicas_of_their_own() -> None:
    nodes: dict[str, NodeOptions] = {
        "a": capture(guests=0), "b": capture(guests=0),
        "first": buffer(["a", "b"], guests=0),
        "second": buffer("first", high_water_mark=10, guests=0),
    }  # fmt: skip
    shared = built(**nodes, look=processor("second", replicas=2))
    by_camera = built(**nodes, look=processor("second", replicas=2, partition_by="camera"))
    assert by_camera.edges_to("look")[0].cells == shared.edges_to("look")[0].cells == 2 * 10 + 2 * 4
    assert by_camera.nodes["second"].held - shared.nodes["second"].held == 10
    assert by_camera.edges_to("look")[0].terms == "drop-oldest at 10, by camera"


def test_cameras_of_inputs_of_their_own_need_no_more_room_than_before() -> None:
    nodes: dict[str, NodeOptions] = {"a": capture(), "b": capture(), "all": buffer(["a", "b"])}
    shared = built(**nodes, look=processor("all", replicas=2))
    by_camera = built(**nodes, look=processor("all", replicas=2, partition_by="camera"))
    assert by_camera.nodes == shared.nodes


@pytest.mark.parametrize(
    ("inputs", "size", "window"), [(["a"], 8, 16), (["a", "b"], 8, 8), (["a", "b", "c"], 8, 6), (["a", "b"], 2, 4)]
)
def test_the_windows_of_all_inputs_together_hold_two_batches_unless_they_are_written(
    inputs: list[str | EdgeInput], size: int, window: int
) -> None:
    cameras = {str(name): capture() for name in inputs}
    graph = built(**cameras, model=processor(inputs, batch=BatchOptions(size=size)))
    assert {edge.window for edge in graph.edges_to("model")} == {window}
    assert window * len(inputs) >= 2 * size
    own = built(**cameras, model=processor(inputs, batch=BatchOptions(size=size), window=30))
    assert {edge.window for edge in own.edges_to("model")} == {30}


def test_a_window_that_no_batch_can_fill_is_refused() -> None:
    fault = only(refused(a=capture(), b=capture(), it=processor(["a", "b"], window=3, batch=BatchOptions(size=8))))
    assert (fault.line, fault.what) == (
        3,
        "node 'it' holds at most 6 frames at once (`window: 3`), fewer than its batch",
    )
    assert fault.hint == "write `window: 4`, or leave it out"


def test_a_batch_for_a_shipped_processor_that_takes_single_frames_is_refused() -> None:
    motion = ProcessorOptions(input="a", use="motion", batch=BatchOptions(size=8))
    fault = only(refused(a=capture(), it=motion))
    assert fault.what == "node 'it' has a `batch`, but 'motion' takes single frames"


def chained(**detect: Any) -> Graph:
    return built(
        camera=capture(guests=0, high_water_mark=8, memory="1GiB"),
        detect=processor("camera", replicas=2, window=3, **detect),
        track=processor("detect", window=4),
        last=processor("track", window=1),
        events=sink("detect"),
    )


def test_what_a_relay_has_passed_on_follows_from_what_is_below_it() -> None:
    graph = chained()
    edges = {(edge.producer, edge.consumer): edge for edge in graph.edges}
    assert graph.nodes["last"].held == 0
    assert graph.nodes["track"].held == FRAMES_MARK + 1
    assert (edges["detect", "track"].mark, edges["detect", "track"].passed_max) == (FRAMES_MARK, FRAMES_MARK + 1)
    assert graph.nodes["detect"].held == FRAMES_MARK + 4 + FRAMES_MARK + 1
    assert edges["camera", "detect"].limit == 3 + graph.nodes["detect"].held
    assert graph.nodes["camera"].slots == 8 + 2 * edges["camera", "detect"].limit + SPARE_FRAMES


def test_edges_below_a_relay_keep_as_many_tombstones_as_their_producer_is_leased() -> None:
    edges = {(edge.producer, edge.consumer): edge for edge in chained().edges}
    assert edges["camera", "detect"].tombstones == edges["detect", "events"].tombstones == 0
    assert edges["detect", "track"].tombstones == edges["camera", "detect"].limit
    assert edges["track", "last"].tombstones == 2 * edges["detect", "track"].limit
    assert edges["detect", "events"].mark == 256
    assert edges["detect", "track"].cells == FRAMES_MARK + edges["detect", "track"].window_total + (
        edges["camera", "detect"].limit
    )


def test_a_reader_may_say_the_mark_of_a_processor_s_frames_and_take_only_those_with_results() -> None:
    wanted = EdgeInput(from_="detect", high_water_mark=9, only="results")
    graph = built(camera=capture(), detect=processor("camera"), queue=buffer(wanted), track=processor("queue"))
    edge = next(edge for edge in graph.edges if edge.consumer == "queue")
    assert (edge.mark, edge.only_results, edge.has_own_frames) == (9, True, True)
    assert edge.terms == "block at 9, only with results"
    assert next(edge for edge in graph.edges if edge.consumer == "track").tombstones == graph.nodes["queue"].held


@pytest.mark.parametrize("reader", [processor, sink])
def test_only_results_is_for_readers_of_a_processor_s_frames(reader: Any) -> None:
    source = "camera" if reader is processor else "detect"
    wanted = EdgeInput(from_=source, only="results")
    fault = only(refused(camera=capture(), detect=processor("camera"), it=reader(wanted)))
    assert (
        f"node 'it' asks for `only: results` of the {'capture' if reader is processor else 'processor'}" in fault.what
    )


def test_results_that_no_message_could_hold_are_refused() -> None:
    nodes: dict[str, Any] = {"camera": capture(), "p0": processor("camera", event_bytes=1 << 20)}
    nodes |= {f"p{number}": processor(f"p{number - 1}", event_bytes=1 << 20) for number in range(1, 9)}
    built(**nodes)
    fault = only(refused(**nodes, last=processor("p8")))
    assert "'last' with results of up to 9437184 bytes" in fault.what and "event_bytes" in fault.hint


JOINED = """name: demo
nodes:
  camera: {kind: capture, source: clip.mp4, width: 1920, height: 1080, format: yuv420p, %s}
  detect: {kind: processor, input: camera, use: "m:C"}
  pose: {kind: processor, input: camera, use: "m:C"}
  it:
    kind: processor
    use: "m:C"
    input: [detect, pose]
    join: frame
"""


def test_a_ring_with_fewer_slots_than_a_join_needs_is_refused_with_both_numbers() -> None:
    assert told(JOINED % "slots: 26") == [
        "3: capture 'camera' has 26 slots, expected at least 27 (marks, windows and `guests` below it), write"
        " `slots: 27`, leave it out, or lower marks and windows below it"
    ]
    assert told(JOINED % "slots: 27") == []


def test_a_window_of_a_join_that_needs_more_memory_than_was_given_is_refused_with_both_numbers() -> None:
    text = JOINED % "memory: 128MiB"
    assert told(text) == []
    assert told(text + "    window: 200\n") == [
        "11: node 'it': with `window: 200` camera 'camera' needs 1259 MiB (419 slots of 1920x1080 yuv420p), expected"
        " at most `memory: 128MiB`, write `memory: 1259MiB`, or a lower `window`, or leave it out: it follows from"
        " `memory`"
    ]
    assert told((JOINED % "memory: 1259MiB") + "    window: 200\n") == []


def test_what_orders_or_joins_is_drawn_with_its_words() -> None:
    graph = built(
        camera=capture(memory="1GiB"),
        detect=processor("camera"),
        pose=processor("camera"),
        merge=processor(["detect", "pose"], join="frame", order="camera"),
        last=processor("merge", order="camera", replicas=2),
    )
    assert [line.partition("|")[2].partition("|")[0] for line in mermaid(graph).splitlines() if "-->" in line][2:] == [
        '"block at 2, joined and in order"', '"block at 2, joined and in order"', '"block at 2, by camera, in order"',
    ]  # fmt: skip
