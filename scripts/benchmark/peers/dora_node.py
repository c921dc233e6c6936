"""A node of a dora dataflow: sends the pictures, or meters them."""

from __future__ import annotations

import sys

import pyarrow  # type: ignore[import-not-found]
from dora import Node  # type: ignore[import-not-found]
from trial import Trial, load_trial
from workload import Meter, produce


def send(trial: Trial) -> None:
    """Send every picture of the trial."""
    node = Node()
    for picture in produce(trial):
        node.send_output("frame", pyarrow.array(picture.reshape(-1)))


def receive(trial: Trial) -> None:
    """Meter what arrives, until the last frame or the end of the dataflow."""
    node, meter = Node(), Meter(trial.folder, int(sys.argv[3]))
    meter.open()
    for event in node:
        if event["type"] == "INPUT":
            meter.see(event["value"].to_numpy(zero_copy_only=True))
        elif event["type"] == "STOP":
            break
        del event
        if meter.is_done:
            break
    meter.close()


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[2]](load_trial(sys.argv[1]))
