"""What a node is to those who read from it follows from its own options."""

from __future__ import annotations

from pathlib import Path

import pytest

from detektr.options import WhenFull
from detektr.supervisor.entry import make_node
from detektr.supervisor.standalone import spec_from_file

FILE = """
name: producers
nodes:
  live: {kind: capture, source: "rtsp://127.0.0.1:1/none", high_water_mark: 5, guests: 11}
  clip: {kind: capture, source: "lavfi:testsrc2", when_full: drop-newest}
  held: {kind: buffer, input: [live, clip], high_water_mark: 6, when_full: block, guests: 12}
  look: {kind: processor, input: held, use: "detektr.processors.motion:Motion", high_water_mark: 7}
  write: {kind: sink, input: look, use: "detektr.sinks.jsonl:JsonLines", with: {path: events.jsonl}}
"""


@pytest.mark.parametrize(
    ("kind", "name", "mark", "policy", "frames", "inputs"),
    [
        ("capture", "live", 5, "drop-oldest", 11, 1),
        ("capture", "clip", 2, "drop-newest", 2, 1),
        ("buffer", "held", 6, "block", 12, 2),
        ("processor", "look", 7, "block", 1024, 1),
    ],
)
def test_what_guests_get_is_what_the_node_s_own_edges_have(
    tmp_path: Path, shm_dir: Path, kind: str, name: str, mark: int, policy: WhenFull, frames: int, inputs: int
) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(FILE)
    node = make_node(spec_from_file(path, kind, name))
    try:
        found = node.publisher.producer
    finally:
        node.close()
    assert (found.ephemeral_mark, found.ephemeral_policy, found.ephemeral_frames, found.inputs) == (
        mark,
        policy,
        frames,
        inputs,
    )
