"""The command line as people meet it: what it prints, where, and how it ends."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import acquire_status_block
from detektr.registry.node_kinds import NODE_KINDS

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

HEAVY = ("av", "msgpack", "numpy", "prometheus_client", "pydantic", "redis", "rich", "yaml", "zmq")
GOOD = """
name: demo
nodes:
  camera: {kind: capture, source: "lavfi:testsrc2=size=160x120:rate=30", width: 160, height: 120, format: yuv420p}
  queue: {kind: buffer, input: camera}
  motion: {kind: processor, input: queue, use: "detektr.processors.motion:Motion", replicas: 2}
"""
DEAD_END = """
name: demo
nodes:
  camera: {kind: capture, source: "lavfi:testsrc2"}
  queue: {kind: buffer, input: camera}
"""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "pipeline.yaml"
    path.write_text(GOOD)
    return path


def test_help_names_the_commands_and_imports_nothing_heavy(tmp_path: Path) -> None:
    script = (
        "import sys, detektr.cli\n"
        "try: detektr.cli.app(['--help'])\n"
        "except SystemExit as end: print('code', end.code)\n"
        f"print('heavy', *(name for name in {HEAVY!r} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    for command in ("up", "status", "capture", "buffer", "processor", "sink", "list", "pipeline", "probe", "shm"):
        assert f"  {command} " in done.stdout
    assert "code 0" in done.stdout
    assert done.stdout.splitlines()[-1] == "heavy"


@pytest.mark.parametrize("kind", NODE_KINDS)
def test_help_of_a_node_says_what_every_key_means_and_is_unless_told(run_detektr: RunDetektr, kind: str) -> None:
    told = " ".join(run_detektr(kind, "--help").stdout.split())
    for field in dataclasses.fields(NODE_KINDS[kind].options):
        if field.name in NODE_KINDS[kind].file_only | {"kind", "use", "replicas"}:
            continue
        assert f"--{field.name.rstrip('_').replace('_', '-')}" in told
        default = NODE_KINDS[kind].defaults_alone.get(field.name, field.default)
        if default not in (None, False, dataclasses.MISSING):
            assert f"default: {default}]" in told
    unbroken = told.replace("- ", "-")  # a line may end behind a hyphen
    assert "[drop-oldest, drop-newest, block" in unbroken or kind not in ("capture", "buffer")


@pytest.mark.parametrize("command", [["graph"], ["validate"], ["schema"], ["status"], ["status", "ghost"]])
def test_the_short_form_of_a_pipeline_command_is_the_same(
    run_detektr: RunDetektr, good: Path, command: list[str]
) -> None:
    short, long = run_detektr(*command), run_detektr("pipeline", *command)
    assert (short.returncode, short.stdout, short.stderr) == (long.returncode, long.stdout, long.stderr)


@pytest.mark.parametrize(("words", "expected"), [("detektr ca", "capture"), ("detektr sink --win", "--window")])
def test_a_shell_can_complete_commands_and_options(run_detektr: RunDetektr, words: str, expected: str) -> None:
    # Else the shell would be looked for among the processes that run these tests.
    told = {**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    assert "_DETEKTR_COMPLETE" in run_detektr("--show-completion", "bash", env=told).stdout
    count = str(len(words.split()) - 1)
    asked = {"_DETEKTR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": count}
    assert run_detektr(env=asked).stdout.split() == [expected]


def test_list_shows_short_names_with_their_class_package_and_sentence(run_detektr: RunDetektr) -> None:
    told = run_detektr("list").stdout
    assert "motion  detektr.processors.motion:Motion  detektr  Compares each frame" in told
    assert "jsonl" in told and "sources: none" in told
    done = run_detektr("list", "sink")
    assert (done.returncode, done.stderr) == (2, "list: there are no 'sink'; write processors, sinks or sources\n")


@pytest.mark.parametrize("group", [[], ["pipeline"], ["shm"], ["dead-letters"]])
def test_help_says_of_each_command_a_whole_sentence_in_80_columns(run_detektr: RunDetektr, group: list[str]) -> None:
    listed = run_detektr(*group, "--help", env={"COLUMNS": "80"}).stdout.partition("Commands:")[2].split("\n")[1:-1]
    assert len(listed) > 1
    assert [line for line in listed if not line.endswith(".") or line.endswith("...")] == []


def test_version_is_printed(run_detektr: RunDetektr) -> None:
    done = run_detektr("--version")
    assert (done.returncode, done.stdout.split()[0]) == (0, "detektr")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fly"], "fly"),
        (["pipeline", "up", "--speed", "9"], "--speed"),
        (["pipeline", "up", "--for", "soon"], "--for: 'soon' is not a duration"),
        (["pipeline", "down"], "NAME"),
        (["capture"], "capture: source missing; write --source clip.mp4"),
        (["processor", "--input", "cam"], "processor: use missing"),
        (["processor", "my:Own", "--input", "cam", "--with", "3"], "--with '3' is not key=value"),
        (
            ["processor", "my:Own", "--input", "a", "--order", "camera"],
            "processor: --order means something in a pipeline",
        ),
        (["processor", "my:Own", "--input", "a", "--join=frame"], "write `join` at the node there, and start it with"),
        (["sink", "jsonl", "--input", "a", "--retry", "1h"], "sink: --retry means something in a pipeline file only"),
        (["buffer", "--input", "cam", "--when-full", "explode"], "`when_full` is 'explode'"),
        (["buffer", "--input", "cam", "--max-age", "soon", "--high-water-mark", "0"], "`high_water_mark` is 0"),
        (["buffer", "--input", "cam", "--node", "queue"], "--node needs --pipeline FILE"),
        (["capture", "--pipeline", "pipeline.yaml"], "add --node NAME"),
        (["capture", "--pipeline", "pipeline.yaml", "--node", "camera", "--loop"], "loop beside --pipeline"),
        (["capture", "--pipeline", "pipeline.yaml", "--node", "kamera"], "no node 'kamera'; it has: camera, queue"),
        (["capture", "--pipeline", "pipeline.yaml", "--node", "queue"], "is a buffer; start it with `detektr buffer`"),
        (["processor", "--pipeline", "pipeline.yaml", "--node", "motion", "--replica", "2"], "write --replica 0 to 1"),
        (["pipeline", "up", "--report", "."], "that is a folder; name a file in it"),
        (["pipeline", "up", "--report", "no/report.json"], "there is no folder"),
        (["pipeline", "up", "nowhere.yaml"], "nowhere.yaml:1: this cannot be read"),
        (["pipeline", "up", "n" * 300], "n:1: this cannot be read"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what_was_wrong(
    run_detektr: RunDetektr, good: Path, arguments: list[str], words: str
) -> None:
    done = run_detektr(*arguments)
    assert done.returncode == 2, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_validate_says_what_a_good_file_asks_for(run_detektr: RunDetektr, good: Path) -> None:
    done = run_detektr("pipeline", "validate")
    assert done.returncode == 0, done.stderr
    assert "pipeline.yaml: good: 3 nodes in 4 processes, 2 edges" in done.stdout
    assert re.search(r"camera: \d+ slots \(1\.\d s at 30 frames/s\), .* MiB", done.stdout), done.stdout


def test_validate_refuses_a_dead_end_with_its_line(run_detektr: RunDetektr, good: Path) -> None:
    good.write_text(DEAD_END)
    done = run_detektr("pipeline", "validate", "pipeline.yaml")
    assert done.returncode == 2
    assert "pipeline.yaml:5: nobody reads from the buffer 'queue'" in done.stderr


def test_validate_refuses_what_this_machine_lacks(run_detektr: RunDetektr, good: Path) -> None:
    good.write_text(GOOD.replace('"lavfi:testsrc2=size=160x120:rate=30"', "nowhere.mp4"))
    done = run_detektr("pipeline", "validate")
    assert done.returncode == 2
    assert "pipeline.yaml:4: node 'camera': `source`" in done.stderr


def test_graph_is_mermaid_and_schema_is_json(run_detektr: RunDetektr, good: Path) -> None:
    assert run_detektr("pipeline", "graph").stdout.startswith("flowchart LR\n")
    schema = json.loads(run_detektr("pipeline", "schema").stdout)
    assert schema["properties"]["nodes"]["minProperties"] == 1


@pytest.mark.parametrize("command", ["status", "down", "logs"])
def test_a_pipeline_that_does_not_run_is_said_not_to(run_detektr: RunDetektr, command: str) -> None:
    done = run_detektr("pipeline", command, "ghost")
    assert done.returncode == 1
    assert "ghost" in done.stderr
    assert "Traceback" not in done.stderr


def test_status_without_a_pipeline_says_so(run_detektr: RunDetektr) -> None:
    assert run_detektr("pipeline", "status").stdout == "no pipeline is running\n"
    assert json.loads(run_detektr("pipeline", "status", "--json").stdout) == []


def test_a_password_in_a_source_is_never_printed(run_detektr: RunDetektr) -> None:
    done = run_detektr("capture", "--source", "rtspp://operator:hunter22@door/stream")
    assert done.returncode == 2
    assert "hunter22" not in done.stdout + done.stderr


def test_a_folder_too_deep_for_a_socket_is_refused_with_the_cure(run_detektr: RunDetektr) -> None:
    done = run_detektr("buffer", "--input", "cam", env={"DETEKTR_SHM_DIR": "/dev/shm" + "/x" * 60})
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "DETEKTR_SHM_DIR" in done.stderr


def test_shm_clean_removes_what_is_dead_and_leaves_what_lives(run_detektr: RunDetektr) -> None:
    dead, live = RunFolder("dead"), RunFolder("live")
    acquire_status_block(dead, "camera", 0, "capture").close(unlink=False)
    (dead.path / "camera.1.ring").write_bytes(bytes(8192))
    (dead.path / "camera.0~queue.edge").write_bytes(bytes(4096))
    os.mkfifo(dead.doorbell("camera", 0))
    status_block = acquire_status_block(live, "camera", 0, "capture")
    (live.path / "camera.1.ring").write_bytes(bytes(4096))
    try:
        listed = run_detektr("shm", "ls").stdout
        rows = {tuple(line.split()[:2]): line.split()[-1] for line in listed.splitlines()}
        assert rows["dead", "camera.1.ring"] == rows["dead", "camera.0~queue.edge"] == "dead"
        assert rows["dead", "camera.0.bell"] == "dead"
        assert "doorbell" in listed
        assert rows["live", "camera.1.ring"] == rows["live", "camera.0.status"] == str(os.getpid())
        cleaned = run_detektr("shm", "clean")
        assert cleaned.returncode == 0
        assert "removed dead/camera.1.ring" in cleaned.stdout
        assert "removed dead/camera.0.bell" in cleaned.stdout
        assert f"left alone live: camera.0 lives, process {os.getpid()}" in cleaned.stdout
        assert not dead.path.exists()
        assert (live.path / "camera.1.ring").exists()
    finally:
        (live.path / "camera.1.ring").unlink()
        status_block.close(unlink=True)
        live.remove_if_empty()
    assert run_detektr("shm", "ls").stdout == "nothing of detektr's is in shared memory\n"
