"""What processes tell each other beside the frames' way: who reads, who leaves, what failed. No pixels.

Leases are announced in the edge's journal and given back in the consumer's returns; no message is sent for a frame that
is worked on well.

A frame is named by its stream's key and its sequence everywhere. A consumer's `session` is one life of one replica on
one edge; its `attach_epoch` counts how often it attached, so that leases granted before the last attach are told apart.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from detektr.memory.announcement import FrameName

FailedAttempt = tuple[int, int, int, str]
"""Stream key, sequence, a `FailureKind` and the reason in words."""


class FailureKind(IntEnum):
    """What a failed attempt at a frame means for the next one."""

    RETRYABLE = 0
    """Another attempt may succeed: the frame is leased again, up to `max_deliveries` times."""
    PERMANENT = 1
    """Each attempt would fail alike: the frame is dead-lettered at once."""
    OVERWRITTEN = 2
    """The slot holds another frame by now: the frame is dropped."""


class Attach(NamedTuple):
    """Consumer to producer: here I am, this much I take, this is what I hold and what I have seen."""

    consumer: str
    """Name of the edge's consumer."""
    replica: str
    """Name of this process: `motion.1`."""
    session: int
    attach_epoch: int
    window: int
    is_durable: bool
    """The consumer keeps a journal: after its death its leases wait for its successor."""
    is_ephemeral: bool
    """Not in the file: the edge is made for it, and goes with it."""
    when_full: str
    """Policy that a guest asks for; empty: the producer's own."""
    received: int
    """Running number of the last lease received in this session."""
    held: tuple[FrameName, ...]
    """Leases still held."""
    seen: tuple[FrameName, ...]
    """Per stream, the next sequence that a durable consumer expects."""
    failed: tuple[FailedAttempt, ...]
    """Attempts that failed and of which the producer may not have heard."""
    previous: tuple[int, int, int]
    """Session of the predecessor, and the leases that it worked on last and finished last; zeros: none."""
    max_deliveries: int = 1
    """For a guest: attempts at one frame before it is dead-lettered."""
    timeout_ns: int = 0
    """For a guest: how long it may take for one frame; 0: as long as it lives."""
    completed: int = 0
    """How many frames were written into its returns so far; of those, this message tells all."""


class Welcome(NamedTuple):
    """Producer to consumer: you are attached; the edge's journal is where its name says."""

    session: int
    attach_epoch: int
    producer_epoch: int


class Refusal(NamedTuple):
    """Producer to consumer: you are not attached, and why."""

    session: int
    why: str


class Failure(NamedTuple):
    """Consumer to producer: attempts that failed; none: a sign of life of one whose leases were ended."""

    consumer: str
    session: int
    failed: tuple[FailedAttempt, ...]


class Detach(NamedTuple):
    """Consumer to producer: I leave; what I held and did not finish is yours again."""

    consumer: str
    session: int


Message = Attach | Welcome | Refusal | Failure | Detach
