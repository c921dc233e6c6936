"""The contract of a lane: how leases are announced to the consumers of an edge, and how they are completed.

The edge decides about frames and records each decision in its journal before the lane announces it. Neither the edge
nor its ledger knows its lane. There are two: `zmq` (messages over ZeroMQ PUSH/PULL, the default) and `shm` (the
journal itself, completion queues, doorbells). A producer has an `Announcer`, a consumer a `Receiver`.
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
    """The producer's end of a lane, for all edges of one process that use it."""

    def __init__(self) -> None:
        """Begin without edges."""
        self.edges: list[Edge] = []

    @abstractmethod
    def connect(self, message: Attach, pid: int, outbox: Outbox) -> ConsumerConnection:
        """Return the connection to a replica that attaches.

        Args:
            message: its attach.
            pid: number of its process.
            outbox: leads to its inbox.
        Raises:
            WireError: it cannot be reached on this lane; the text says why.
        """

    @abstractmethod
    def announce_at_once(self, edge: Edge) -> None:
        """Announce the lease that a frame got as it was offered; a lane may wait and announce several together."""

    @abstractmethod
    def announce(self, edge: Edge, now_ns: int) -> None:
        """Announce every lease that was not announced yet."""

    @abstractmethod
    def wake_up(self) -> None:
        """Note that this process is awake, and looks for completions itself."""

    @abstractmethod
    def fall_asleep(self, *, is_blocked: bool) -> bool:
        """Tell consumers which completions we wait for; whether some came before they could see that.

        Args:
            is_blocked: whether the producer can do nothing until leases are completed.
        """

    @abstractmethod
    def end(self, edge: Edge, now_ns: int) -> None:
        """Tell replicas that their edge has ended."""

    @abstractmethod
    def due_ns(self) -> int:
        """Return the monotonic time at which `tick` has something to do; `NEVER_NS`: nothing is due."""

    @abstractmethod
    def tick(self, now_ns: int) -> None:
        """Do what is due."""


class Receiver(ABC):
    """The consumer's end of a lane, for one edge."""

    is_awaited = False
    """Whether the producer asked for completions at the last look."""
    is_needed = False
    """Whether it said then that it can do nothing until leases are completed."""
    is_out_of_step = False
    """Whether the producer counts otherwise than we do, so that only another attach can help."""

    @property
    def is_settled(self) -> bool:
        """Whether the producer has confirmed all our completions; False on a lane where it does not confirm them."""
        return False

    @abstractmethod
    def attached(self, journal: JournalReader, entry: int, session: int, producer_epoch: int) -> None:
        """Note that the producer let us in; read on behind the last lease that was settled then."""

    @abstractmethod
    def left(self) -> None:
        """Note that we are no longer attached."""

    @property
    @abstractmethod
    def received(self) -> int:
        """Delivery tag of the last lease that was received in this session."""

    @abstractmethod
    def begin_session(self) -> None:
        """Begin another session, without any lease received."""

    @abstractmethod
    def restate(self) -> int:
        """Return how many leases were completed so far; an attach reports all of them."""

    @abstractmethod
    def deliver(self, message: Announce, now_ns: int) -> None:
        """Take an announcement that arrived as a message.

        Raises:
            WireError: it cannot be our producer's; the text says why.
        """

    @abstractmethod
    def receive(self) -> tuple[list[Lease], bool]:
        """Wake up; return the leases announced since the last call, and whether some of them had ended already."""

    @abstractmethod
    def look(self) -> None:
        """Note whether the producer asks for completions."""

    @abstractmethod
    def complete(self, name: FrameName, delivery_tag: int) -> None:
        """Complete one lease."""

    @abstractmethod
    def flush(self, outbox: Outbox | None, work_left: int) -> None:
        """Tell the producer of completed leases, if it waits for them.

        Args:
            outbox: leads to the producer; None: not connected yet.
            work_left: leases that wait to be worked on.
        """

    def tell_all(self, outbox: Outbox | None) -> bool:
        """Tell the producer of all completed leases, as we leave; False: it knows them all, or looks itself."""
        return False

    @abstractmethod
    def fall_asleep(self, work_left: int) -> bool:
        """Note that we sleep; whether leases came, or completions must be told, before the producer could see that."""

    @abstractmethod
    def due_ns(self) -> int:
        """Return the monotonic time at which `flush` has something to tell; `NEVER_NS`: nothing is due."""

    @abstractmethod
    def close(self) -> None:
        """Close everything."""
