"""README says nothing that does not work: its processor processes, its file is accepted, its commands exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from detektr.config.load import load_pipeline
from tests.harness.running import RunningPipeline

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CAMERAS = (ROOT / "docs" / "cameras.md").read_text()


def blocks(language: str, status_block: str = README) -> list[str]:
    """Return the code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", status_block, flags=re.DOTALL)


def test_python_blocks_run_a_pipeline_and_attach_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    processor, attach = blocks("python")
    text, _ = blocks("yaml")
    (tmp_path / "brightness.py").write_text(processor)
    run = RunningPipeline(tmp_path, "shop", {})
    run.file.write_text(text)
    with run:
        run.wait_delivered("bright", "events", 1)
        exec(compile(attach, "README.md", "exec"), {})
        report = run.end()
    assert "_door_door_" in capsys.readouterr().out
    assert report["unaccounted"] == 0
    assert '"mean":' in (tmp_path / "events.jsonl").read_text()


@pytest.mark.parametrize("text", [*blocks("yaml"), *blocks("yaml", CAMERAS)])
def test_files_are_accepted(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(text)
    pipeline = load_pipeline(path, {"DOOR_PASSWORD": "hunter2", "YARD_PASSWORD": "hunter3"})
    assert len(pipeline.graph.nodes) >= 4


@pytest.mark.parametrize(
    "line",
    [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.startswith("detektr")],
)
def test_commands_exist(line: str, run_detektr: RunDetektr) -> None:
    words = shlex.split(line)[1:]
    command = [word for word in words[: 2 if words[0] == "pipeline" else 1]]
    done = run_detektr(*command, "--help")
    assert done.returncode == 0, done.stderr
    for option in (word for word in words if word.startswith("--")):
        assert option in done.stdout


@pytest.mark.parametrize(
    "script",
    sorted({line.split()[0] for block in blocks("sh") for line in block.splitlines() if line.startswith("scripts/")}),
)
def test_scripts_exist(script: str) -> None:
    assert (ROOT / script).stat().st_mode & 0o111
