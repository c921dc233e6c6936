"""What a file gives that writes no marks."""

from __future__ import annotations

from pathlib import Path

import detektr
from tests.harness.running import RunningPipeline

TEST_PICTURE = "lavfi:testsrc2=size=160x120:rate=100"


def test_at_the_defaults_there_is_room_for_a_guest_at_the_camera_and_at_the_buffer(tmp_path: Path) -> None:
    nodes = {
        "cam": {"kind": "capture", "source": TEST_PICTURE, "realtime": True},
        "buffer": {"kind": "buffer", "input": "cam"},
        "motion": {"kind": "processor", "input": "buffer", "use": "motion", "replicas": 3},
    }
    with RunningPipeline(tmp_path, "looked-at", nodes) as run:
        with (
            detektr.attach("looked-at/cam", wait_s=20) as first,
            detektr.attach("looked-at/buffer", wait_s=20) as second,
        ):
            for _ in range(5):
                assert next(first).camera == next(second).camera == "cam"
        report = run.end()
    assert report["unaccounted"] == 0
