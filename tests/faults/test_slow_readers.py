"""Consumers that do not read for a while, with much before them: nothing is lost, and nothing piles up meanwhile."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import psutil

from tests.harness.running import RunningPipeline

FRAMES, WINDOW, EVENT_BYTES = 90, 32, 900_000  # a window of events is more than the 4 MiB that an inbox takes at once
GROWTH_BYTES_MAX = 3 * WINDOW * EVENT_BYTES
CODE = f"""
def large(frame):
    return {{"x": "y" * {EVENT_BYTES}}}

def take(event):
    pass
"""


def test_a_window_of_large_events_reaches_a_sink_that_was_stopped_and_its_producer_keeps_its_size(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(CODE)
    source = {"source": "python:tests.harness.checked:numbered", "with": {"rate": 60, "count": FRAMES}}
    nodes = {
        "camera": {"kind": "capture", **source, "when_full": "block"},
        "large": {"kind": "processor", "input": "camera", "use": "mine:large", "event_bytes": 1 << 20}
        | {"high_water_mark": 8},
        "take": {"kind": "sink", "input": "large", "use": "mine:take", "window": WINDOW},
    }
    with RunningPipeline(tmp_path, "slow", nodes) as run:
        run.wait_delivered("large", "take", 1)
        stopped = run.kill("take", signal.SIGSTOP)
        producer = psutil.Process(run.pids("large")[0])
        run.wait(lambda: run.edge("large", "take")["in_flight"] == WINDOW, what="a full window")
        before = producer.memory_info().rss
        threading.Event().wait(5.0)  # of nothing but waiting for the sink
        grown = producer.memory_info().rss - before
        os.kill(stopped, signal.SIGCONT)
        report = run.end(None)
    assert run.exit_code == 0, run.tail()
    assert [(edge["delivered"], edge["redelivered"]) for edge in report["edges"]] == [(FRAMES, 0), (FRAMES, 0)]
    assert grown < GROWTH_BYTES_MAX
