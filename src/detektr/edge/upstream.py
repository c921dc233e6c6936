"""Which edge a replica reads, and as whom."""

from __future__ import annotations

from dataclasses import dataclass

from detektr.options import Lane

COMPLETIONS_SPARE = 64


@dataclass(frozen=True)
class Upstream:
    """The edge to read, and the replica that reads it."""

    producer: str
    producer_replica: int
    consumer: str
    window: int
    is_durable: bool = False
    is_ephemeral: bool = False
    """We are an ephemeral consumer: the edge is made when we attach, with the next three values, and goes with us."""
    when_full: str = ""
    """Policy; empty: the producer's own."""
    max_deliveries: int = 1
    timeout_ns: int = 0
    """How long we may work on one frame; 0: without a limit."""
    lane: Lane = "zmq"
    """How leases are announced."""
    passed_max: int = 0
    """Of a relay: most frames that we have passed on and still hold, beside the window."""

    is_gathering: bool = False
    """We order the frames of several inputs, or join branches: so we hold frames back, and finish them in any order."""

    @property
    def notes_max(self) -> int:
        """Most that we tell of leases before the producer must have looked; of those passed on we tell twice."""
        leases = self.window + self.passed_max
        return (2 * leases if self.passed_max else leases) + COMPLETIONS_SPARE
