"""What an edge may hold, and what it tells of its frames."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from detektr.options import Lane, WhenFull


@dataclass(frozen=True, kw_only=True)
class EdgeOptions:
    """What an edge may hold and what it does when that is reached."""

    mark: int
    """Most frames queued for each input (the high-water mark)."""
    low: int
    """After the mark was reached, an input takes frames again when it holds this many."""
    when_full: WhenFull
    inputs: int = 1
    """Inputs of the producer; each has a queue and a mark of its own."""
    window_total: int
    """Most leases that all replicas may hold together."""
    payload_bytes: int
    max_deliveries: int = 3
    timeout_ns: int | None = None
    """How long a replica may take for one frame; None: as long as it lives."""
    max_age_ns: int | None = None
    """Oldest age, counted from the capture, at which a frame is leased and work on it begins; None: any."""
    fps: float | None = None
    """Thin each camera out to this many frames a second, evenly, by the frames' own times; None: all."""
    cameras: tuple[str, ...] = ()
    """Cameras whose frames pass; empty: all."""
    is_ephemeral: bool = False
    is_policy_open: bool = False
    """Nobody asked for a policy of this edge's own: it has that of its producer, see `settle_policy`."""
    lane: Lane = "zmq"
    """How leases are announced."""
    is_optional: bool = False
    """Its consumer is one that nobody waits for: what it is too slow for is dropped as `consumer_slow`."""
    drain_ns: int = 0
    """An optional consumer's: how long the end of the run waits for it."""

    @property
    def cells(self) -> int:
        """Most frames that the edge ever holds."""
        return self.inputs * self.mark + self.window_total


class OutcomeKind(Enum):
    """What can become of a frame that is worth telling."""

    DROPPED = auto()
    REDELIVERED = auto()
    DEAD_LETTERED = auto()
    REFUSED = auto()
    """A result came whose lease was over."""


class FrameOutcome(NamedTuple):
    """What became of one frame."""

    kind: OutcomeKind
    sequence: int
    reason: str
    attempts: int
    payload: bytes
    frames: int = 1
    """How many, of which `sequence` is the last one's."""
