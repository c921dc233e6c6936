"""OpenFilter: one source filter and a sink filter for each consumer, raw frames over ipc and its shared memory."""

from __future__ import annotations

import sys
import time
from typing import Any

from openfilter.filter_runtime.filter import Filter, Frame  # type: ignore[import-not-found]
from trial import load_trial
from workload import Meter, produce

CONNECT_S = 2.0  # a sink is set up before it is connected, and does not say when it is


class Source(Filter):  # type: ignore[misc]
    """Hands on one picture of the trial each time it is asked."""

    def setup(self, config: Any) -> None:
        """Begin when all sinks are there."""
        time.sleep(CONNECT_S)
        self.pictures = produce(load_trial(config.folder))

    def process(self, frames: Any) -> Any:
        """Return the next picture; leave after the last one."""
        picture = next(self.pictures, None)
        if picture is None:
            self.exit("done")
        return Frame(picture, {}, "BGR")


class Sink(Filter):  # type: ignore[misc]
    """Meters what arrives."""

    def setup(self, config: Any) -> None:
        """Say that this consumer is ready."""
        self.meter = Meter(config.folder, config.group)
        self.meter.open()

    def process(self, frames: Any) -> None:
        """Meter one frame."""
        self.meter.see(frames["main"].image)

    def shutdown(self) -> None:
        """Write the notes."""
        self.meter.close()


if __name__ == "__main__":
    trial = load_trial(sys.argv[1])
    address = f"ipc://{trial.folder}/filters"
    sinks = [
        (Sink, {"id": f"sink{group}", "sources": address, "folder": trial.folder, "group": group})
        for group in range(trial.consumers)
    ]
    Filter.run_multi([(Source, {"outputs": address, "outputs_jpg": False, "folder": trial.folder}), *sinks])
