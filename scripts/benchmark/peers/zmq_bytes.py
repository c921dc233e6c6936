"""Every frame's bytes through a ZeroMQ socket for each consumer, without a copy of ours at either end."""

from __future__ import annotations

import sys

import numpy as np
import zmq
from trial import Trial, load_trial
from workload import Meter, produce

QUEUED_FRAMES = 8


def send(trial: Trial) -> None:
    """Push every picture of the trial to every consumer."""
    sockets = []
    for consumer in range(trial.consumers):
        socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PUSH)
        socket.setsockopt(zmq.SNDHWM, QUEUED_FRAMES)
        socket.bind(f"ipc://{trial.folder}/zmq{consumer}")
        sockets.append(socket)
    # ZeroMQ sends from this memory later: the next stamp must not overwrite what is still queued.
    for picture in produce(trial, held=2 * QUEUED_FRAMES):
        for socket in sockets:
            socket.send(picture.data, copy=False)


def receive(trial: Trial) -> None:
    """Meter every picture of the trial."""
    consumer = int(sys.argv[3])
    socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, QUEUED_FRAMES)
    socket.connect(f"ipc://{trial.folder}/zmq{consumer}")
    meter = Meter(trial.folder, consumer)
    meter.open()
    while not meter.is_done:
        meter.see(np.frombuffer(socket.recv(copy=False).buffer, np.uint8))
    meter.close()


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[2]](load_trial(sys.argv[1]))
