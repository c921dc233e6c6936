"""Messages between processes: attach, detach, failures, what clients pull, on the lane `zmq` each lease. No pixels.

On the lane `shm`, leases lie in the edge's journal and completed ones in a completion queue, without messages.

A frame is named by its stream's key and its sequence everywhere. A consumer's `session` is one life of one replica on
one edge; its `attach_epoch` counts how often it attached, so that leases from before the last attach are recognised.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from detektr.memory.announcement import FrameName

FailedAttempt = tuple[int, int, int, str]
"""Stream key, sequence, a `FailureKind` and the reason in words."""


class FailureKind(IntEnum):
    """The consequence of a failed attempt at a frame."""

    RETRYABLE = 0
    """Another attempt may succeed: the frame is leased again, up to `max_deliveries` times."""
    PERMANENT = 1
    """Each attempt would fail alike: the frame is dead-lettered at once."""
    OVERWRITTEN = 2
    """The slot holds another frame by now: the frame is dropped."""
    TOO_OLD = 3
    """The frame was older than the edge's `max_age` when its work was about to begin: undone, and dropped."""
    GIVEN_BACK = 4
    """No attempt: its camera is another replica's from now on, so the frame is leased to that one."""
    STOPPED = 5
    """No attempt: the run ends, and nobody has asked for the frame within the drain's time; it is dropped."""


class Attach(NamedTuple):
    """Consumer to producer: a replica attaches, with its window, the leases that it holds, and its progress."""

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
    """Policy that an ephemeral consumer asks for; empty: the producer's own."""
    received: int
    """Delivery tag of the last lease received in this session."""
    held: tuple[FrameName, ...]
    """Leases still held."""
    seen: tuple[FrameName, ...]
    """Per stream, the next sequence that a durable consumer expects."""
    failed: tuple[FailedAttempt, ...]
    """Attempts that failed and of which the producer may not have heard."""
    previous: tuple[int, int, int, int]
    """Session of the predecessor, the leases that it worked on last and finished last, and the one that alone is to
    blame for its death (0: the one that it worked on); zeros: none."""
    max_deliveries: int = 1
    """Of an ephemeral consumer: attempts at one frame before it is dead-lettered."""
    timeout_ns: int = 0
    """Of an ephemeral consumer: how long it may work on one frame; 0: without a limit."""
    lane: str = "zmq"
    """How leases are to be announced: `zmq` or `shm`."""
    completed: int = 0
    """How many leases it has completed so far, or passed on; this message accounts for all of them."""
    is_stateful: bool = False
    """It keeps state for each camera: each camera's frames are to go to one replica, in order."""
    passed: tuple[FrameName, ...] = ()
    """Of a relay: what of `held` it has passed on."""
    done: tuple[FrameName, ...] = ()
    """Frames that all its edges know and are done with, where those know frames by name."""


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
    """Consumer to producer: a replica leaves; leases that it did not finish end."""

    consumer: str
    session: int


class Resend(NamedTuple):
    """A command to a processor: offer this event to a sink once more. Nothing answers; a mark in the spool does."""

    consumer: str
    """The sink."""
    letter: str
    """Id of the dead letter, which the processor marks as resent once the edge has the event."""
    event: bytes
    """The event, packed."""


class Clear(NamedTuple):
    """A command to a buffer: drop the frames that are queued; answered by `Cleared`."""

    replica: str
    """Name of the process that asks, at whose inbox the answer is taken: `guest-1.0`."""
    request: int
    """Number of the question, which the answer has too."""
    consumers: tuple[str, ...]
    """Of which edges; none: of all."""


class Cleared(NamedTuple):
    """A buffer's answer to `Clear`."""

    request: int
    counts: tuple[tuple[str, int], ...]
    """Of each edge, by its consumer, how many frames were dropped."""


class Dequeue(NamedTuple):
    """A question to a node of the kind `pull`: frames for a client; answered by `Dequeued`.

    A question that is asked again, as its answer may be lost, has the same number and gets the same frames.
    """

    replica: str
    """Name of the process that asks, at whose inbox the answer is taken."""
    request: int
    """Number of the question, which the answer has too; its upper half is drawn by each life of who asks."""
    most: int
    """How many frames at most."""
    lease_ns: int
    """How long they are the client's."""
    wait_ns: int
    """How long the answer may wait for a frame."""


class Dequeued(NamedTuple):
    """The answer to `Dequeue`."""

    request: int
    """0: nobody has asked; a node that ends says so to who has asked before."""
    frames: tuple[tuple[str, int, int, bytes], ...]
    """Of each frame the name of its lease, how often it was given out, the monotonic time at which the lease expires,
    and what can be said of it without its picture, as JSON."""
    remaining: int
    """How many more wait."""
    is_ended: bool
    """No more frames will come."""
    full_until_ns: int
    """All frames that can be out are out, until this monotonic time at the latest; 0: they are not."""


class Settle(NamedTuple):
    """A question to a node of the kind `pull`: what has become of leases; answered by `Settled`."""

    replica: str
    """See `Dequeue`, as the next one."""
    request: int
    leases: tuple[str, ...]
    outcome: str
    """One of `OUTCOMES`: their frames are done, the work on them has failed, they never reached their client (so it was
    no delivery), or they are wanted for longer."""
    why: str
    """In words, where the work has failed."""
    for_ns: int
    """How long they are wanted from now on; 0 unless they are."""


OUTCOMES = ("done", "failed", "undone", "extended")


class Settled(NamedTuple):
    """The answer to `Settle`."""

    request: int
    results: tuple[str, ...]
    """Of each lease, in their order: `acked`, `already`, `expired` or `unknown`."""


class Show(NamedTuple):
    """A question to a node of the kind `pull`: where the picture of a frame lies that is out; answered by `Shown`."""

    replica: str
    """See `Dequeue`, as the next one."""
    request: int
    lease: str


class Shown(NamedTuple):
    """The answer to `Show`."""

    request: int
    frame: bytes
    """The frame's announcement; empty: nothing is out under that lease."""
    why: str
    """Why nothing is."""


AnnouncedLease = tuple[int, int, int, int, int, int, bytes]
"""Delivery tag, count of deliveries, stream key, sequence, monotonic time of capture, cell of the journal, and the
payload: a packed descriptor or event, packed once by whoever made it."""


class Announce(NamedTuple):
    """Producer to consumer, on the lane `zmq`: new leases, and an acknowledgement of completed ones."""

    consumer: str
    session: int
    producer_epoch: int
    after: int
    """Delivery tag before the first of this message."""
    last: int
    """Delivery tag of the last one; a tag without a lease was ended meanwhile."""
    acknowledged: int
    """How many completed leases of this session have arrived."""
    notify: int
    """Whether the producer waits for completed leases; a `NOTIFY_` number of `memory.layout`."""
    has_ended: bool
    """Everything was delivered, and no more frames will come."""
    leases: tuple[AnnouncedLease, ...]
    asks: bool = False
    """The consumer is to say at once what has arrived."""


class Release(NamedTuple):
    """Consumer to producer, on the lane `zmq`: completed leases, and an acknowledgement of announced ones."""

    consumer: str
    session: int
    received: int
    """Delivery tag of the last lease that has arrived."""
    first: int
    """Place of the first of `completed` in all of this session."""
    completed: tuple[tuple[int, int, int], ...]
    """Stream key, sequence and delivery tag, 0 where the consumer does not know it. With 2**63 added to the tag: a
    relay has passed the frame on, and still holds it."""
    asks: bool = False
    """The producer is to say soon how many have arrived."""


Asked = Dequeue | Settle | Show
Answered = Dequeued | Settled | Shown
Message = (
    Attach | Welcome | Refusal | Failure | Detach | Resend | Clear | Cleared | Asked | Answered | Announce | Release
)
