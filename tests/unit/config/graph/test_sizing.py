"""What marks, guests and slots follow from: written numbers, else the memory of each camera above."""

from __future__ import annotations

from typing import Any

import pytest

from detektr.config.document import Fault
from detektr.config.graph.checks import build_graph
from detektr.config.graph.sizing import ENOUGH, rung
from detektr.config.graph.topology import CameraMemory, Graph
from detektr.options import BufferOptions, CaptureOptions, EdgeInput, NodeOptions, ProcessorOptions, SinkOptions

MIB = 1 << 20
SLOT = 760 * 4096  # 1920x1080 yuv420p, whole pages


def camera(source: str = "rtsp://h/x", **more: Any) -> CaptureOptions:
    return CaptureOptions(source=source, **more)


def buffer(inputs: Any, **more: Any) -> BufferOptions:
    return BufferOptions(input=inputs, **more)


def processor(inputs: Any, **more: Any) -> ProcessorOptions:
    return ProcessorOptions(input=inputs, use="m:C", **more)


def built(memory: str | None = None, **nodes: NodeOptions) -> Graph:
    graph, faults = build_graph(nodes, memory=memory)
    assert faults == [] and graph is not None
    return graph


def refused(memory: str | None = None, **nodes: NodeOptions) -> list[Fault]:
    graph, faults = build_graph(nodes, lambda *path: 100 if path[0] == "memory" else len(path), memory=memory)
    assert graph is None
    return faults


def memory_of(graph: Graph, name: str = "cam") -> CameraMemory:
    memory = graph.nodes[name].memory
    assert memory is not None
    return memory


def chain(memory: str | None = None, cam: CaptureOptions | None = None, **more: Any) -> Graph:
    return built(memory, cam=cam or camera(), buf=buffer("cam"), look=processor("buf", **more))


def test_both_numbers_grow_with_the_level_and_the_first_level_is_the_least() -> None:
    assert [rung(level) for level in (0, 1, 2, 4, 5, ENOUGH, ENOUGH + 1, 100)] == [
        (1, 0), (1, 2), (2, 2), (4, 2), (4, 3), (4, 8), (5, 8), (94, 8),
    ]  # fmt: skip


def test_a_camera_behind_a_buffer_and_a_processor_takes_64_mib_at_the_defaults() -> None:
    graph = chain()
    assert graph.nodes["cam"].slots == 20 and memory_of(graph).total_bytes <= 64 * MIB
    into, out = graph.edges
    assert (into.mark, out.mark, out.window) == (2, 4, 4)
    assert graph.nodes["buf"].guests == graph.nodes["cam"].guests == 2  # one `detektr.attach` each


def test_a_small_picture_does_not_get_a_longer_queue_than_is_fresh_but_memory_that_is_written_gives_one() -> None:
    small: dict[str, Any] = {"width": 640, "height": 360}
    graph = chain(cam=camera(**small))
    assert graph.edges[1].mark == 4 and memory_of(graph).total_bytes < 16 * MIB
    assert chain("64MiB", cam=camera(**small)).edges[1].mark > 100
    assert chain(cam=camera(**small, memory="64MiB")).edges[1].mark > 100


def test_a_capture_says_its_own_memory_before_the_pipeline_does() -> None:
    graph = chain("1GiB", cam=camera(memory="100MiB"))
    assert memory_of(graph).limit_bytes == 100 * MIB and memory_of(graph).total_bytes <= 100 * MIB
    assert graph.edges[1].mark == 5


def test_the_size_that_a_file_declares_counts_and_1080p_is_assumed() -> None:
    assert memory_of(chain()).picture.nbytes == 1920 * 1080 * 3 // 2 and memory_of(chain()).is_assumed
    declared = chain(cam=camera(width=1280, height=720, format="bgr24"))
    assert memory_of(declared).picture.nbytes == 1280 * 720 * 3 and not memory_of(declared).is_assumed


def test_what_the_graph_needs_to_flow_is_never_taken_away_and_the_excess_is_told() -> None:
    graph = chain("1MiB")
    assert graph.nodes["cam"].slots == 13 and memory_of(graph).is_over
    assert [edge.mark for edge in graph.edges] == [2, 1] and graph.nodes["cam"].guests == 0


def test_without_memory_in_the_file_written_marks_are_kept_and_there_is_room_for_an_ephemeral_consumer() -> None:
    graph = built(cam=camera(), buf=buffer("cam", high_water_mark=64), look=processor("buf"))
    assert graph.edges[1].mark == 64 and memory_of(graph).is_over and not memory_of(graph).is_limit_written
    assert graph.nodes["buf"].guests == 2


def test_written_marks_that_do_not_fit_in_written_memory_are_refused_with_what_is_needed() -> None:
    nodes: dict[str, Any] = {
        "cam": camera(), "buf": buffer("cam", high_water_mark=64), "look": processor("buf"),
    }  # fmt: skip
    (fault,) = refused("64MiB", **nodes)
    assert "`high_water_mark: 64`" in fault.what and "'cam' needs 226 MiB" in fault.what and "assumed" in fault.what
    assert fault.line == 3  # of the key, not of the node
    assert "memory: 64MiB" in fault.expected and "`memory: 226MiB`" in fault.hint
    assert built("226MiB", **nodes).edges[1].mark == 64


@pytest.mark.parametrize(
    ("key", "nodes"),
    [
        ("slots: 30", {"cam": camera(slots=30), "look": processor("cam")}),
        ("guests: 40", {"cam": camera(guests=40), "look": processor("cam")}),
        ("window: 40", {"cam": camera(), "look": processor("cam", window=40)}),
        (
            "high_water_mark: 40",
            {"cam": camera(), "look": processor([EdgeInput(from_="cam", high_water_mark=40)])},
        ),
    ],
)
def test_every_number_that_takes_memory_is_told_by_its_own_key(key: str, nodes: dict[str, NodeOptions]) -> None:
    (fault,) = refused("64MiB", **nodes)
    assert f"`{key}`" in fault.what


def test_a_mark_that_several_cameras_share_is_told_once() -> None:
    cameras: dict[str, NodeOptions] = {f"c{number}": camera() for number in range(3)}
    faults = refused("64MiB", **cameras, buf=buffer(list(cameras), high_water_mark=64), look=processor("buf"))
    assert len(faults) == 1


def test_a_buffer_of_several_cameras_has_the_mark_that_the_poorest_of_them_allows() -> None:
    rich, poor = camera(memory="1GiB"), camera(memory="50MiB")
    graph = built(rich=rich, poor=poor, buf=buffer(["rich", "poor"]), look=processor("buf"))
    assert memory_of(graph, "poor").total_bytes <= 50 * MIB
    assert graph.edges_to("look")[0].mark == 1
    assert memory_of(graph, "rich").total_bytes < 64 * MIB


def test_journals_are_shared_among_the_cameras_whose_frames_they_hold() -> None:
    cameras: dict[str, Any] = {f"c{number}": camera() for number in range(4)}
    more: dict[str, Any] = {"look": processor("buf"), "log": SinkOptions(input="look", use="m:C")}
    graph = built(**cameras, buf=buffer(list(cameras)), **more)
    journals = sum(edge.journal_bytes for edge in graph.edges)
    assert abs(sum(memory_of(graph, name).journal_bytes for name in cameras) - journals) < 8
    alone = built(cam=camera(), buf=buffer("cam"), **more)
    assert memory_of(alone).journal_bytes > 2 * MIB and memory_of(alone).total_bytes <= 64 * MIB


def test_slots_that_are_written_bound_the_marks() -> None:
    graph = built(cam=camera(slots=14), look=processor("cam"))
    assert (graph.nodes["cam"].slots, graph.edges[0].mark, graph.nodes["cam"].guests) == (14, 4, 2)
    assert built(cam=camera(slots=9), look=processor("cam")).nodes["cam"].guests == 0


def test_a_mark_stays_above_the_low_water_mark_that_is_written() -> None:
    graph = built(cam=camera(), buf=buffer("cam", low_water_mark=20), look=processor("buf"))
    assert (graph.edges[1].mark, graph.edges[1].low) == (21, 20)


@pytest.mark.parametrize("form", ["node", "edge"])
def test_a_fresh_reader_of_a_camera_has_one_frame_waiting_and_one_in_work(form: str) -> None:
    look = processor("buf", fresh=True) if form == "node" else processor(EdgeInput(from_="buf", fresh=True))
    graph = built(cam=camera(), buf=buffer("cam"), look=look)
    edge = graph.edges_to("look")[0]
    assert (edge.when_full, edge.mark, edge.window, edge.is_fresh) == ("drop-oldest", 1, 1, True)
    assert edge.terms == "fresh, drop-oldest at 1" and not graph.nodes["cam"].is_on_demand


@pytest.mark.parametrize("source", ["clip.mp4", "lavfi:testsrc2"])
def test_a_file_at_full_speed_waits_for_its_fresh_readers_and_reads_no_further_than_they_have_room(source: str) -> None:
    graph = built(cam=camera(source), buf=buffer("cam", guests=0), look=processor("buf", fresh=True, replicas=2))
    assert graph.edges_to("look")[0].when_full == "block"
    assert graph.nodes["cam"].is_on_demand and graph.nodes["buf"].is_on_demand
    into = graph.edges_to("buf")[0]
    assert (into.mark, into.window) == (1, 1 + 2)


@pytest.mark.parametrize(
    "nodes",
    [
        {"cam": camera("clip.mp4", realtime=True), "look": processor("cam", fresh=True)},
        {"cam": camera("clip.mp4", when_full="drop-oldest"), "look": processor("cam", fresh=True)},
        {"cam": camera("clip.mp4"), "look": processor("cam", fresh=True, optional=True)},
        {"cam": camera("clip.mp4"), "live": camera(), "look": processor("buf", fresh=True),
         "buf": buffer(["cam", "live"])},
    ],
)  # fmt: skip
def test_nothing_else_waits_for_a_fresh_reader(nodes: dict[str, Any]) -> None:
    graph = built(**nodes)
    assert graph.edges_to("look")[0].when_full == "drop-oldest" and not graph.nodes["cam"].is_on_demand


def test_a_file_with_another_reader_beside_a_fresh_one_is_read_as_that_one_wants() -> None:
    graph = built(cam=camera("clip.mp4"), look=processor("cam", fresh=True), log=processor("cam"))
    assert not graph.nodes["cam"].is_on_demand


def test_what_contradicts_fresh_is_refused_with_its_key() -> None:
    own = EdgeInput(from_="cam", fresh=True, high_water_mark=5, when_full="drop-newest")
    faults = refused(cam=camera(), look=processor(own, window=4))
    assert sorted(fault.what for fault in faults) == [
        "node 'look' has `high_water_mark: 5` beside `fresh: true`",
        "node 'look' has `when_full: drop-newest` beside `fresh: true`",
        "node 'look' has `window: 4` beside `fresh: true`",
    ]
    (fault,) = refused(cam=camera(), buf=buffer(EdgeInput(from_="cam", fresh=True)), look=processor("buf"))
    assert "buffer 'buf' asks for `fresh: true`" in fault.what and "processors that read 'buf'" in fault.hint
