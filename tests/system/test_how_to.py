"""Each how-to says nothing that does not work: its tests pass, and its pipeline runs to a clean end."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.effort import alike

if TYPE_CHECKING:
    from tests.conftest import RunDetektr

FOLDER = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = sorted(FOLDER.glob("*.md"))
Events = list[dict[str, Any]]


def walks_forward(events: Events) -> None:
    """Two people walk past, each in ten pictures, and nobody walks backwards."""
    assert [event["data"] for event in events] == ([{"somebody": "new"}] + [{"moved": 20}] * 9) * 2


def meets_both(events: Events) -> None:
    """Each frame came once, every second one without faces."""
    assert sorted(event["sequence"] for event in events) == list(range(20))
    told = Counter((event["sequence"] % 2, json.dumps(event["data"])) for event in events)
    filtered = {"people": 1, "faces": 0, "missing": {"faces": "filtered"}}
    assert told == {(0, json.dumps(filtered)): 10, (1, json.dumps({"people": 1, "faces": 1, "missing": {}})): 10}


def table_in(output: str) -> str:
    """Return the ledger at the end of a run's output, without spaces at the ends of lines and without times."""
    lines = [line.rstrip() for line in output[output.index("edge ") :].splitlines()]
    return re.sub(r"since [0-9:]+", "since TIME", "\n".join(("```text", *lines, "```")))


SAYS: Mapping[str, Callable[[Events], None]] = MappingProxyType(
    {"keep-frames-in-order": walks_forward, "join-branches": meets_both}
)
"""What a page says of its events."""
FILE = re.compile(r"^```\w+\n# ([\w.]+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES[::2], *map(alike, PAGES[1::2])], ids=lambda page: page.stem)
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
        any_port = {"WEB_PORT": "0", "METRICS_PORT": "0"}  # others run on this machine
        done = run_detektr("up", "--quiet", "--report", "report.json", env=any_port)
        assert done.returncode == 0, done.stderr
        report = json.loads((tmp_path / "report.json").read_text())
        assert report["unaccounted"] == 0 and all(edge["delivered"] for edge in report["edges"])
    if page.stem in SAYS:
        SAYS[page.stem]([json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()])
    if page.stem == "read-the-ledger":  # its table is the one that was printed
        assert table_in(done.stdout) in re.sub(r"since [0-9:]+", "since TIME", page.read_text()), done.stdout
    if page.stem == "find-out-why":
        told = run_detektr("why", "shop")
        assert re.search(r"1\. losing, since .*: detect takes 1\d\d ms a frame", told.stdout), told.stdout + told.stderr
    if "app.py" in files:
        done = subprocess.run([sys.executable, "app.py"], cwd=tmp_path, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        assert sorted(done.stdout.splitlines()) == ["cam -> mean 20 of 20", "mean -> events 20 of 20"]
