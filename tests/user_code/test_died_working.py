"""A process that dies of an exception has made an attempt at the frame that it was working on."""

from __future__ import annotations

from pathlib import Path

from tests.harness.running import RunningPipeline

FRAMES = 20
CODE = """
import numpy as np

def pictures():
    for number in range(20):
        yield np.full((48, 64), number, np.uint8)

class Process:
    def process(self, frame):
        if frame.sequence == 7:
            from detektr.nodes.working import worker
            worker.fault_traceback = None  # so that telling of the next fault is a fault itself
            raise ValueError("poison")
        return {"number": frame.sequence}
"""


def test_a_frame_on_which_its_process_dies_by_an_exception_is_dead_lettered_after_its_attempts(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    restart = {"backoff": "20ms..100ms", "limit": "9 in 1m"}
    nodes = {
        "cam": {"kind": "capture", "source": "python:mine:pictures"},
        "work": {"kind": "processor", "input": "cam", "use": "mine:Process", "max_deliveries": 2, "restart": restart},
    }
    with RunningPipeline(tmp_path, "poison", nodes) as run:
        report = run.end(None)
    [edge] = report["edges"]
    assert (edge["delivered"], edge["dead_lettered"], report["unaccounted"]) == (FRAMES - 1, 1, 0), run.tail()
    assert report["nodes"]["work"]["restarts"] == 2
