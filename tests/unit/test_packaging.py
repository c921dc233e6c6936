"""What is said of versions is said alike: of detektr's own number, and of the Pythons for which there are wheels."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_the_number_has_its_section_in_the_changelog() -> None:
    assert re.search(rf"^## \[{re.escape(PROJECT['version'])}\]$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_there_are_wheels_for_each_python_that_is_promised() -> None:
    promised = {found[1] for one in PROJECT["classifiers"] if (found := re.match(r".*:: 3\.(\d+)$", one))}
    built = set(re.findall(r"cp3(\d+)-\*", PYPROJECT["tool"]["cibuildwheel"]["build"]))
    assert built == promised and f">=3.{min(map(int, promised))}" == PROJECT["requires-python"]


def test_what_the_documentation_needs_is_needed_by_no_user() -> None:
    needed = " ".join([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["top"]])
    assert "mkdocs" not in needed and "detektr[docs]" in PROJECT["optional-dependencies"]["dev"]
