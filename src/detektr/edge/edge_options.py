"""What an edge may hold, and what it tells: the terms between one producer and one consumer group."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from detektr.options import WhenFull


@dataclass(frozen=True, kw_only=True)
class EdgeOptions:
    """What an edge may hold and what it does when that is reached."""

    mark: int
    """Most frames queued per lane (the high-water mark)."""
    low: int
    """After the mark was reached, a lane takes frames again when it holds this many."""
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
    is_ephemeral: bool = False
    is_policy_open: bool = False
    """An ephemeral consumer's that asked for no policy of its own: that of its producer, see `settle_policy`."""

    @property
    def cells(self) -> int:
        """Most frames that the edge ever holds."""
        return self.inputs * self.mark + self.window_total


class ReclaimMode(Enum):
    """How much a producer wants its leases back."""

    LAZY = auto()
    """It looks when several are out, or once a second."""
    EAGER = auto()
    """It has a frame at hand all the time, looks at each, and would rather fill slots that are still in the caches."""
    RELAYED = auto()
    """Who is before it has `OWN`: the last consumer that a frame is out at wakes it, and then it looks at all."""
    BLOCKED = auto()
    """It, or who is before it, can do nothing before they come back: each that does wakes it."""


class FrameOutcome(NamedTuple):
    """Something that became of one frame; `what` is dropped, redelivered, dead_lettered or refused."""

    what: str
    sequence: int
    reason: str
    attempts: int
    payload: bytes
    frames: int = 1
    """How many, of which `sequence` is the last one's."""
