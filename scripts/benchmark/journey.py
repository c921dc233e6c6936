"""where a frame's time goes: each station of its journey, its code in the caches and not, in one process"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml

if TYPE_CHECKING:
    from detektr.nodes.node import Node

EVICTED_BYTES = 24 << 20  # copied between two stations, as the pictures of a camera are
PICTURE = (48, 64)  # so small that its copy costs nothing beside the stations


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--consumers", type=int, nargs="+", default=[1, 4])


class Look:
    """A processor that looks at one pixel."""

    def process(self, frame: Any) -> None:
        """Look."""
        frame.pixels[0, 0]


def pictures() -> Any:
    """Yield one picture; the stations are handed theirs by hand."""
    yield np.zeros((*PICTURE, 3), np.uint8)


class Stations:
    """Capture, buffer and processors of one pipeline, all in this process, each made to take its turn by hand."""

    def __init__(self, folder: Path, consumers: int) -> None:
        """Start them, up to where a frame can flow."""
        from detektr.nodes.capture import CaptureNode
        from detektr.nodes.source.decoded import ArrayPicture
        from detektr.picture import PictureLayout
        from detektr.pipeline.entry import make_node
        from detektr.pipeline.lone import spec_from_file

        names = [f"look{number}" for number in range(consumers)]
        nodes: dict[str, Any] = {
            "camera": {"kind": "capture", "source": "python:journey:pictures"},
            "buffer": {"kind": "buffer", "input": "camera", "when_full": "block"},
        }
        nodes |= {name: {"kind": "processor", "input": "buffer", "use": "journey:Look"} for name in names}
        path = folder / "pipeline.yaml"
        path.write_text(yaml.safe_dump({"name": f"journey{os.getpid()}", "nodes": nodes}))
        specs = [spec_from_file(path, nodes[name]["kind"], name) for name in ("camera", "buffer", *names)]
        self.camera, self.buffer, *self.lookers = (make_node(spec) for spec in specs)
        self.nodes = [self.camera, self.buffer, *self.lookers]
        for node in self.nodes:
            node.prepare()
        assert isinstance(self.camera, CaptureNode)
        self.decoder = self.camera._decoder
        self.decoder.stop()
        self.decoder.join()
        self.decoder.is_stopped.clear()
        self.picture = ArrayPicture(np.zeros((*PICTURE, 3), np.uint8), PictureLayout("bgr24", PICTURE[1], PICTURE[0]))
        while not all(intake.is_attached for node in self.nodes for intake in node.intakes):
            self.turn_all()

    def turn_all(self) -> None:
        """Let everybody take a turn."""
        for node in self.nodes:
            node.turn()
            node.link.wait(0)

    def publish(self) -> None:
        """Hand a picture to the capture's decoder."""
        self.decoder._publish(self.picture)

    def close(self) -> None:
        """Take them apart, who reads first."""
        for node in reversed(self.nodes):
            node.close()


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every station, with its code in the caches and after they were emptied."""
    rows = []
    ballast = np.zeros(EVICTED_BYTES // 2, np.uint8), np.zeros(EVICTED_BYTES // 2, np.uint8)
    with (
        tempfile.TemporaryDirectory(prefix="dtk") as folder,
        tempfile.TemporaryDirectory(prefix="dtk", dir="/dev/shm") as shm,
    ):
        os.environ["DETEKTR_SHM_DIR"] = shm
        for consumers in chosen.consumers:
            stations = Stations(Path(folder), consumers)
            try:
                took = {
                    is_cold: time_frames(stations, chosen.frames, ballast if is_cold else None)
                    for is_cold in (False, True)
                }
            finally:
                stations.close()
            for station in took[False]:
                rows.append(
                    {
                        "run": f"us a frame, K={consumers}",
                        "station": station,
                        "in the caches": statistics.median(took[False][station]),
                        "not in them": statistics.median(took[True][station]),
                    }
                )
    return rows


def time_frames(stations: Stations, frames: int, ballast: Any) -> dict[str, list[float]]:
    """Return the microseconds of each station for each frame."""
    took: dict[str, list[float]] = {}

    def station(name: str, act: Callable[[], object]) -> None:
        if ballast is not None:
            np.copyto(*ballast)
        begun_ns = time.perf_counter_ns()
        act()
        took.setdefault(name, []).append((time.perf_counter_ns() - begun_ns) / 1e3)

    first, *others = stations.lookers
    for _ in range(frames):
        station("capture: publish, offer, grant, ring", stations.publish)
        station("buffer: receive, offer, grant, ring", partial(wake, stations.buffer))
        station("processor: receive, look, give back", partial(wake, first))
        for looker in others:
            wake(looker)
    return took


def wake(node: Node) -> None:
    """Let a node do what it does when it was rung."""
    node.link.wait(0)
    node.turn()
