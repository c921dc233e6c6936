from __future__ import annotations

import os
from pathlib import Path

import pytest

from detektr.config.load import Pipeline, PipelineFileError, check_machine, load_pipeline
from detektr.config.plan import plan_processes

HEAD = 'name: demo\nnodes:\n  cam: {kind: capture, source: "lavfi:testsrc2"}\n  work:\n    kind: processor\n'
USE = '    input: cam\n    use: "my.module:Motion"\n'


def loaded(folder: Path, keys: str, **environment: str) -> Pipeline:
    (folder / "pipeline.yaml").write_text(HEAD + USE + keys)
    return load_pipeline(folder / "pipeline.yaml", environment)


def refusal(folder: Path, keys: str, **environment: str) -> list[str]:
    with pytest.raises(PipelineFileError) as caught:
        loaded(folder, keys, **environment)
    return [line.partition("pipeline.yaml:")[2] for line in str(caught.value).splitlines()[:-1]]


def test_a_node_has_an_environment_cpus_and_a_priority(tmp_path: Path) -> None:
    keys = '    env: {A: "0", B: ${GPU}}\n    cpus: [0, "${CPU}"]\n    nice: ${NICE}\n'
    node = loaded(tmp_path, keys, GPU="1", CPU="1", NICE="5").options.nodes["work"]
    assert (dict(node.env), node.cpus, node.nice) == ({"A": "0", "B": "1"}, [0, 1], 5)


@pytest.mark.parametrize(
    ("keys", "part"),
    [
        ("env: [KEY=secret]", "8: node 'work': `env` is a list, expected a mapping of names to texts"),
        ("env: KEY=secret", "8: node 'work': `env` is text, expected a mapping of names to texts"),
        ("env:", "8: node 'work': `env` is empty, expected a mapping of names to texts"),
        (
            'env: {"1A": x}',
            "8: node 'work': `env` has the name '1A', expected a name of A-Z, a-z, 0-9 and _",
        ),
        ('env: {"": x}', "8: node 'work': `env` has the name ''"),
        ('env: {"A=B": x}', "8: node 'work': `env` has the name 'A=B'"),
        ("env:\n      A: b\n      B: 0", "10: node 'work': `env`: B is a number, expected text, put it in quotes"),
        ("env: {A: true}", "A is true or false, expected text"),
        ("env: {A: }", "A is empty, expected text"),
        ("env: {A: [b]}", "A is a list, expected text"),
        ('env: {A: "secret\\0"}', "A has a NUL character in it"),
        ("env: {DETEKTR_SHM_DIR: /dev/shm}", "`env` has DETEKTR_SHM_DIR, by which all processes of a run find"),
        ("cpus: 2", "8: node 'work': `cpus` is 2, expected a list, each of it a whole number from 0 to 8191"),
        ("cpus: []", "`cpus` is an empty list, expected a list of one CPU or more, each once"),
        ("cpus: [1, 1]", "expected a list of one CPU or more, each once"),
        ("cpus: [-1]", "expected a list, each of it a whole number from 0 to 8191"),
        ("cpus: [a]", "expected a list, each of it a whole number from 0 to 8191"),
        ("nice: 20", "8: node 'work': `nice` is 20, expected a whole number from -20 to 19"),
        ("nice: 1.5", "`nice` is 1.5, expected a whole number from -20 to 19"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(tmp_path: Path, keys: str, part: str) -> None:
    (line,) = refusal(tmp_path, f"    {keys}\n")
    assert part in line and "secret" not in line


def test_cpus_that_are_not_here_are_refused_with_line_and_what_there_is(tmp_path: Path) -> None:
    here = sorted(os.sched_getaffinity(0))
    (fault,) = check_machine(loaded(tmp_path, f"    cpus: [{here[0]}, 8190, 8191]\n"))
    assert fault.line == 8
    assert fault.what == "node 'work': `cpus` has 8190-8191, on which detektr cannot run here"
    assert fault.expected.startswith(f"CPUs out of {here[0]}")
    assert check_machine(loaded(tmp_path, f"    cpus: {here}\n")) == []


def test_values_that_are_secrets_by_their_name_or_origin_are_masked(tmp_path: Path) -> None:
    env = "{API_KEY: hunter22, TOKENIZERS_PARALLELISM: 'false', PLAIN: word, B: '${FROM}'}"
    secrets = loaded(tmp_path, f"    env: {env}\n", FROM="elsewhere").secrets
    assert secrets == {"hunter22": "***", "elsewhere": "${FROM}"}


def test_replicas_share_the_cores_and_so_do_the_copies_for_each_camera(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(
        "name: demo\n"
        "cameras: {door: 'lavfi:testsrc2', yard: 'lavfi:testsrc2'}\n"
        "nodes:\n"
        "  one: {kind: processor, input: cameras, use: 'my.module:One', replicas: 3}\n"
        "  each: {kind: processor, input: cameras, use: 'my.module:One', replicas: 2, per_camera: true}\n"
        "  keep: {kind: sink, input: one, use: 'my.module:Keep'}\n"
    )
    pipeline = load_pipeline(tmp_path / "pipeline.yaml", {})
    specs = plan_processes("demo", pipeline.graph, pipeline.options.nodes, tmp_path)
    sharers = {spec.node: spec.sharers for spec in specs}
    assert sharers == {"one": 3, "each-door": 4, "each-yard": 4, "keep": 1, "door": 1, "yard": 1}
