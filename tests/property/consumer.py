"""A consumer as `nodes.intake` is one, without a process: what it knows, what it says, what its death leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from detektr.nodes.lease import Claim, FrameName


class Leased(NamedTuple):
    """One lease as it travels to its consumer."""

    name: FrameName
    cell: int
    grant: int
    delivery: int


class Returned(NamedTuple):
    """One message back to the producer; `is_last`: the consumer leaves with it."""

    session: int
    finished: tuple[tuple[int, int, int], ...] = ()
    failed: tuple[tuple[int, int, str], ...] = ()
    is_last: bool = False


@dataclass
class Page:
    """What a consumer's death leaves in shared memory."""

    session: int = 0
    working: int = 0
    finished: int = 0


@dataclass
class Consumer:
    """One life of one replica. A durable one keeps `held` and `seen` beyond it."""

    name: str
    window: int
    page: Page
    session: int
    previous: tuple[int, int, int]
    is_durable: bool = False
    held: dict[FrameName, Leased] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    round: int = 0
    received: int = 0
    is_attached: bool = False
    leases: deque[Leased] = field(default_factory=deque)
    working: Leased | None = None
    coming: deque[tuple[int, Leased]] = field(default_factory=deque)
    finished: list[tuple[int, int, int]] = field(default_factory=list)
    failed: list[tuple[int, int, str]] = field(default_factory=list)
    failed_lately: list[tuple[int, int, str]] = field(default_factory=list)
    has_skipped: bool = False
    unheard: list[Leased] = field(default_factory=list)

    def begin(self) -> None:
        """Write the session on the page, as the first attach does."""
        self.page.session, self.page.working, self.page.finished = self.session, 0, 0

    def claim(self) -> Claim:
        """Say what is held and what was seen."""
        return Claim(
            received=self.received,
            held=frozenset(self.held),
            seen=dict(self.seen),
            failed=tuple(self.failed_lately),
            previous=self.previous,
        )

    def receive(self) -> Leased | None:
        """Take one lease that has arrived; one of an earlier round is stale."""
        sent_in, lease = self.coming.popleft()
        if sent_in != self.round:
            return None
        self.received = lease.grant
        self.failed_lately = [failed for failed in self.failed_lately if failed[:2] != lease.name]
        if self.is_durable and lease.name[1] < self.seen.get(lease.name[0], 0):
            if lease.name not in self.held:
                self.finished.append((*lease.name, 0))  # its own edges know it and are done with it
            return lease
        if self.is_durable:
            self.seen[lease.name[0]] = lease.name[1] + 1
        self.held[lease.name] = lease
        self.leases.append(lease)
        return lease

    def finish(self, still_holds: Callable[[Leased], bool]) -> Leased:
        """End the work on a frame; its lease is given back with the next message."""
        assert self.working is not None
        lease, self.working = self.working, None
        self.held.pop(lease.name)
        self.unheard = [failed for failed in self.unheard if still_holds(failed)]
        if not self.unheard:
            self.page.finished = lease.grant
        self.finished.append((*lease.name, 0 if self.is_durable else lease.grant))
        return lease

    def fail(self) -> Leased:
        """End the work on a frame without success."""
        assert self.working is not None
        lease, self.working = self.working, None
        self.held.pop(lease.name)
        self.failed.append((*lease.name, "raised"))
        self.unheard.append(lease)
        return lease

    def flush(self) -> Returned:
        """Tell what is given back."""
        message = Returned(self.session, tuple(self.finished), tuple(self.failed))
        self.failed_lately += self.failed
        self.finished, self.failed, self.has_skipped = [], [], False
        return message
