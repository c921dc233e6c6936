"""A lane: how the leases of an edge reach its consumers, and how completed ones come back. The contract of both ends.

An edge decides about frames and records it in its journal; neither the edge nor its ledger knows the lane. There are
two: `zmq` (messages over ZeroMQ PUSH/PULL, the default) and `shm` (the journal itself, completion queues, doorbells).
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from detektr.edge.connections import ConsumerConnection
from detektr.edge.edge import Edge
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.journal_reader import JournalReader
from detektr.wire.link import Outbox
from detektr.wire.message import Announce, Attach

NEVER_NS = 1 << 62


class Announcer(ABC):
    """The producer's end of a lane, for those edges of one process that use it."""

    def __init__(self) -> None:
        """Begin without edges."""
        self.edges: list[Edge] = []

    @abstractmethod
    def connect(self, message: Attach, pid: int, outbox: Outbox) -> ConsumerConnection:
        """Return the connection to a replica that attaches.

        Args:
            message: what it said.
            pid: its process.
            outbox: the way to its inbox.
        Raises:
            WireError: it cannot be reached on this lane; says why.
        """

    @abstractmethod
    def announce_at_once(self, edge: Edge) -> None:
        """Tell replicas of the lease that a frame got as it was offered, unless the lane would rather tell several."""

    @abstractmethod
    def announce(self, edge: Edge, now_ns: int) -> None:
        """Tell replicas of every lease that they were not told of."""

    @abstractmethod
    def wake_up(self) -> None:
        """Say that this process looks at completions itself from now on."""

    @abstractmethod
    def fall_asleep(self, *, is_blocked: bool) -> bool:
        """Say what is waited for; whether something was completed before that could be seen.

        Args:
            is_blocked: whether the producer can do nothing before leases are completed.
        """

    @abstractmethod
    def end(self, edge: Edge, now_ns: int) -> None:
        """Tell the replicas of an edge that has ended."""

    @abstractmethod
    def due_ns(self) -> int:
        """Return the monotonic time at which `tick` has something to do; `NEVER_NS`: nothing is due."""

    @abstractmethod
    def tick(self, now_ns: int) -> None:
        """Do what is due."""


class Receiver(ABC):
    """The consumer's end of a lane, for one edge."""

    is_awaited = False
    """Whether, at the last look, the producer asked for completed leases."""
    is_out_of_step = False
    """Whether the producer counts otherwise than we do, so that only another attach can help."""

    @property
    def is_settled(self) -> bool:
        """Whether the producer has said that it has all that we completed; never, where it does not say so."""
        return False

    @abstractmethod
    def attached(self, journal: JournalReader, entry: int, session: int, producer_epoch: int) -> None:
        """Read on behind the last lease that was settled when the producer let us in."""

    @abstractmethod
    def left(self) -> None:
        """Take note that we are not attached any more."""

    @property
    @abstractmethod
    def received(self) -> int:
        """Delivery tag of the last lease that reached us in this session."""

    @abstractmethod
    def begin_session(self) -> None:
        """Begin another session, in which nothing was received."""

    @abstractmethod
    def restate(self) -> int:
        """Return how many leases were completed so far; an attach tells of all of them."""

    @abstractmethod
    def deliver(self, message: Announce, now_ns: int) -> None:
        """Take an announcement that came as a message.

        Raises:
            WireError: it cannot be of our producer; says why.
        """

    @abstractmethod
    def receive(self) -> tuple[list[Lease], bool]:
        """Wake up, and return the leases that were announced since the last call, and whether some had ended before."""

    @abstractmethod
    def look(self) -> None:
        """Take note of what the producer asks for."""

    @abstractmethod
    def complete(self, name: FrameName, delivery_tag: int) -> None:
        """Complete one lease."""

    @abstractmethod
    def flush(self, outbox: Outbox | None, work_left: int) -> None:
        """Tell the producer of what was completed, where it waits for that.

        Args:
            outbox: the way to it; None: there is none yet.
            work_left: leases that wait to be worked on.
        """

    @abstractmethod
    def fall_asleep(self, work_left: int) -> bool:
        """Say that we sleep; whether there is something for us, or to tell, before that could be seen."""

    @abstractmethod
    def due_ns(self) -> int:
        """Return the monotonic time at which `flush` has something to tell; `NEVER_NS`: nothing is due."""

    @abstractmethod
    def close(self) -> None:
        """Let go of everything."""
