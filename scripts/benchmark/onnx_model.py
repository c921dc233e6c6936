"""A small convolutional network on ONNX Runtime as a user would run it: single frames, or batches of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from workload import paced

if TYPE_CHECKING:
    from detektr import Frame

HEIGHT, WIDTH = 96, 160  # of the pictures, grey, which are the network's input
CHANNELS = (1, 8, 16, 32)
CLASSES = 10


def make_model(path: Path) -> None:
    """Write a network of three strided convolutions and a linear layer, with weights from a fixed seed."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    dice = np.random.default_rng(1)
    nodes, weights, last = [], [], "picture"
    for number, (before, after) in enumerate(pairwise(CHANNELS)):
        kernel = dice.normal(0, 0.2, (after, before, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"kernel{number}"))
        nodes.append(
            helper.make_node("Conv", [last, f"kernel{number}"], [f"conv{number}"], strides=[2, 2], pads=[1, 1, 1, 1])
        )
        nodes.append(helper.make_node("Relu", [f"conv{number}"], [f"relu{number}"]))
        last = f"relu{number}"
    weights.append(numpy_helper.from_array(dice.normal(0, 0.2, (CHANNELS[-1], CLASSES)).astype(np.float32), "linear"))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "linear"], ["scores"]))
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["frames", 1, HEIGHT, WIDTH])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["frames", CLASSES])
    graph = helper.make_graph(nodes, "small", [picture], [scores], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def pictures(count: int, rate: float) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield grey pictures at a rate; 0: as fast as they are taken."""
    noise = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    for number in paced(count, rate):
        yield noise + np.uint8(number % 256)


class Classify:
    """Runs the network on a frame or on a batch, and notes of each frame when it was captured and when it was done."""

    def __init__(self, model: str, notes: str, threads: int = 1) -> None:
        """Take the model's file, the folder for the notes, and the threads of one call."""
        self.model, self.folder, self.threads = model, Path(notes), threads
        self.notes: list[tuple[int, int, int, int]] = []

    def open(self) -> None:
        """Load the model, and warm it up."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        self.session = onnxruntime.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])
        for count in (1, 8):
            self.session.run(None, {"picture": np.zeros((count, 1, HEIGHT, WIDTH), np.float32)})

    def process(self, frame: Frame) -> dict[str, Any]:
        """Classify one frame."""
        [event] = self.process_batch([frame])
        return event

    def process_batch(self, frames: list[Frame]) -> list[dict[str, Any]]:
        """Classify several frames in one call."""
        begun_ns = time.monotonic_ns()
        batch = np.empty((len(frames), 1, HEIGHT, WIDTH), np.float32)
        for place, frame in enumerate(frames):
            np.multiply(frame.gray, 1 / 255, out=batch[place, 0])
        best = self.session.run(None, {"picture": batch})[0].argmax(axis=1)
        done_ns = time.monotonic_ns()
        spent_ns = (done_ns - begun_ns) // len(frames)
        self.notes += [(frame.captured_ns, done_ns, len(frames), spent_ns) for frame in frames]
        return [{"class": int(each)} for each in best]

    def close(self) -> None:
        """Write the notes of this process."""
        np.save(self.folder / f"notes-{os.getpid()}.npy", np.array(self.notes, np.int64))
