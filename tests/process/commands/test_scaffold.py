from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import RunDetektr


@pytest.mark.thorough
def test_a_new_project_tests_itself_and_runs(tmp_path: Path, run_detektr: RunDetektr) -> None:
    made = run_detektr("new", "shop")
    assert made.stdout.splitlines() == ["shop/pipeline.yaml", "shop/look.py", "shop/test_look.py"]
    shop = tmp_path / "shop"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."]
    assert subprocess.run(command, cwd=shop, capture_output=True, timeout=50).returncode == 0
    done = run_detektr("up", "--for", "2s", "--report", "report.json", cwd=shop)
    assert done.returncode == 0, done.stderr
    report = json.loads((shop / "report.json").read_text())
    assert report["pipeline"] == "shop" and report["unaccounted"] == 0
    assert (shop / "events.jsonl").read_text().count('"mean"') > 5


def test_a_folder_that_exists_and_a_name_that_is_none_are_refused(tmp_path: Path, run_detektr: RunDetektr) -> None:
    (tmp_path / "shop").mkdir()
    assert "new: shop exists; name another folder" in run_detektr("new", "shop").stderr
    done = run_detektr("new", "my shop")
    assert (done.returncode, "is not a name" in done.stderr) == (2, True)
