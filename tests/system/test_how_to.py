"""Each how-to says nothing that does not work: its tests pass, and its pipeline runs to a clean end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = sorted(FOLDER.glob("*.md"))
FILE = re.compile(r"^```\w+\n# ([\w.]+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_of_a_page_work_together(page: Path, tmp_path: Path, run_detektr: RunDetektr) -> None:
    files = dict(FILE.findall(page.read_text()))
    assert files, "a page without a file to try"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    if any(name.startswith("test_") for name in files):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stdout
    if "pipeline.yaml" in files:
        done = run_detektr("up", "--quiet", "--report", "report.json")
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["unaccounted"] == 0 and all(edge["delivered"] for edge in report["edges"])
    if "app.py" in files:
        done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        assert sorted(done.stdout.splitlines()) == ["cam -> mean 20 of 20", "mean -> events 20 of 20"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for target, wanted in re.findall(r"\]\(([\w./-]+\.md)(?:#([\w-]+))?\)", page.read_text()):
        headings = re.findall(r"^#+ (.*)$", (page.parent / target).read_text(), re.MULTILINE)
        anchors = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
        assert not wanted or wanted in anchors
