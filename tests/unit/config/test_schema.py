from __future__ import annotations

import json

import pytest

from detektr.config.document import read_document
from detektr.config.json_schema import json_schema
from detektr.config.schema import KINDS, OptionsReading, read_options
from detektr.config.suggestions import listed, nearest
from detektr.options import (
    BatchOptions,
    BufferOptions,
    CaptureOptions,
    EdgeInput,
    ProcessorOptions,
    RetryOptions,
    SinkOptions,
)

GOOD = """name: demo
nodes:
  camera: {kind: capture, source: clip.mp4}
  motion: {kind: processor, input: camera, use: "my.module:Motion", with: {threshold: 0.5, labels: [a]}, replicas: 2}
"""


def read(text: str, **environment: str) -> OptionsReading:
    return read_options(read_document(text, environment))


def node_faults(node: str, **environment: str) -> list[str]:
    reading = read(f"name: demo\nnodes:\n  it: {node}\n", **environment)
    assert all(fault.line == 3 for fault in reading.faults)
    return [fault.text for fault in reading.faults]


def test_a_good_file_becomes_options_with_defaults() -> None:
    reading = read(GOOD)
    assert reading.faults == ()
    assert reading.options.name == "demo"
    assert reading.options.audit.to == "none" and reading.options.metrics.port is None
    assert reading.options.nodes["camera"] == CaptureOptions(source="clip.mp4")
    assert reading.options.nodes["motion"] == ProcessorOptions(
        input="camera", use="my.module:Motion", with_={"threshold": 0.5, "labels": ["a"]}, replicas=2
    )


def test_audit_is_a_text_or_a_mapping_and_metrics_has_a_host() -> None:
    assert read(GOOD + "audit: sqlite:audit.db\n").options.audit.to == "sqlite:audit.db"
    audit = read(GOOD + "audit: {to: 'redis://h:1/0'}\nmetrics: {port: 0, host: '::1'}\n").options
    assert audit.audit.to == "redis://h:1/0"
    assert (audit.metrics.port, audit.metrics.host) == (0, "::1")


@pytest.mark.parametrize(
    ("text", "line", "parts"),
    [
        ("nodes:\n  a: {kind: capture, source: x}\n", 1, ["`name` is missing"]),
        ("name: demo\n", 1, ["`nodes` is missing"]),
        ("name: demo\nnodes:\n", 2, ["`nodes` is empty"]),
        ("name: demo\nnodes: {}\n", 2, ["`nodes` is empty"]),
        ("name: demo\nnodes: [a, b]\n", 2, ["`nodes` is ['a', 'b']", "a mapping"]),
        ("name: a/b\nnodes:\n  a: {kind: capture, source: x}\n", 1, ["`name` is 'a/b'", "a letter"]),
        ("name: 12\nnodes:\n  a: {kind: capture, source: x}\n", 1, ["`name` is 12"]),
        ("name:\nnodes:\n  a: {kind: capture, source: x}\n", 1, ["`name` is empty"]),
        (
            GOOD + "metrcs: {port: 1}\n",
            5,
            ["'metrcs'", "camera_defaults, nodes, memory", "metrics or web", "write `metrics`"],
        ),
        (GOOD + "memory: 64\n", 5, ["`memory` is 64", "64MiB or 1GiB"]),
        (GOOD + "memory: 0MiB\n", 5, ["`memory` is '0MiB'", "64MiB or 1GiB"]),
        (GOOD + "announce: smh\n", 5, ["`announce` is 'smh'", "write `shm`"]),
        (GOOD + "metrics: 9464\n", 5, ["`metrics` is 9464", "a mapping"]),
        (GOOD + "metrics:\n", 5, ["`metrics` is empty"]),
        (GOOD + "metrics: {port: 70000}\n", 5, ["`port` is 70000", "0 to 65535"]),
        (GOOD + "metrics:\n  port: -1\n", 6, ["`port` is -1"]),
        (GOOD + "metrics: {port: true}\n", 5, ["`port` is true"]),
        (GOOD + "audit: sqlit:x\n", 5, ["`audit` is 'sqlit:x'", "sqlite:PATH"]),
        (GOOD + "audit:\n", 5, ["`audit` is empty"]),
        (GOOD + "audit: 5\n", 5, ["`audit` is 5"]),
        (GOOD + "audit: {to: none, frames: some}\n", 5, ["`frames` is 'some'", "all, dropped, none or a share"]),
        (GOOD + "audit: {to: none, frame: all}\n", 5, ["unknown key 'frame'", "write `frames`"]),
        (GOOD + "audit: {to: none, keep: 30m}\n", 5, ["`keep` is '30m'", "12h or 30d"]),
        (GOOD + "audit: {to: none, most: 1MiB}\n", 5, ["`most` is '1MiB'", "from 16MiB"]),
        (GOOD + "audit: {to: 'sqlite:a.db', prefix: 'x:'}\n", 5, ["`prefix` is 'x:'", "left out"]),
        (GOOD + "  bad/name: {kind: capture, source: x}\n", 5, ["'bad/name'", "rename"]),
        (GOOD + f"  {'a' * 33}: {{kind: capture, source: x}}\n", 5, ["at most 31"]),
        (GOOD + "  it:\n", 5, ["node 'it' is empty"]),
        (GOOD + "  it: capture\n", 5, ["node 'it' is 'capture'", "a mapping"]),
        (GOOD + "  it: {source: x}\n", 5, ["has no `kind`", "capture, buffer, processor, sink or pull"]),
        (GOOD + "  it: {kind: bufer, input: camera}\n", 5, ["the kind 'bufer'", "write `kind: buffer`"]),
        (GOOD + "  it: {kind: [buffer]}\n", 5, ["the kind ['buffer']"]),
    ],
)
def test_a_fault_has_its_line_what_was_expected_and_what_to_do(text: str, line: int, parts: list[str]) -> None:
    reading = read(text)
    assert [fault.line for fault in reading.faults] == [line], reading.faults
    for part in parts:
        assert part in reading.faults[0].text
    assert reading.faults[0].hint


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        ("{kind: capture}", ["`source` is missing"]),
        ("{kind: capture, source: 5}", ["`source` is 5", "text"]),
        ("{kind: capture, source: ''}", ["`source` is empty"]),
        ("{kind: capture, source: 'lavfi:'}", ["`source` is empty"]),
        (
            "{kind: capture, source: 'python:pictures'}",
            ["`source` is 'python:pictures'", "python:module:Name"],
        ),
        ("{kind: capture, source: 'rstp://h/x'}", ["'rstp://'", "write `rtsp://...`"]),
        ("{kind: capture, source: x, with: {a: 1}}", ["`with` has no effect"]),
        ("{kind: capture, source: x, realtime: yes}", ["`realtime` is 'yes'", "true or false"]),
        ("{kind: capture, source: x, loop: 1}", ["`loop` is 1", "true or false"]),
        ("{kind: capture, source: x, fps: fast}", ["`fps` is 'fast'", "a number from 0.001 to 1000"]),
        ("{kind: capture, source: x, fps: .nan}", ["`fps` is nan"]),
        ("{kind: capture, source: x, fps: .inf}", ["`fps` is inf"]),
        ("{kind: capture, source: x, width: 10000000000000000000000}", ["`width`", "2 to 16384"]),
        ("{kind: capture, source: x, slots: 4.5}", ["`slots` is 4.5", "a whole number"]),
        ("{kind: capture, source: x, format: RGB 24}", ["`format` is 'RGB 24'", "yuv420p"]),
        ("{kind: capture, source: x, format: bgr42}", ["`format` is 'bgr42'", "write `bgr24`"]),
        ("{kind: capture, source: x, format: yuv420p13le}", ["`format` is 'yuv420p13le'", "write `yuv4"]),
        ("{kind: capture, source: x, camera: a b}", ["`camera` is 'a b'"]),
        ("{kind: capture, source: x, drain:}", ["`drain` is empty", "500ms", "(10s)"]),
        ("{kind: capture, source: x, drain: 10}", ["`drain` is 10", "500ms"]),
        ("{kind: capture, source: x, drain: -1s}", ["`drain` is '-1s'"]),
        ("{kind: capture, source: x, start_timeout: 0s}", ["`start_timeout` is '0s'", "longer than nothing"]),
        ("{kind: capture, source: x, restart: never}", ["`restart` is 'never'", "a mapping"]),
        ("{kind: capture, source: x, restart: {wen: never}}", ["'wen'", "write `when`"]),
        ("{kind: capture, source: x, restart: {when: nevr}}", ["`when` is 'nevr'", "write `never`"]),
        ("{kind: capture, source: x, restart: {backoff: 1s}}", ["`backoff` is '1s'", "1s..60s"]),
        ("{kind: capture, source: x, restart: {backoff: 9s..1s}}", ["`backoff` is '9s..1s'", "growing"]),
        ("{kind: capture, source: x, restart: {limit: 5 in 0s}}", ["`limit` is '5 in 0s'", "longer than nothing"]),
        ("{kind: sink, input: a, use: jsonl, retry: 1h}", ["`retry` is '1h'", "a mapping"]),
        ("{kind: sink, input: a, use: jsonl, retry: {for: 0s}}", ["`retry`: `for` is '0s'", "longer than nothing"]),
        ("{kind: sink, input: a, use: jsonl, retry: {for: soon}}", ["`for` is 'soon'", "500ms"]),
        ("{kind: sink, input: a, use: jsonl, retry: {backoff: 9s..1s}}", ["`backoff` is '9s..1s'", "growing"]),
        ("{kind: sink, input: a, use: jsonl, retry: {fro: 1h}}", ["'fro'", "write `for`"]),
        ("{kind: buffer, input: a, retry: {}}", ["'retry'", "a key of a sink"]),
        ("{kind: buffer}", ["`input` is missing"]),
        ("{kind: buffer, input: [a, 1]}", ["`input` is ['a', 1]"]),
        ("{kind: buffer, input: [[a]]}", ["`input` is ", "a mapping or a list of them"]),
        ("{kind: buffer, input: {from: 3}}", ["`input`: `from` is 3", "a letter"]),
        ("{kind: buffer, input: {fps: 3}}", ["`input`: `from` is missing", "write `from: ...`"]),
        (
            "{kind: buffer, input: {from: a, a: b}}",
            ["'a'", "from, when_full, high_water_mark, fresh, max_age, fps, cameras or only"],
        ),
        ("{kind: buffer, input: [{from: a, fps: 0}]}", ["`input`: `fps` is 0", "from 0.001 to 1000"]),
        ("{kind: buffer, input: [{from: a, fps: fast}]}", ["`fps` is 'fast'", "a number"]),
        ("{kind: buffer, input: {from: a, high_water_mark: 70000}}", ["is 70000", "from 1 to 65536"]),
        ("{kind: buffer, input: {from: a, max_age: 0s}}", ["`max_age` is '0s'", "longer than nothing"]),
        ("{kind: buffer, input: {from: a, max_age: soon}}", ["`max_age` is 'soon'", "500ms"]),
        ("{kind: buffer, input: {from: a, when_full: drop-newst}}", ["'drop-newst'", "write `drop-newest`"]),
        ("{kind: buffer, input: {from: a, cameras: []}}", ["`cameras` is an empty list", "at least one camera"]),
        ("{kind: buffer, input: {from: a, cameras: [b, b]}}", ["`cameras` is ['b', 'b']", "each once"]),
        ("{kind: buffer, input: {from: a, cameras: 'a b'}}", ["`cameras` is 'a b'", "a letter"]),
        ("{kind: buffer, input: {from: a, window: 2}}", ["'window'", "a key of a processor, sink or pull"]),
        ("{kind: buffer, input: a, high_water_mark: true}", ["`high_water_mark` is true"]),
        ("{kind: buffer, input: a, high_water_mark: '64'}", ["`high_water_mark` is '64'"]),
        ("{kind: buffer, input: a, high_water_mark: 0}", ["from 1 to 65536", "leave it out"]),
        (
            "{kind: buffer, input: a, high_water_mark: 64, low_water_mark: 64}",
            ["`low_water_mark` is 64", "below high_water_mark 64"],
        ),
        ("{kind: capture, source: x, memory: lots}", ["`memory` is 'lots'", "64MiB or 1GiB"]),
        ("{kind: buffer, input: a, when_full: drop_oldest}", ["'drop_oldest'", "write `drop-oldest`"]),
        ("{kind: buffer, input: a, max_age: 9999999999h}", ["`max_age`", "500ms"]),
        ("{kind: buffer, input: a, replicas: 2}", ["'replicas'", "a key of a processor"]),
        ("{kind: buffer, input: a, high_watermark: 2}", ["'high_watermark'", "write `high_water_mark`"]),
        ("{kind: processor, input: a}", ["`use` is missing"]),
        ("{kind: processor, input: a, use: mo tion}", ["`use` is 'mo tion'", "my.module:MyClass"]),
        ("{kind: processor, input: a, use: motin}", ["`use` is 'motin'", "(motion)", "write `motion`"]),
        ("{kind: processor, input: a, use: jsonl}", ["`use` is 'jsonl'", "one of the sinks"]),
        ("{kind: sink, input: a, use: zzz}", ["(jsonl)", "detektr list sinks"]),
        ("{kind: capture, source: 'python:pic tures'}", ["python:module:name"]),
        ("{kind: processor, input: a, use: 'm:C', with: 5}", ["`with` is 5", "a mapping"]),
        ("{kind: processor, input: a, use: 'm:C', with_: {}}", ["'with_'", "write `with`"]),
        ("{kind: processor, input: a, use: 'm:C', replicas: 65}", ["`replicas` is 65", "1 to 64"]),
        ("{kind: sink, input: a, use: 'm:C', replicas: 2}", ["'replicas'"]),
    ],
)
def test_a_wrong_key_of_a_node_is_one_fault_in_plain_words(node: str, parts: list[str]) -> None:
    faults = node_faults(node)
    assert len(faults) == 1, faults
    for part in parts:
        assert part in faults[0]


@pytest.mark.parametrize(
    ("node", "parts"),
    [
        (
            "{kind: captur, source: 'rstp://h/x', fps: fast}",
            ["write `kind: capture`", "write `rtsp", "`fps` is 'fast'"],
        ),
        ("{kind: bufer, input: camera, high_watermark: 2}", ["write `kind: buffer`", "write `high_water_mark`"]),
        ("{kind: procesor, input: camera}", ["write `kind: processor`", "`use` is missing"]),
        ("{kind: pump, fps: fast}", ["the kind 'pump'"]),
    ],
)
def test_a_misspelt_kind_does_not_hide_the_other_faults_of_its_node(node: str, parts: list[str]) -> None:
    faults = node_faults(node)
    assert len(faults) == len(parts), faults
    for part in parts:
        assert any(part in fault for fault in faults), (part, faults)


def test_all_faults_of_all_nodes_are_told_at_once() -> None:
    reading = read(
        "nam: demo\nnodes:\n  a: {kind: capture, sourc: x, fps: -1}\n"
        "  b:\n    kind: buffer\n    input: a\n    max_age: 0s\n    low_water_mark: -1\n    mark: 3\n"
    )
    assert sorted(fault.line for fault in reading.faults) == [1, 1, 3, 3, 3, 7, 8, 9]
    assert reading.broken == {"a", "b"} and reading.unsure == frozenset()


def test_more_nodes_than_a_machine_can_run_are_one_fault() -> None:
    reading = read("name: demo\nnodes:\n" + "".join(f"  n{index}: {{}}\n" for index in range(300)))
    assert [fault.text for fault in reading.faults] == [
        "300 nodes, expected at most 256 in one pipeline, split it into several pipelines"
    ]


def test_a_water_mark_is_not_judged_against_a_default_that_stands_in_for_a_wrong_one() -> None:
    faults = node_faults("{kind: buffer, input: a, high_water_mark: many, low_water_mark: 99}")
    assert len(faults) == 1 and "`high_water_mark`" in faults[0]


def test_nodes_whose_kind_or_input_is_not_known_are_unsure() -> None:
    reading = read(
        "name: demo\nnodes:\n  a: 5\n  b: {kind: x}\n  c: {kind: buffer}\n  d: {kind: buffer, input: 1}\n"
        "  e: {kind: buffer, input: ${GONE}}\n  f: {kind: buffer, input: a, high_water_mark: x}\n"
    )
    assert reading.unsure == {"a", "b", "c", "d", "e"}


def test_a_variable_is_read_as_what_its_key_takes() -> None:
    text = (
        'name: ${N}\nmetrics: {port: "${P}"}\nnodes:\n  it: {kind: capture, source: ${S}, loop: "${L}", camera: ${N}}\n'
    )
    environment = {"P": "80", "N": "true", "S": "123", "L": "true"}
    reading = read(text, **environment)
    assert reading.faults == ()
    camera = reading.options.nodes["it"]
    assert isinstance(camera, CaptureOptions)
    assert (camera.source, camera.loop, camera.camera, reading.options.name) == ("123", True, "true", "true")
    assert reading.options.metrics.port == 80


def test_what_came_from_a_variable_is_never_in_a_fault() -> None:
    faults = node_faults('{kind: capture, source: "rtsp://u:${PW} @h", fps: "${PW}", camera: "a ${PW}"}', PW="hunter2")
    assert len(faults) == 3
    assert "hunter2" not in "".join(faults)
    assert "'a ${PW}'" in "".join(faults)


def test_a_variable_that_is_not_set_is_one_fault() -> None:
    faults = node_faults('{kind: capture, source: "${GONE}"}')
    assert len(faults) == 1 and "GONE is not set" in faults[0]


def test_the_json_schema_names_keys_as_the_file_does() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["name", "nodes"] and schema["additionalProperties"] is False
    for kind, options in KINDS.items():
        definition = schema["$defs"][options.__name__]
        keys = definition["properties"]
        assert keys["kind"]["const"] == kind and definition["required"][0] == "kind"
        assert "with_" not in keys
        assert [name for name, key in keys.items() if "description" not in key and "$ref" not in key] == ["kind"]
        assert definition["additionalProperties"] is False
    assert "with" in schema["$defs"]["ProcessorOptions"]["properties"]
    assert len(schema["properties"]["nodes"]["additionalProperties"]["oneOf"]) == len(KINDS)
    assert "pattern" in schema["$defs"]["BufferOptions"]["properties"]["drain"]


def test_the_json_schema_has_a_key_for_each_option_and_no_other() -> None:
    schema = json_schema()
    expected = {"kind", "restart", "optional", "start_timeout", "drain", "input", "high_water_mark", "low_water_mark",
                "when_full", "max_age", "guests", "per_camera", "announce", "env", "cpus", "nice"}  # fmt: skip
    assert set(schema["$defs"][BufferOptions.__name__]["properties"]) == expected


def test_the_nearest_word_allows_for_swapped_letters_and_none_for_strangers() -> None:
    assert nearest("rstp", ["rtp", "rtsp"]) == "rtsp"
    assert nearest("Replica", ["replicas", "use"]) == "replicas"
    assert nearest("zzz", ["replicas", "use"]) is None


def test_choices_are_listed_as_a_sentence() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b or c"
    assert listed([]) == "nothing"


def test_an_input_is_a_name_a_mapping_or_a_list_of_both() -> None:
    inputs = "[a, {from: '${B}', fps: 3, when_full: block, cameras: [c, d]}]"
    reading = read(f"name: demo\nnodes:\n  it: {{kind: buffer, input: {inputs}}}\n", B="b")
    own = EdgeInput(from_="b", fps=3, when_full="block", cameras=["c", "d"])
    assert reading.faults == () and reading.options.nodes["it"] == BufferOptions(input=["a", own])
    one = read("name: demo\nnodes:\n  it: {kind: buffer, input: {from: a, max_age: 500ms}}\n").options.nodes["it"]
    assert one == BufferOptions(input=EdgeInput(from_="a", max_age="500ms"))


def test_a_fault_of_an_edge_stands_on_its_own_line() -> None:
    text = "name: demo\nnodes:\n  it:\n    kind: buffer\n    input:\n      - a\n      - from: b\n        fps: 0\n"
    assert [(fault.line, fault.what) for fault in read(text).faults] == [(8, "node 'it': `input`: `fps` is 0")]


def test_the_schema_has_the_keys_of_an_edge() -> None:
    schema = json_schema()
    edge = schema["$defs"]["EdgeInput"]
    assert list(edge["properties"]) == [
        "from", "when_full", "high_water_mark", "fresh", "max_age", "fps", "cameras", "only",
    ]  # fmt: skip
    assert edge["required"] == ["from"] and edge["additionalProperties"] is False
    assert all("description" in key for key in edge["properties"].values())
    assert "EdgeInput" in json.dumps(schema["$defs"]["SinkOptions"]["properties"]["input"])


def test_retry_is_a_mapping_whose_keys_have_defaults() -> None:
    sinks = "\n".join(
        f"  {name}: {{kind: sink, input: motion, use: jsonl{retry}}}"
        for name, retry in (("a", ""), ("b", ", retry: {}"), ("c", ", retry: {for: 2m}"))
    )
    nodes = read(GOOD + sinks + "\n").options.nodes
    retries = [node.retry for node in nodes.values() if isinstance(node, SinkOptions)]
    assert retries == [None, RetryOptions(), RetryOptions(backoff="1s..60s", for_="2m")]


def test_the_schema_has_retry_as_the_file_writes_it() -> None:
    schema = json_schema()["$defs"]
    assert set(schema["RetryOptions"]["properties"]) == {"backoff", "for"}
    assert "retry" in schema["SinkOptions"]["properties"]


@pytest.mark.parametrize("value", ["lots", 1, "1MiB", "2000GiB", True, 20_000_000.5])
def test_a_size_of_dead_letters_that_cannot_be_is_refused(value: object) -> None:
    (fault,) = read(f"{GOOD}dead_letters: {json.dumps(value)}\n").faults
    assert "`dead_letters` is" in fault.text and "MiB" in fault.text
    assert fault.line == 5


def test_a_size_of_dead_letters_may_come_from_the_environment() -> None:
    reading = read(GOOD + "dead_letters: ${SIZE}\n", SIZE="32MiB")
    assert (reading.faults, reading.options.dead_letter_bytes) == ((), 33_554_432)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        ("8", "`batch` is 8, expected a mapping, write it so, or leave it out"),
        ("", "`batch` is empty, expected a mapping, write it so, or leave it out"),
        ("{}", "`batch`: `size` is missing, expected a whole number from 1 to 256, write `size: ...`"),
        ("{size: 0}", "`batch`: `size` is 0, expected a whole number from 1 to 256, correct it"),
        ("{size: 8, wait: 20}", "`batch`: `wait` is 20, expected a time such as 500ms, 10s, 2m or 1h"),
        ("{size: 8, wait: 1m}", "expected one whose `wait` (1m) is shorter than `timeout` (30s)"),
    ],
)
def test_a_wrong_batch_is_one_fault(batch: str, says: str) -> None:
    [fault] = node_faults(f"{{kind: processor, input: it, use: 'm:C', batch: {batch}}}")
    assert says in fault


def test_a_batch_is_read_with_its_default_wait_and_is_no_key_of_a_sink() -> None:
    reading = read(GOOD.replace("replicas: 2", "batch: {size: 8}"))
    motion = reading.options.nodes["motion"]
    assert isinstance(motion, ProcessorOptions) and motion.batch == BatchOptions(size=8, wait="20ms")
    [fault] = node_faults("{kind: sink, input: it, use: jsonl, batch: {size: 8}}")
    assert "unknown key 'batch'" in fault and "it is a key of a processor" in fault


def test_each_key_is_described_for_editors() -> None:
    schema = json_schema()
    sections = {"": schema, **{name: one for name, one in schema["$defs"].items() if "properties" in one}}
    bare = [
        (name, key)
        for name, section in sections.items()
        for key, value in section["properties"].items()
        if "description" not in value and key != "kind"
    ]
    assert bare == []
