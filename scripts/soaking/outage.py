"""What happens to the cameras of a soak run: their servers die, hang for a while or for long, and come back."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.cameras.rtsp_servers import RtspServer

KINDS = ("kill", "freeze briefly", "freeze long")
DOWN_S = (0.2, 3.0)
ALL_AT_ONCE = 0.1  # how often it is the switch that fails, not one camera


@dataclass
class Outage:
    """One fault, of the servers of some cameras."""

    kind: str
    cameras: tuple[str, ...]
    begun_ns: int
    cleared_ns: int = 0
    """When the servers were back."""
    flowed_ns: int = 0
    """When frames of all its cameras had come again."""

    @property
    def seconds_to_flow(self) -> float:
        """Time from the servers being back to the frames."""
        return (self.flowed_ns - self.cleared_ns) / 1e9

    def covers(self, camera: str, at_ns: int) -> bool:
        """Tell whether a camera's frames of this time may be late."""
        return camera in self.cameras and self.begun_ns <= at_ns <= (self.flowed_ns or at_ns)


class Misfortune:
    """Rolls the dice and does it."""

    def __init__(self, servers: Sequence[tuple[RtspServer, tuple[str, ...]]], dice: random.Random, stall_s: float):
        """Take servers with the cameras of each, and the pipeline's `stall_timeout` in seconds."""
        self.servers, self.dice, self.stall_s = servers, dice, stall_s

    def strike(self) -> Outage:
        """Let one fault happen and end; returns when the servers are back."""
        is_all = self.dice.random() < ALL_AT_ONCE
        hit = self.servers if is_all else [self.dice.choice(self.servers)]
        kind = self.dice.choice(KINDS)
        cameras = tuple(camera for _, cameras in hit for camera in cameras)
        outage = Outage(f"{kind}, all" if is_all else kind, cameras, time.monotonic_ns())
        if kind == "kill":
            for server, _ in hit:
                server.kill()
            time.sleep(self.dice.uniform(*DOWN_S))  # how long they are off
            for server, _ in hit:
                server.start()
        else:
            is_long = kind == "freeze long"
            for server, _ in hit:
                server.stop()
            time.sleep(self.dice.uniform(*((1.2, 2.5) if is_long else (0.1, 0.7))) * self.stall_s)  # how long they hang
            for server, _ in hit:
                server.resume()
        outage.cleared_ns = time.monotonic_ns()
        return outage
