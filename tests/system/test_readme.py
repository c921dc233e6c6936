"""README says nothing that does not work: its processor processes, a script attaches; it fits a screen.

Its file, its commands and its links are tried with those of all documents, in `docs/`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.harness.running import RunningPipeline

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINES_MAX = 110
"""Of a screen, with its blocks of code."""


def blocks(language: str) -> list[str]:
    """Return the code blocks of one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_python_blocks_run_a_pipeline_and_attach_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    processor, attach = blocks("python")
    (text,) = blocks("yaml")
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


def test_it_begins_with_what_runs_in_a_fresh_clone_and_says_how_to_run_the_tests() -> None:
    commands = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    assert commands[0] == "scripts/up --for 10s" and "scripts/test" in commands
    assert re.search(r"^step .*scripts/test\b", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


def test_it_is_short_enough_to_be_read() -> None:
    assert len(README.splitlines()) <= LINES_MAX
