"""A consumer as `edge.subscriber` is one, without a process: what it reads, what it says, what its death leaves."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from detektr.edge.state.lease import SessionState
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.journal_reader import JournalReader
from detektr.memory.layout import SUSPECT_NOBODY
from detektr.wire.message import FailedAttempt, FailureKind


class Told(NamedTuple):
    """What comes back to the producer at once; `is_last`: the consumer leaves with it."""

    session: int
    finished: tuple[tuple[int, int, int], ...] = ()
    failed: tuple[FailedAttempt, ...] = ()
    is_last: bool = False


class Welcome(NamedTuple):
    """The producer's answer to an attach, on its way."""

    attach_epoch: int
    producer_epoch: int


@dataclass
class Page:
    """What a consumer's death leaves in shared memory."""

    session: int = 0
    working: int = 0
    finished: int = 0
    suspect: int = 0

    @property
    def progress(self) -> tuple[int, int, int]:
        """Return what the producer reads there."""
        return self.working, self.finished, self.suspect


@dataclass
class Consumer:
    """One life of one replica. A durable one keeps `held` and `seen` beyond it."""

    name: str
    window: int
    status_block: Page
    session: int
    previous: tuple[int, int, int, int]
    journal: JournalReader
    is_durable: bool = False
    held: dict[FrameName, Lease] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    is_holding: bool = False
    """Whether the frame in work is one that failed and is tried again."""
    attach_epoch: int = 0
    entry: int = 0
    received: int = 0
    producer_epoch: int = 0
    heard_by: int = (
        0  # incarnation of the producer that has taken the last attach, and so takes all that comes after it
    )
    is_attached: bool = False
    welcome: Welcome | None = None
    leases: deque[Lease] = field(default_factory=deque)
    working: Lease | None = None
    batch: deque[Lease] = field(default_factory=deque)  # begun together, in order; `working` is none of them
    finished: list[tuple[int, int, int]] = field(default_factory=list)
    failed: list[FailedAttempt] = field(default_factory=list)
    failed_lately: list[FailedAttempt] = field(default_factory=list)
    has_skipped: bool = False
    unheard: list[Lease] = field(default_factory=list)
    is_stateful: bool = False
    retried: list[Lease] = field(default_factory=list)  # failed, and to be tried again before what is behind them
    aside: list[Lease] = field(default_factory=list)

    def begin(self) -> None:
        """Write the session on the page, as the first attach does."""
        self.status_block.session, self.status_block.working, self.status_block.finished = self.session, 0, 0
        self.status_block.suspect = 0

    @property
    def is_let_in(self) -> bool:
        """Whether the producer that lives now has let it in, and it knows."""
        return self.is_attached and self.producer_epoch == self.journal.producer_epoch

    def look(self) -> None:
        """Notice that the producer was restarted; until then it goes on as if nothing were."""
        self.is_attached = self.is_let_in

    def state(self) -> SessionState:
        """Say what is held, what was seen, and what has failed, whether that was told before or not."""
        self.failed_lately, self.failed = self.failed_lately + self.failed, []
        return SessionState(
            received=self.received,
            held=frozenset(self.held),
            seen=dict(self.seen),
            failed=tuple(self.failed_lately),
            previous=self.previous,
        )

    def hear(self) -> None:
        """Take the producer's answer, and read on from where it says; one of an earlier round is stale."""
        welcome, self.welcome = self.welcome, None
        if welcome is None or self.is_attached or welcome.attach_epoch != self.attach_epoch:
            return
        entry = self.journal.entry_of(self.session)
        if entry is not None:
            self.entry, self.received = entry, self.journal.tag_before(entry)
            self.is_attached, self.producer_epoch = True, welcome.producer_epoch

    def receive(self, count: int) -> list[Lease]:
        """Read what was granted, up to `count` leases: as far as one sees who looked and was then held up."""
        if not self.is_attached:
            return []
        last = min(self.journal.last_tag(self.entry), self.received + count)
        if last <= self.received:
            return []
        leases = self.journal.leases(self.entry, self.session, self.received, last)
        if len(leases) != last - self.received:
            self.has_skipped = True
        self.received = last
        for lease in leases:
            self.accept(lease)
        return leases

    def accept(self, lease: Lease) -> None:
        """Hold a lease, unless our own edges know its frame."""
        name = name_of(lease)
        if lease.delivery > 1:
            self.failed_lately = [failed for failed in self.failed_lately if failed[:2] != name]
        if self.is_durable and lease.sequence < self.seen.get(lease.key, 0):
            if name not in self.held:
                self.finished.append((*name, 0))  # our own edges know it and are done with it
            return
        if self.is_durable:
            self.seen[lease.key] = lease.sequence + 1
        self.held[name] = lease
        self.leases.append(lease)

    def take(self, still_holds: Callable[[Lease], bool], oldest_ns: int = 0) -> Lease | None:
        """Take up the next frame captured at `oldest_ns` or later; older ones are given back, ended leases skipped."""
        self.take_up(still_holds)
        while self.leases and self.working is None:
            lease = self.leases.popleft()
            if self.put_aside(lease):
                continue
            if self.held.get(name_of(lease)) is not lease:
                continue
            if not self.is_durable and not still_holds(lease):
                del self.held[name_of(lease)]
                self.has_skipped = True
            elif lease.captured_ns < oldest_ns:
                del self.held[name_of(lease)]
                self.failed.append((*name_of(lease), FailureKind.TOO_OLD, "too old"))
                self.unheard.append(lease)
            else:
                self.working, self.is_holding = lease, False
                self.status_block.working = lease.delivery_tag
        return self.working

    def take_up(self, still_holds: Callable[[Lease], bool]) -> None:
        """Take leases up again that were put aside, once the producer has heard of all failures."""
        self.retried = [failed for failed in self.retried if still_holds(failed)]
        if not self.retried:
            self.leases.extendleft(reversed(self.aside))
            self.aside.clear()

    def put_aside(self, lease: Lease) -> bool:
        """Put a lease aside that is behind a failure; whether it is."""
        is_behind = any(failed.key == lease.key for failed in self.retried)
        if is_behind:
            self.aside.append(lease)
        return is_behind

    def take_batch(self, still_holds: Callable[[Lease], bool], size: int) -> None:
        """Begin work on up to `size` frames at once; one that was delivered before is begun alone."""
        self.take_up(still_holds)
        while self.leases and len(self.batch) < size:
            lease = self.leases[0]
            if self.put_aside(lease) or self.held.get(name_of(lease)) is not lease:
                self.leases.popleft()
            elif not still_holds(lease):
                self.leases.popleft()
                del self.held[name_of(lease)]
                self.has_skipped = True
            elif lease.delivery > 1 and self.batch:
                break
            else:
                self.batch.append(self.leases.popleft())
                if lease.delivery > 1:
                    break
        if len(self.batch) > 1:
            self.status_block.suspect = SUSPECT_NOBODY
        elif self.batch:
            self.begin_alone(still_holds)

    def begin_alone(self, still_holds: Callable[[Lease], bool]) -> None:
        """Begin with the first frame of the batch alone, as after a batch that failed."""
        lease = self.batch.popleft()
        self.retried = [failed for failed in self.retried if still_holds(failed)]
        if self.put_aside(lease):
            return
        if self.held.get(name_of(lease)) is lease and still_holds(lease):
            self.working = lease
            self.status_block.suspect = lease.delivery_tag
        elif self.held.get(name_of(lease)) is lease:
            del self.held[name_of(lease)]
            self.has_skipped = True

    def hand_on(self, still_holds: Callable[[Lease], bool]) -> FrameName | None:
        """End the work on the first frame of a batch that went well; None: its lease was ended meanwhile."""
        self.begin_alone(still_holds)
        self.status_block.suspect = SUSPECT_NOBODY
        return None if self.working is None else self.finish(still_holds)

    def finish(self, still_holds: Callable[[Lease], bool]) -> FrameName:
        """End the work on a frame; its lease is given back with the next message."""
        assert self.working is not None
        lease, self.working = self.working, None
        self.held.pop(name_of(lease))
        self.unheard = [failed for failed in self.unheard if still_holds(failed)]
        if not self.unheard:
            self.status_block.finished = lease.delivery_tag
        elif self.status_block.suspect == lease.delivery_tag:
            self.status_block.suspect = SUSPECT_NOBODY
        self.finished.append((*name_of(lease), 0 if self.is_durable else lease.delivery_tag))
        return name_of(lease)

    def hold(self) -> None:
        """Keep a frame whose work has failed, to try it again: a death until then is no attempt."""
        self.status_block.working, self.is_holding = 0, True

    def fail(self) -> FrameName:
        """End the work on a frame without success."""
        assert self.working is not None
        lease, self.working = self.working, None
        self.held.pop(name_of(lease))
        self.failed.append((*name_of(lease), FailureKind.RETRYABLE, "raised"))
        self.unheard.append(lease)
        if self.is_stateful:
            self.retried.append(lease)
        return name_of(lease)

    def flush(self) -> Told:
        """Tell what is given back."""
        message = Told(self.session, tuple(self.finished), tuple(self.failed))
        self.failed_lately += self.failed
        self.finished, self.failed, self.has_skipped = [], [], False
        return message


def name_of(lease: Lease) -> FrameName:
    """Return the name of a lease's frame."""
    return lease.key, lease.sequence
