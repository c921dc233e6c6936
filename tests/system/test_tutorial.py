"""The tutorial says nothing that does not happen: its files are written and run, one after the other."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.system.test_how_to import FILE

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()


def test_what_the_tutorial_says_happens(tmp_path: Path, run_detektr: RunDetektr) -> None:
    for name, text in FILE.findall(PAGE):
        (tmp_path / name).write_text(text)
    tested = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(tested, cwd=tmp_path, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stdout
    assert "good: 4 nodes in 5 processes" in run_detektr("validate").stdout
    first = run_detektr("up", "--quiet")
    assert first.returncode == 0 and first.stdout.endswith("unaccounted: 0\n"), first.stdout + first.stderr
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert len(events) == 20 and {"data", "frame", "camera", "sequence", "timestamp"} <= events[0].keys()

    chain = run_detektr("up", "chain.yaml", "--quiet", "--report", "report.json")
    assert chain.returncode == 0, chain.stderr
    (alert,) = (tmp_path / "alerts.txt").read_text().splitlines()
    assert f"`alerts.txt` has one line: `{alert}`" in PAGE
    edges = {edge["to"]: edge for edge in json.loads((tmp_path / "report.json").read_text())["edges"]}
    (seen,) = re.findall(r"Of the 60 frames the model saw (\d+)", PAGE)
    assert edges["detect"]["delivered"] == int(seen) and edges["detect"]["dropped"] == {"filtered": 60 - int(seen)}
    assert "nothing was lost or late" in run_detektr("why", "watch").stdout
