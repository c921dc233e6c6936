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
    has_one_camera: bool = False
    """The producer is a capture: all frames are of its camera, so drops are not counted by camera."""
    is_optional: bool = False
    """The consumer is optional: nobody waits for it; frames beyond its speed are dropped as `consumer_slow`."""
    is_retried: bool = False
    """The consumer tries what fails again for as long as it is told: what the edge gives up, it dead-letters."""
    drain_ns: int = 0
    """How long the end of the run waits for an optional consumer."""
    is_partitioned: bool = False
    """The file says that each camera's frames go to one replica; else the first replica that attaches may say so."""
    replicas: int = 1
    """Replicas of the consumer."""
    all_cameras: tuple[str, ...] = ()
    """Cameras whose frames come to the consumer, on whatever edge, in the file's order."""
    streams: int = 0
    """Captures whose frames may come on this edge: where it is partitioned each has a queue and a mark of its own."""
    passed_max: int = 0
    """Of a consumer that is a relay: most frames that a replica has passed on and still holds; beside its window."""
    relays_to: tuple[str, ...] = ()
    """Of a consumer that is a relay: the consumers of its edges of frames, whose journals say what was passed on."""
    tombstones: int = 0
    """Most frames that are settled here and stand above; 0: frames come in order, and the edge keeps no tombstones."""
    keeps_settled: int = 0
    """Most frames that are settled here while others need them, on an edge whose frames come in order and above a join:
    it keeps what became of them; 0: it does not."""
    only_results: bool = False
    """Only frames for which the producer returned something."""
    gatherers: tuple[str, ...] = ()
    """Processes below that may hold frames back until it is known what became of those on this edge; see `Gate`."""
    is_joined: bool = False
    """One of them joins branches, so a frame that nobody is there to take is dropped as `absent` at once, if the
    consumer is optional."""
    is_gathering: bool = False
    """The consumer is one of them: it holds frames that it cannot work on yet."""
    reserve: int = 0
    """Leases beyond those of the replicas' windows, for the oldest frame of each stream: others may be held back
    because of it. They count in `window_total`."""

    @property
    def has_own_frames(self) -> bool:
        """Whether its queue may hold other frames than the newest ones, which the queues beside it hold too."""
        return self.when_full == "drop-newest" or self.fps is not None or bool(self.cameras) or self.only_results

    @property
    def cells(self) -> int:
        """Most frames, and tombstones, that the edge ever holds."""
        return max(self.inputs, self.streams) * self.mark + self.window_total + self.tombstones + self.keeps_settled


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
