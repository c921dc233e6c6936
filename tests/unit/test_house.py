"""No file grows beyond 400 lines and no folder beyond 15 modules, unless its reason stands here; docstrings keep up."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("src", "tests", "scripts")
LINES_MAX = 400
MODULES_MAX = 15

LONG_FILES = {
    "src/detektr/edge/edge.py": "each decision about a frame between a producer and a consumer group, in one place",
    "src/detektr/frame.py": "what a user's code can ask of a frame: one class, its properties with their docstrings",
    "src/detektr/options.py": "every key of a node with what it means: the single source of help, schema and checks",
    "src/detektr/supervisor/supervisor.py": "all phases of a run, from its first process to its last",
    "tests/property/gathering/process.py": "one played process, of any kind: its acts need each other",
    "tests/property/test_edge_machine.py": "one state machine: its rules need each other",
    "tests/property/test_relay_machine.py": "one machine: its acts need each other",
    "tests/unit/edge/test_edge.py": "the tests of edge.py, which is long itself",
    "tests/unit/sources/test_sources.py": "what every kind of source has to keep, with the same sources",
}
FULL_FOLDERS = {
    "src/detektr": "the words that all rooms share, each on its floor, and the rooms themselves",
    "src/detektr/memory": "one module for each kind of file in shared memory: nothing else knows an offset",
    "scripts/benchmark": "one module a benchmark, and what they share: nothing imports from it",
}


def modules() -> list[Path]:
    return [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_file_is_longer_than_one_can_read() -> None:
    long = {str(path.relative_to(ROOT)): lines(path) for path in modules() if lines(path) > LINES_MAX}
    assert {name: count for name, count in long.items() if name not in LONG_FILES} == {}


def test_no_folder_has_more_modules_than_one_can_know() -> None:
    names = [str(path.parent.relative_to(ROOT)) for path in modules() if path.name != "__init__.py"]
    full = {name: names.count(name) for name in names if names.count(name) > MODULES_MAX}
    assert {name: count for name, count in full.items() if name not in FULL_FOLDERS} == {}


def unknown_arguments(function: ast.FunctionDef) -> list[str]:
    """Names under `Args:` that the function does not have."""
    _, _, rest = (ast.get_docstring(function) or "").partition("Args:\n")
    block = re.split(r"\n(?=\S)", rest)[0]
    told = [name for names in re.findall(r"^    ([\w, ]+):", block, re.MULTILINE) for name in names.split(", ")]
    return [name for name in told if name not in {each.arg for each in ast.walk(function) if isinstance(each, ast.arg)}]


def test_docstrings_describe_the_arguments_that_there_are() -> None:
    found = {
        f"{path.relative_to(ROOT)}:{function.lineno}": names
        for path in sorted((ROOT / "src").rglob("*.py"))
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef) and (names := unknown_arguments(function))
    }
    assert found == {}


@pytest.mark.parametrize("name", [*LONG_FILES, *FULL_FOLDERS])
def test_what_has_a_reason_is_there(name: str) -> None:
    assert (ROOT / name).exists()
