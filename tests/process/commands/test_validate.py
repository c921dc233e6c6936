"""`detektr validate` on the code that a file names: found wrong before the run, whatever that code does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

CAMERA = """\
name: house
nodes:
  cam: {kind: capture, source: "python:street:pictures"}
"""
STREET = "def pictures():\n    yield 1\n"
CODE = """\
import os

print("a word of the user's own")
MODE = os.environ["MODE"]  # `env` of the node has it


class Look:
    def __init__(self, above: int = 1) -> None:
        raise RuntimeError("validate builds nothing of the user's")

    def process(self, frame): ...


class Batch:
    def process_batch(self, frames): ...


def tell(event): ...
"""


def write(folder: Path, *nodes: str) -> None:
    (folder / "street.py").write_text(STREET)
    (folder / "look.py").write_text(CODE)
    (folder / "pipeline.yaml").write_text(CAMERA + "".join(f"  {node}\n" for node in nodes))


def test_code_that_can_be_called_is_good_and_is_not_built(tmp_path: Path, run_detektr: RunDetektr) -> None:
    write(
        tmp_path,
        'look: {kind: processor, input: cam, use: "look:Look", with: {above: 2}, env: {MODE: a}}',
        'batch: {kind: processor, input: cam, use: "look:Batch", batch: {size: 2}, env: {MODE: b}}',
        'tell: {kind: sink, input: [look, batch], use: "look:tell", env: {MODE: b}}',
    )
    done = run_detektr("validate")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("pipeline.yaml: good: 4 nodes")  # and what the code prints is no part of the answer
    assert "a word of the user's own" in done.stderr


def test_all_faults_of_the_code_are_told_at_once_each_with_its_line(tmp_path: Path, run_detektr: RunDetektr) -> None:
    write(
        tmp_path,
        'name: {kind: processor, input: cam, use: "look:Lok", env: {MODE: a}}',
        'key: {kind: processor, input: cam, use: "look:Look", with: {abov: 2}, env: {MODE: a}}',
        'crash: {kind: processor, input: cam, use: "crash:Look"}',
        'batch: {kind: processor, input: cam, use: "look:Look", batch: {size: 2}, env: {MODE: a}}',
        "value: {kind: processor, input: cam, use: motion, with: {threshold: 7}}",
        "log: {kind: sink, input: name, use: jsonl, with: {path: a.jsonl, keep: -1}}",
    )
    (tmp_path / "street.py").write_text(STREET.replace("pictures", "picture"))
    (tmp_path / "crash.py").write_text("import os\n\nos.kill(os.getpid(), 11)\n")
    done = run_detektr("validate")
    assert (done.returncode, done.stdout) == (2, "")
    for said in (
        "pipeline.yaml:3: node 'cam': `source` python:street:pictures: module street",
        "write street:picture\n",
        "pipeline.yaml:4: node 'name': `use` look:Lok: module look",
        "pipeline.yaml:5: node 'key': `use` look:Look: `with` has 'abov', which Look does not take",
        "pipeline.yaml:6: node 'crash': `use` crash:Look: its process ended with SIGSEGV while it was imported",
        "pipeline.yaml:7: node 'batch': `use` look:Look: the class Look has no method process_batch()",
        "pipeline.yaml:8: node 'value': `use` motion: `with`: Motion: threshold 7 is out of range",
        "pipeline.yaml:9: node 'log': `use` jsonl: `with`: JsonLines: keep -1 is out of range",
        "pipeline.yaml: 7 faults, nothing was started",
    ):
        assert said in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_code_that_this_machine_lacks_is_not_asked_for_with_no_code(tmp_path: Path, run_detektr: RunDetektr) -> None:
    write(tmp_path, 'look: {kind: processor, input: cam, use: "nowhere:Look"}')
    done = run_detektr("validate")
    assert done.returncode == 2 and "there is no module 'nowhere'" in done.stderr
    assert run_detektr("validate", "--no-code").returncode == 0
