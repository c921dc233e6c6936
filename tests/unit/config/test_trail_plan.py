"""What `validate` says of the audit trail: how many rows a second, and for how long there is room."""

from __future__ import annotations

from pathlib import Path

import pytest

from detektr.config.load import load_pipeline
from detektr.config.plan_text import describe_plan


def told(folder: Path, audit: str, fps: str = ", fps: 30") -> str:
    """Return the line about the trail of four cameras over two edges and one of events."""
    (folder / "clip.mp4").touch()
    cameras = "\n".join(f"  c{number}: {{kind: capture, source: clip.mp4{fps}}}" for number in range(4))
    file = folder / "pipeline.yaml"
    file.write_text(
        f"name: shop\naudit: {audit}\nnodes:\n{cameras}\n"
        "  buf: {kind: buffer, input: [c0, c1, c2, c3]}\n"
        "  eye: {kind: processor, input: buf, use: motion}\n"
        "  out: {kind: sink, input: eye, use: jsonl, with: {path: out.jsonl}}\n"
    )
    lines = [line for line in describe_plan(load_pipeline(file)).splitlines() if line.startswith("  audit:")]
    return lines[0] if lines else ""


@pytest.mark.parametrize(
    ("audit", "fps", "words"),
    [
        ("{to: 'sqlite:a.db', frames: all}", ", fps: 30", "all of the frames, 360 rows/s: `most` 2 GiB hold "),
        ("{to: 'sqlite:a.db', frames: all}", ", fps: 30", "hours, not 30d"),
        (
            "{to: 'sqlite:a.db', frames: 1%}",
            ", fps: 30",
            "1% of the frames, 4 rows/s: `most` 2 GiB are enough for the 30d",
        ),
        ("{to: 'sqlite:a.db', frames: all, keep: 1h}", "", "360 rows/s (where no `fps` is said, 30 frames/s)"),
        ("{to: 'redis://h', frames: all}", ", fps: 30", "`most` 0.25 GiB"),
        ("sqlite:a.db", ", fps: 30", "frames that are lost, a row a second for each reason and edge; kept 30d"),
    ],
)
def test_it_says_what_fits(tmp_path: Path, audit: str, fps: str, words: str) -> None:
    assert words in told(tmp_path, audit, fps)


@pytest.mark.parametrize("audit", ["none", "{to: 'sqlite:a.db', frames: none}"])
def test_without_frames_it_says_nothing(tmp_path: Path, audit: str) -> None:
    assert told(tmp_path, audit) == ""
