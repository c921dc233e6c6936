"""iceoryx2 for Python: a loaned slice of shared memory each frame, no overflow, woken by its event service."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

import iceoryx2  # type: ignore[import-not-found]
import numpy as np
from trial import Trial, load_trial
from workload import Meter, produce

HELD_FRAMES = 16  # of each subscriber, before the publisher has to wait
WAKE_MS = 1000


def services(trial: Trial) -> tuple[Any, Any, Any]:
    """Open node, data and events of this run."""
    iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
    node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
    name = iceoryx2.ServiceName.new(trial.folder)
    data = node.service_builder(name).publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
    data = data.enable_safe_overflow(False).subscriber_max_buffer_size(HELD_FRAMES).max_subscribers(trial.consumers)
    return node, data.open_or_create(), node.service_builder(name).event().open_or_create()


def send(trial: Trial) -> None:
    """Publish every picture of the trial."""
    _node, data, event = services(trial)
    size = trial.height * trial.width * 3
    publisher = data.publisher_builder().initial_max_slice_len(size).create()
    notifier = event.notifier_builder().create()
    for picture in produce(trial):
        loan = publisher.loan_slice_uninit(size)
        np.frombuffer(loan.payload().as_memory_view(), np.uint8)[:] = picture.reshape(-1)
        loan.assume_init().send()
        notifier.notify()


def receive(trial: Trial) -> None:
    """Meter every picture of the trial."""
    _node, data, event = services(trial)
    subscriber, listener = data.subscriber_builder().create(), event.listener_builder().create()
    meter = Meter(trial.folder, int(sys.argv[3]))
    meter.open()
    while not meter.is_done:
        listener.timed_wait(iceoryx2.Duration.from_millis(WAKE_MS))
        while (sample := subscriber.receive()) is not None:
            meter.see(np.frombuffer(sample.payload().as_memory_view(), np.uint8))
            del sample
    meter.close()


if __name__ == "__main__":
    {"send": send, "receive": receive}[sys.argv[2]](load_trial(sys.argv[1]))
