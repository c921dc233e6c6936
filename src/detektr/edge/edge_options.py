"""Values of an edge: its options (marks, policy, time limits), and the outcomes of frames that it reports."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

from detektr.options import Lane, WhenFull


@dataclass(frozen=True, kw_only=True)
class EdgeOptions:
    """The limits of an edge, and its policy when a limit is reached."""

    mark: int
    """Most frames queued for each input (the high-water mark)."""
    low: int
    """An input that has reached its mark takes frames again when it holds this many (the low-water mark)."""
    when_full: WhenFull
    inputs: int = 1
    """Inputs of the producer; each has a queue and a mark of its own."""
    window_total: int
    """Most leases that all replicas together may hold."""
    payload_bytes: int
    max_deliveries: int = 3
    timeout_ns: int | None = None
    """How long a replica may work on one frame; None: without a limit."""
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
    """The consumer is optional: nobody waits for it; frames beyond its speed are dropped as `consumer_slow`."""
    drain_ns: int = 0
    """How long the end of the run waits for an optional consumer."""
    passed_max: int = 0
    """Of a consumer that is a relay: most frames that a replica has passed on and still holds; beside its window."""
    relays_to: tuple[str, ...] = ()
    """Of a consumer that is a relay: the consumers of its edges of frames, whose journals say what was passed on."""
    tombstones: int = 0
    """Most frames that are settled here and stand above; 0: frames come in order, and the edge keeps no tombstones."""
    only_results: bool = False
    """Only frames for which the producer returned something."""

    @property
    def cells(self) -> int:
        """Most frames, and tombstones, that the edge ever holds."""
        return self.inputs * self.mark + self.window_total + self.tombstones


class OutcomeKind(Enum):
    """The outcomes of a frame that are reported."""

    DROPPED = auto()
    REDELIVERED = auto()
    DEAD_LETTERED = auto()
    REFUSED = auto()
    """A result came after its lease had ended."""


class FrameOutcome(NamedTuple):
    """The outcome of one frame."""

    kind: OutcomeKind
    sequence: int
    reason: str
    attempts: int
    payload: bytes
    frames: int = 1
    """Number of frames; `sequence` is that of the last one."""
