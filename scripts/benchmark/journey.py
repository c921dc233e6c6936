"""where a frame's time goes: each step on the lane shm, at once, after a copy and after a pause, in one process"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from machine import is_compiled

if TYPE_CHECKING:
    from detektr.nodes.node import Node

EVICTED_BYTES = 24 << 20  # copied between two stations, as the pictures of a camera are
PAUSE_S = 1 / 30  # between two frames of a camera
PAUSED_FRAMES = 100
PICTURE = (48, 64)  # so small that its copy costs nothing beside the stations
WARM_FRAMES = 50
THREAD_END_S = 20
CAPTURE, BUFFER, PROCESSOR = "capture", "buffer", "processor"
STEPS = {
    CAPTURE: (
        ("claim a slot", "detektr.nodes.capturing.capture_thread:CaptureThread._claim"),
        ("pack what is announced", "detektr.descriptor:DescriptorPacker.pack"),
        ("copy the picture (tiny here)", "detektr.sources.decoding.decoded_picture:ArrayPicture.write"),
        ("publish the slot", "detektr.memory.ring:RingWriter.publish"),
        ("offer: into the journal, leased", "detektr.edge.edge:Edge.offer"),
        ("ring the reader", "detektr.edge.shm_lane:ShmConnection.wake"),
        ("take back what was returned", "detektr.edge.publisher:EdgePublisher._reclaim"),
    ),
    BUFFER: (
        ("wake: pipe and sockets", "detektr.wire.link:Link.wait"),
        ("read the lease in the journal", "detektr.edge.subscriber:EdgeSubscriber.receive"),
        ("offer: into the journal, leased", "detektr.edge.edge:Edge.offer"),
        ("ring the reader", "detektr.edge.shm_lane:ShmConnection.wake"),
        ("take back what was returned", "detektr.edge.publisher:EdgePublisher._reclaim"),
        ("give it back upstream", "detektr.nodes.buffer:BufferNode.settle"),
        ("fall asleep", "detektr.edge.subscriber:EdgeSubscriber.fall_asleep"),
    ),
    PROCESSOR: (
        ("wake: pipe and sockets", "detektr.wire.link:Link.wait"),
        ("read the lease in the journal", "detektr.edge.subscriber:EdgeSubscriber.receive"),
        ("does the lease stand? begun", "detektr.edge.subscriber:EdgeSubscriber.take"),
        ("the frame: descriptor, ring, slot", "detektr.nodes.working.frame_reader:FrameReader.open"),
        ("finished, given back", "detektr.edge.subscriber:EdgeSubscriber.finish"),
        ("fall asleep", "detektr.edge.subscriber:EdgeSubscriber.fall_asleep"),
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what this run can be told."""
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--consumers", type=int, nargs="+", default=[1, 4])
    parser.add_argument(
        "--interpreted", action="store_true", help="only from the Python files: no clock can be put into compiled code"
    )


class Look:
    """A processor that looks at one pixel."""

    def process(self, frame: Any) -> None:
        """Look."""
        frame.pixels[0, 0]


def pictures() -> Iterator[Any]:
    """Yield one picture; the stations are handed theirs by hand."""
    yield np.zeros((*PICTURE, 3), np.uint8)


class Stations:
    """Capture, buffer and processors of one pipeline, all in this process, each made to take its turn by hand."""

    def __init__(self, folder: Path, consumers: int) -> None:
        """Start them, up to where a frame can flow."""
        from detektr.nodes.capturing.capture import CaptureNode
        from detektr.picture import PictureLayout
        from detektr.sources.decoding.decoded_picture import ArrayPicture
        from detektr.supervisor.entry import make_node
        from detektr.supervisor.standalone import spec_from_file

        names = [f"look{number}" for number in range(consumers)]
        nodes: dict[str, Any] = {
            "camera": {"kind": "capture", "source": "python:journey:pictures"},
            "buffer": {"kind": "buffer", "input": "camera", "when_full": "block"},
        }
        nodes |= {name: {"kind": "processor", "input": "buffer", "use": "journey:Look"} for name in names}
        path = folder / "pipeline.yaml"
        # On the lane whose rings are heard at once: a message is there when the thread of ZeroMQ has come to it.
        told = {"name": f"journey{os.getpid()}", "announce": "shm", "nodes": nodes}
        path.write_text(yaml.safe_dump(told))
        specs = [spec_from_file(path, nodes[name]["kind"], name) for name in ("camera", "buffer", *names)]
        self.camera, self.buffer, *self.lookers = (make_node(spec) for spec in specs)
        self.nodes = [self.camera, self.buffer, *self.lookers]
        for node in self.nodes:
            node.prepare()
        assert isinstance(self.camera, CaptureNode)
        self.thread = self.camera._capture_thread
        self.thread.stop()
        assert self.thread.join(THREAD_END_S)
        self.camera._reader._is_stopped.clear()
        self.thread.is_finished = False  # else everybody would hurry, as at the end of a run
        self.picture = ArrayPicture(np.zeros((*PICTURE, 3), np.uint8), PictureLayout("bgr24", PICTURE[1], PICTURE[0]))
        while not all(subscriber.is_attached for node in self.nodes for subscriber in node.subscribers):
            for node in self.nodes:
                wake(node)
        for node in self.nodes:
            while not node.is_asleep:
                wake(node)

    def publish(self) -> None:
        """Do with a picture what the capture's thread does."""
        self.thread._publish(self.picture)

    def close(self) -> None:
        """Take them apart, who reads first."""
        for node in reversed(self.nodes):
            node.close()


class Stopwatch:
    """Microseconds of each station and step, frame by frame."""

    def __init__(self) -> None:
        """Begin with nothing taken."""
        self.took: dict[tuple[str, str], list[float]] = {}
        self.station = ""

    def time(self, step: str, act: Callable[..., Any], *args: Any, **named: Any) -> Any:
        """Do it and note how long it took."""
        begun_ns = time.perf_counter_ns()
        answer = act(*args, **named)
        self.took.setdefault((self.station, step), []).append((time.perf_counter_ns() - begun_ns) / 1e3)
        return answer

    @contextmanager
    def watching(self, target: str, step: str) -> Iterator[None]:
        """Time a function of detektr wherever it is called meanwhile."""
        from importlib import import_module

        module, _, path = target.partition(":")
        *owners, name = path.split(".")
        owner: Any = import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        real = getattr(owner, name)

        def timed(*args: Any, **named: Any) -> Any:
            return self.time(step, real, *args, **named)

        setattr(owner, name, timed)
        try:
            yield
        finally:
            setattr(owner, name, real)

    def median(self, station: str, step: str) -> float:
        """Return the median of a step; 0: it was never done."""
        return statistics.median(self.took.get((station, step), [0.0]))


def run(chosen: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every station: at once, after a copy that empties the caches, and after a camera's pause.

    As detektr is installed, and in another process from its Python files, of which the steps can be timed too.
    """
    if chosen.interpreted:
        from tests.harness.interpreted import Sources

        sys.meta_path.insert(0, Sources())
        return time_stations(chosen, "from the Python files", in_steps=True)
    if not is_compiled("detektr.descriptor"):
        return time_stations(chosen, "from the Python files", in_steps=True)
    rows = time_stations(chosen, "compiled", in_steps=False)
    with tempfile.NamedTemporaryFile(prefix="dtk", suffix=".json") as file:
        told = ["--frames", str(chosen.frames), "--consumers", *map(str, chosen.consumers), "--json", file.name]
        command = [sys.executable, str(Path(__file__).parent), "journey", "--interpreted", *told]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return [*rows, *json.load(file)["rows"]]


def time_stations(chosen: argparse.Namespace, how: str, *, in_steps: bool) -> list[dict[str, Any]]:
    """Time every station, and its steps too where they are wanted."""
    rows = []
    ballast = np.zeros(EVICTED_BYTES // 2, np.uint8), np.zeros(EVICTED_BYTES // 2, np.uint8)
    befores: dict[str, tuple[Callable[[], Any], int]] = {
        "at once": (lambda: None, chosen.frames),
        "after a copy": (partial(np.copyto, *ballast), chosen.frames),
        "after a pause": (partial(time.sleep, PAUSE_S), min(chosen.frames, PAUSED_FRAMES)),
    }
    shared = tempfile.TemporaryDirectory(prefix="dtk", dir="/dev/shm")
    with tempfile.TemporaryDirectory(prefix="dtk") as folder, shared as shm:
        os.environ["DETEKTR_SHM_DIR"] = shm
        for consumers in chosen.consumers:
            stations = Stations(Path(folder), consumers)
            try:
                time_frames(stations, WARM_FRAMES, befores["at once"][0], in_steps=False)
                wholes = [time_frames(stations, frames, before, in_steps=False) for before, frames in befores.values()]
                parts = [
                    time_frames(stations, frames if in_steps else 0, before, in_steps=True)
                    for before, frames in befores.values()
                ]
            finally:
                stations.close()
            for station, steps in STEPS.items():
                found = [(f"{station}, all of it", wholes, "whole")]
                found += [(f"  {name}", parts, name) for name, _ in (steps if in_steps else ())]
                rows += [
                    {
                        "run": f"us a frame, K={consumers}, {how}",
                        "step": shown,
                        **{name: watch.median(station, step) for name, watch in zip(befores, watches, strict=True)},
                    }
                    for shown, watches, step in found
                ]
    return rows


def time_frames(stations: Stations, frames: int, before: Callable[[], Any], *, in_steps: bool) -> Stopwatch:
    """Return the times of each station; of its steps too, which makes the whole slower by what the watching costs."""
    watch = Stopwatch()

    def at(station: str, act: Callable[[], Any]) -> None:
        watch.station = station
        before()
        with ExitStack() as watched:
            for step, target in STEPS[station] if in_steps else ():
                watched.enter_context(watch.watching(target, step))
            watch.time("whole", act)

    first, *others = stations.lookers
    for _ in range(frames):
        at(CAPTURE, stations.publish)
        at(BUFFER, partial(wake, stations.buffer))
        at(PROCESSOR, partial(wake, first))
        for looker in others:
            wake(looker)
    return watch


def wake(node: Node) -> None:
    """Let a node do what it does when it was rung."""
    node.link.wait(0)
    node.turn()
