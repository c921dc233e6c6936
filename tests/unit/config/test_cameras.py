from __future__ import annotations

from pathlib import Path

import pytest

from detektr.config.graph.checks import mermaid
from detektr.config.json_schema import json_schema
from detektr.config.load import Pipeline, PipelineFileError, check_machine, load_pipeline
from detektr.options import CaptureOptions, inputs_of

CAMERAS = """name: shop
camera_defaults: {fps: 5, optional: true}
cameras:
  door: "rtsp://user:${PASSWORD}@10.0.0.5/stream"
  yard: {source: "rtsp://10.0.0.6/stream", fps: 10}
nodes:
"""
SHARED = """
  all: {kind: buffer, input: cameras}
  motion: {kind: processor, input: all, use: "my.module:Motion", replicas: 2}
"""
EACH = """
  own: {kind: buffer, input: cameras, per_camera: true}
  motion: {kind: processor, input: own, use: "my.module:Motion", per_camera: true}
  events: {kind: sink, input: motion, use: "my.module:Events"}
"""


def loaded(folder: Path, text: str, **environment: str) -> Pipeline:
    path = folder / "pipeline.yaml"
    path.write_text(text)
    return load_pipeline(path, {"PASSWORD": "hunter2", "YES": "true", **environment})


def refusal(folder: Path, text: str) -> list[str]:
    """Return the faults without the file's name: `LINE: what, expected, what to do`."""
    with pytest.raises(PipelineFileError) as caught:
        loaded(folder, text)
    lines = str(caught.value).split("\n")[:-1]
    return [line.removeprefix(f"{folder / 'pipeline.yaml'}:") for line in lines]


def test_each_camera_is_a_capture_of_its_name_with_what_all_share(tmp_path: Path) -> None:
    nodes = loaded(tmp_path, CAMERAS + SHARED).options.nodes
    assert nodes["door"] == CaptureOptions(source="rtsp://user:hunter2@10.0.0.5/stream", fps=5, optional=True)
    assert nodes["yard"] == CaptureOptions(source="rtsp://10.0.0.6/stream", fps=10, optional=True)
    assert list(nodes) == ["door", "yard", "all", "motion"]


def test_a_node_that_reads_cameras_reads_all_of_them(tmp_path: Path) -> None:
    graph = loaded(tmp_path, CAMERAS + SHARED).graph
    assert graph.nodes["all"].inputs == ("door", "yard")
    assert {(edge.producer, edge.consumer) for edge in graph.edges} == {
        ("door", "all"), ("yard", "all"), ("all", "motion"),
    }  # fmt: skip


def test_a_node_per_camera_reads_what_there_is_of_its_camera_and_others_read_all_of_it(tmp_path: Path) -> None:
    pipeline = loaded(tmp_path, CAMERAS + EACH)
    assert {name: node.inputs for name, node in pipeline.graph.nodes.items() if node.kind != "capture"} == {
        "own-door": ("door",), "own-yard": ("yard",),
        "motion-door": ("own-door",), "motion-yard": ("own-yard",),
        "events": ("motion-door", "motion-yard"),
    }  # fmt: skip
    assert "motion-yard<br/>processor" in mermaid(pipeline.graph)


def test_a_camera_and_a_made_node_can_be_read_by_their_own_names(tmp_path: Path) -> None:
    more = EACH + '  plates: {kind: processor, input: own-door, use: "my.module:Plates"}\n'
    more += '  look: {kind: processor, input: [yard], use: "my.module:Look"}\n'
    nodes = loaded(tmp_path, CAMERAS + more).options.nodes
    assert (inputs_of(nodes["plates"]), inputs_of(nodes["look"])) == (("own-door",), ("yard",))


def test_cameras_stand_beside_captures_of_the_nodes(tmp_path: Path) -> None:
    clip = "  clip: {kind: capture, source: clip.mp4}\n"
    text = CAMERAS + clip + SHARED.replace("input: cameras", "input: [cameras, clip]")
    assert loaded(tmp_path, text).graph.nodes["all"].inputs == ("door", "yard", "clip")


def test_per_camera_may_come_from_a_variable(tmp_path: Path) -> None:
    nodes = loaded(tmp_path, CAMERAS + EACH.replace("per_camera: true", "per_camera: ${YES}")).options.nodes
    assert "motion-yard" in nodes


def test_a_camera_of_a_variable_is_never_printed(tmp_path: Path) -> None:
    text = CAMERAS.replace("10.0.0.5", "10.0.0.5:port")
    pipeline = loaded(tmp_path, text + SHARED)
    assert pipeline.secrets == {"hunter2": "${PASSWORD}"}
    (fault,) = check_machine(pipeline)
    assert fault.line == 4 and "'port'" in fault.text and "hunter2" not in fault.text
    (told,) = refusal(tmp_path, CAMERAS.replace('door: "', 'door: "rstp://') + SHARED)
    assert told.startswith("4: camera 'door': `source` begins with 'rstp://'") and "hunter2" not in told


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (CAMERAS + SHARED.replace("all, use", "al, use"), "9: node 'motion' reads from 'al', "),
        (
            CAMERAS.replace("fps: 5", "fps: fast") + EACH,
            "2: `camera_defaults`: `fps` is 'fast', expected a number from 0.001 to 1000, correct it, or leave it out",
        ),
        (CAMERAS.replace("fps: 10", "fpps: 10") + SHARED, "5: camera 'yard' has the unknown key 'fpps', "),
        (CAMERAS.replace("fps: 5", "source: x") + SHARED, "2: `camera_defaults` has `source`, expected keys that"),
        (CAMERAS.replace("{fps: 5, optional: true}", "5") + SHARED, "2: `camera_defaults` is not a mapping, "),
        (CAMERAS.replace("fps: 10", "kind: buffer") + SHARED, "5: camera 'yard' has a `kind`, expected a capture, "),
        (
            CAMERAS + "  door: {kind: buffer, input: yard}\n" + SHARED,
            "7: node 'door' has the name of a camera (line 4)",
        ),
        (CAMERAS.replace("yard:", "cameras:") + SHARED, "5: a camera named 'cameras', "),
        (CAMERAS + SHARED.replace("all:", "cameras:"), "8: a node named 'cameras', "),
        (CAMERAS + EACH + "  own-yard: {kind: buffer, input: yard}\n", "8: node 'own' becomes 'own-yard' for camera"),
        (
            CAMERAS.replace("yard:", "a-yard-with-quite-a-long-name:") + EACH.replace("motion", "detector"),
            "9: node 'detector' becomes 'detector-a-yard-with-quite-a-long-name' for camera",
        ),
        (
            CAMERAS + EACH.replace("cameras, per_camera: true", "cameras"),
            "9: node 'motion' has `per_camera: true` and reads from 'own', which has not, expected cameras,"
            " write `per_camera: true` there too, or remove it here",
        ),
        (
            CAMERAS + EACH.replace("input: own", "input: onw"),
            "9: node 'motion' has `per_camera: true` and reads from 'onw', which has not, expected cameras or own,"
            " write `own`",
        ),
        (CAMERAS + EACH.replace("per_camera: true}", "per_camera: yes}", 1), "8: node 'own': `per_camera` is 'yes', "),
        (
            CAMERAS + "  clip: {kind: capture, source: x, per_camera: true}\n" + SHARED,
            "7: node 'clip' has the unknown key 'per_camera', ",
        ),
        ("name: shop\ncameras: {}\nnodes:" + SHARED, "2: `cameras` is empty, expected a mapping of names to cameras, "),
        ("name: shop\ncameras: [{name: door}]\nnodes:" + SHARED, "2: `cameras` is a list, expected a mapping"),
        ("name: shop\ncameras:\n  door:\nnodes:" + SHARED, "3: camera 'door' is empty, expected a source, or a map"),
        ("name: shop\nnodes:" + EACH, "3: node 'own' has `per_camera: true`, but this file has no `cameras`, "),
        ("name: shop\ncamera_defaults: {fps: 5}\nnodes:" + SHARED, "2: the file has `camera_defaults`, but no"),
    ],
)
def test_a_wrong_file_is_refused_on_its_line_and_in_its_own_names(tmp_path: Path, text: str, expected: str) -> None:
    told = refusal(tmp_path, text)
    assert any(line.startswith(expected) for line in told), told
    assert not any("own-" in line.partition(", expected")[0] for line in told if "becomes" not in line), told


def test_what_is_wrong_for_every_camera_is_told_once(tmp_path: Path) -> None:
    text = CAMERAS + EACH.replace("per_camera: true}", "max_age: 0s, per_camera: true}", 1)
    assert [line.partition(",")[0] for line in refusal(tmp_path, text)] == ["8: node 'own': `max_age` is '0s'"]
    unread = CAMERAS + "  own: {kind: buffer, input: cameras, per_camera: true}\n"
    (told,) = refusal(tmp_path, unread)
    assert told.startswith("7: nobody reads from the buffer 'own': ") and "`input: own`" in told


def test_more_nodes_than_a_pipeline_may_have_are_refused_before_they_are_made(tmp_path: Path) -> None:
    cameras = "".join(f"  c{number}: x.mp4\n" for number in range(100))
    (told,) = refusal(tmp_path, f"name: shop\ncameras:\n{cameras}nodes:{EACH}")
    what = "2: with one of each `per_camera` node for 100 cameras, the file has 301 nodes"
    assert told.startswith(f"{what}, expected at most 256")


def test_inputs_on_lines_of_their_own_keep_their_lines(tmp_path: Path) -> None:
    text = CAMERAS + SHARED.replace("input: cameras", "input: [\n    cameras,\n    garden,\n  ]")
    (told,) = refusal(tmp_path, text)
    assert told.startswith("10: node 'all' reads from 'garden'")


def test_the_schema_has_cameras_and_what_they_share() -> None:
    schema = json_schema()
    source, mapping = schema["properties"]["cameras"]["additionalProperties"]["anyOf"]
    assert source["type"] == "string" and mapping == {"$ref": "#/$defs/Camera"}
    assert schema["$defs"]["Camera"]["required"] == ["source"]
    shared = schema["properties"]["camera_defaults"]["properties"]
    assert "fps" in shared and not {"kind", "source", "camera"} & shared.keys()
    assert "per_camera" in schema["$defs"]["ProcessorOptions"]["properties"]
    assert "per_camera" not in schema["$defs"]["CaptureOptions"]["properties"]


def test_what_is_agreed_for_all_cameras_stands_on_the_edge_of_each(tmp_path: Path) -> None:
    shared = SHARED.replace("input: cameras", "input: {from: cameras, when_full: block, high_water_mark: '${MARK}'}")
    graph = loaded(tmp_path, CAMERAS + shared, MARK="5").graph
    assert [(edge.producer, edge.when_full, edge.mark) for edge in graph.edges_to("all")] == [
        ("door", "block", 5), ("yard", "block", 5),
    ]  # fmt: skip
    listed_twice = SHARED.replace("input: cameras", "input: [{from: door, fps: 3}, {from: yard, fps: '${RATE}'}]")
    graph = loaded(tmp_path, CAMERAS + listed_twice, RATE="4").graph
    assert [(edge.producer, edge.fps) for edge in graph.edges_to("all")] == [("door", 3), ("yard", 4)]


def test_what_is_agreed_for_a_node_per_camera_stands_on_the_edge_of_each(tmp_path: Path) -> None:
    each = EACH.replace("input: own,", "input: {from: own, fps: 3},")
    assert each != EACH
    graph = loaded(tmp_path, CAMERAS + each).graph
    edges = [(edge.producer, edge.fps) for edge in graph.edges if edge.consumer.startswith("motion")]
    assert edges == [("own-door", 3), ("own-yard", 3)]


def test_a_fault_of_an_edge_from_all_cameras_is_told_once_on_its_line(tmp_path: Path) -> None:
    more = SHARED.replace("input: cameras", "input: [{from: cameras, fps: 0}]")
    (told,) = refusal(tmp_path, CAMERAS + more)
    assert "`input`: `fps` is 0" in told
