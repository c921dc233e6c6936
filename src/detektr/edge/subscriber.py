"""The consumer's side of one edge: attaches, receives leases and completes them; again when the producer restarts."""

from __future__ import annotations

import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable
from typing import ClassVar

from detektr.edge.failures import Failures
from detektr.edge.lanes.receiving import open_receiver
from detektr.edge.upstream import Upstream
from detektr.edge.work_progress import WorkProgress
from detektr.ledger import EdgeLedger
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.completion_queue import PASSED_ON
from detektr.memory.journal_reader import JournalReader, open_journal
from detektr.memory.run_folder import RunFolder
from detektr.memory.status_block import StatusBlock
from detektr.wire.link import Link, Outbox
from detektr.wire.message import Announce, Attach, Detach, Failure, FailureKind, Refusal, Welcome

ANSWER_NS = 1_000_000_000  # an attach that nobody answers within this time is sent again
_log = logging.getLogger(__name__)


class EdgeSubscriber:
    """One edge as one replica sees it. `leases` wait to be worked on; `held` are all that are not released."""

    progress_kind: ClassVar[type[WorkProgress]] = WorkProgress

    def __init__(
        self,
        upstream: Upstream,
        entry: int,
        folder: RunFolder,
        link: Link,
        status_block: StatusBlock,
        *,
        seen: Callable[[], Iterable[FrameName]] = tuple,
        done: Callable[[int], Iterable[FrameName]] = lambda entry: (),
    ) -> None:
        """Nothing is sent before the first `tick`.

        Args:
            upstream: the edge.
            entry: number of this input in the status block.
            folder: where the edge's journal and the producer's socket are.
            link: our sockets.
            status_block: ours; if we die, the producer reads our progress in it.
            seen: for a durable consumer, the next sequence that it expects, per stream.
            done: frames of an input that all our edges know and are done with, where those know frames by name.
        Raises:
            NoRoomError: shared memory has no room for the completion queue.
        """
        self.upstream = upstream
        self.entry = entry
        """Number of this input."""
        self.leases: deque[Lease] = deque()
        self.held: dict[FrameName, Lease | None] = {}
        self.why = ""
        self.is_stateful = False
        """Whether the user's code keeps state for each camera, which then comes to one replica in order."""
        self.is_attached = False
        """Whether the producer has let us in."""
        self.is_outlived = self._is_sign_due = False
        """Whether the producer that we are attached to had a successor at our last look; it waits for our attach."""
        self._folder, self._link, self._status_block, self._seen, self._done = folder, link, status_block, seen, done
        self._passed: set[FrameName] = set()  # what we hold because our own edges do, as the producer knows
        self.progress = self.progress_kind(status_block, entry)
        """What our status block says of the work on this input."""
        self._previous = self.progress.last()
        self._session = self._attach_epoch = self._producer_epoch = self._place = self._sent_ns = self._max_age_ns = 0
        self._journal: JournalReader | None = None
        self._outbox: Outbox | None = None
        self._receiver = open_receiver(upstream, folder, status_block.path.stem)
        self.failures = Failures(upstream.window, self.still_holds)

    @property
    def is_ended(self) -> bool:
        """Whether everything was delivered and no more frames will come."""
        return not self.held and self._journal is not None and self._journal.is_ended

    @property
    def is_awaited(self) -> bool:
        """Whether the producer asked for completions at our last look."""
        return self._receiver.is_awaited

    @property
    def is_needed(self) -> bool:
        """Whether the producer said, at our last look, that it can do nothing until leases are completed."""
        return self._receiver.is_needed

    @property
    def has_credit(self) -> bool:
        """Whether the producer may lease us more than we hold."""
        held, upstream = len(self.held), self.upstream
        is_short = held - len(self._passed) >= upstream.window or held >= upstream.window + upstream.passed_max
        return self.is_attached and not is_short

    def ledger(self) -> EdgeLedger | None:
        """Return the edge's ledger as it is now; None: there is no edge yet."""
        return None if self._journal is None else self._journal.ledger()

    def owns(self, session: int) -> bool:
        """Whether a message that names `session` is for this edge."""
        return session == self._session

    def handle(self, message: Welcome | Refusal | Announce, now_ns: int) -> None:
        """Take one message of the producer; one that answers an earlier attach is ignored."""
        if isinstance(message, Announce):
            self._receiver.deliver(message, now_ns)
        elif isinstance(message, Refusal):
            self.why, self._sent_ns = f"refused by {self.upstream.producer}: {message.why}", now_ns
            _log.error("%s", self.why)
        elif message.attach_epoch == self._attach_epoch and not self.is_attached:
            self._open_journal()
            entry = None if (journal := self._journal) is None else journal.entry_of(self._session)
            if journal is not None and entry is not None:
                self._place, self._max_age_ns = entry, journal.max_age_ns
                self._receiver.attached(journal, entry, self._session, message.producer_epoch)
                self.is_attached, self._producer_epoch, self.why = True, message.producer_epoch, ""
                _log.info("attached to %s", self.upstream.producer)

    def receive(self) -> bool:
        """Wake up, and take the new leases; whether there were some. Leases that were ended meanwhile are skipped."""
        self._look()
        leases, has_ended = self._receiver.receive()
        self._is_sign_due |= has_ended
        for lease in leases:
            self.held[lease.name] = lease
            self._let_in(lease)
            if lease.delivery > 1:
                self.failures.forget(lease.name)
        return bool(leases)

    def fall_asleep(self) -> bool:
        """Note that we sleep; whether leases came, or completions must be told, before the producer could see that."""
        has_news = self._receiver.fall_asleep(len(self.leases))
        self._look()
        return has_news

    def due_ns(self) -> int:
        """Return the monotonic time at which `flush` is due."""
        return self._receiver.due_ns()

    def _look(self) -> None:
        """Note whether the producer that we are attached to has a successor."""
        journal = self._journal
        self.is_outlived = self.is_attached and journal is not None and journal.producer_epoch != self._producer_epoch

    def tick(self, now_ns: int) -> None:
        """Attach, or attach again, if that is due."""
        journal, receiver = self._journal, self._receiver
        self._look()
        self._take_up()
        if journal is not None and (journal.is_unlinked or journal.is_left) and not self.is_ended:
            self._leave(f"{self.upstream.producer} has left")
        elif self.is_outlived:
            _log.info("%s was restarted: attaching to it again", self.upstream.producer)
            self.is_attached = False
            self._receiver.left()
            self._sent_ns = 0
        elif self.is_attached and journal is not None and journal.entry_of(self._session) != self._place:
            _log.warning("%s has removed this replica from its edge: attaching again", self.upstream.producer)
            self._leave("let go")
        elif self.is_attached and now_ns - self._sent_ns >= ANSWER_NS and (receiver.is_out_of_step or self._misses()):
            _log.warning("%s counts our leases otherwise than we do: attaching to it again", self.upstream.producer)
            self.is_attached = False
            receiver.left()
        if not self.is_attached and now_ns - self._sent_ns >= ANSWER_NS:
            self._attach(now_ns)

    def _misses(self) -> bool:
        """Whether leases stand that we have completed, as the producer has confirmed; an attach settles them."""
        journal, receiver = self._journal, self._receiver
        if journal is None or not receiver.is_settled or self.held or not self.failures.are_heard:
            return False
        return bool(journal.all_leases(self._session, 0, receiver.received))

    def take(self, now_ns: int) -> Lease | None:
        """Return the next lease to work on, and note it in the status block; None: there is none.

        Leases that were ended meanwhile are skipped; frames that grew too old while they waited here are given back.
        """
        if (lease := self.take_unnoted(now_ns)) is not None:
            self._begin(lease)
        return lease

    def take_unnoted(self, now_ns: int) -> Lease | None:
        """Return the next lease as `take` does; the caller notes in `progress` when work on it begins."""
        self._take_up()
        while self.leases:
            lease = self.leases.popleft()
            if self.puts_aside(lease):
                continue
            if self.held.get(lease.name) is not lease or not self.still_holds(lease):  # perhaps it is leased once more
                self.let_go(lease)
                self._skipped(lease)
            elif not self.give_back_too_old(lease, now_ns):
                self._taken(lease)
                return lease
        return None

    def puts_aside(self, lease: Lease) -> bool:
        """Whether a lease waits, as an attempt at an earlier frame of its stream has failed: see `Failures`."""
        return self.failures.puts_aside(lease)

    def _let_in(self, lease: Lease) -> None:
        """Take a lease that has come."""
        self.leases.append(lease)

    def _begin(self, lease: Lease) -> None:
        """Note that work on a lease begins."""
        self.progress.begun(lease.delivery_tag)

    def _taken(self, lease: Lease) -> None:
        """Note that a lease is worked on next."""

    def _skipped(self, lease: Lease) -> None:
        """Note that a lease is not worked on, as it has ended."""

    def _take_up(self) -> None:
        """Take up the leases that were put aside, once the failures before them were heard of."""
        self.leases.extendleft(self.failures.take_up())

    def begin_alone(self, lease: Lease) -> None:
        """Note that, among batches, a lease is worked on alone: it is to blame, and nobody else is."""
        self.progress.begin_alone(lease.delivery_tag)

    def give_back_too_old(self, lease: Lease, now_ns: int) -> bool:
        """Give a frame back undone if it is older than the edge's `max_age`; whether it is."""
        if not self._max_age_ns or now_ns - lease.captured_ns <= self._max_age_ns:
            return False
        self.fail(lease.name, "older than max_age when its work was about to begin", FailureKind.TOO_OLD)
        return True

    def still_holds(self, lease: Lease) -> bool:
        """Whether the lease stands: it was not ended, and the frame was not leased to another replica."""
        return self._journal is not None and self._journal.is_leased(lease.cell, self._session, lease.delivery_tag)

    def _has_ended(self, lease: Lease) -> bool:
        """Whether the producer has ended a lease; never a durable consumer's, nor of a frame that we have passed on."""
        is_fixed = self.upstream.is_durable or lease.name in self._passed
        return self._journal is not None and not is_fixed and not self.still_holds(lease)

    def is_wanted(self, lease: Lease) -> bool:
        """Whether the result of the work on a lease counts."""
        return self.still_holds(lease)

    def finish(self, name: FrameName, delivery_tag: int = 0) -> None:
        """Release a lease whose work is done; a producer that waits for it is told at the next `flush`."""
        lease = self.held.pop(name, None)
        self.failures.look()
        self.progress.finished(delivery_tag, are_failures_heard=not self.failures.unheard)
        # A durable consumer's leases get new tags when its successor attaches, and are never ended early.
        self._receiver.complete(name, 0 if lease is None or self.upstream.is_durable else lease.delivery_tag)

    def adopt(self, name: FrameName, *, is_passed: bool) -> None:
        """Hold a frame that a predecessor had passed on: the next attach says so."""
        self.held[name] = None
        if is_passed:
            self._passed.add(name)

    def pass_on(self, name: FrameName) -> None:
        """Say that a frame's work is done and our own edges hold it: it leaves the window, and its lease stands."""
        lease = self.held.get(name)
        self._passed.add(name)
        self.failures.look()
        self._receiver.complete(name, PASSED_ON | (0 if lease is None else lease.delivery_tag))

    def settle(self, name: FrameName) -> None:
        """Release a lease that our own edges are done with; not in the status block, since they are so in any order."""
        lease = self.held.pop(name, None)
        self._passed.discard(name)
        self.failures.look()
        self._receiver.complete(name, 0 if lease is None or self.upstream.is_durable else lease.delivery_tag)

    def standing(self) -> set[FrameName] | None:
        """Return the frames that the producer has leased to us, as its journal says; None: we are not attached."""
        return self._journal.names_of(self._session) if self.is_attached and self._journal is not None else None

    def fail(self, name: FrameName, why: str, kind: FailureKind = FailureKind.RETRYABLE) -> None:
        """Note a failed attempt at a frame; the producer is told at the next `flush`, unless it has ended the lease."""
        lease = self.held.get(name)
        if lease is not None and self._has_ended(lease):
            self.refuse(lease)  # told by name, the producer could take it for a failure of the frame's next lease
            return
        is_retried = self.is_stateful and kind == FailureKind.RETRYABLE
        self.failures.add((*name, kind, why), self.held.pop(name, None), is_retried=is_retried)

    def let_go(self, lease: Lease) -> None:
        """Forget a lease that was ended before its result was out; the frame may have been leased to us again."""
        if self.held.get(lease.name) is lease:
            del self.held[lease.name]
        self._is_sign_due = True

    def refuse(self, lease: Lease) -> None:
        """Forget a lease that was over before its work was; another one of the frame, which may be ours, stands."""
        if self.held.get(lease.name) is lease:
            self._receiver.complete(lease.name, lease.delivery_tag)  # its producer counts it as refused
        self.let_go(lease)

    def note_alive(self) -> None:
        """Send a sign of life at the next `flush`, because we release nothing for a while."""
        self._is_sign_due = True

    def flush(self) -> None:
        """Tell the producer of failures, of completed leases if it waits for them, and of life where we skip leases."""
        outbox, failures = self._outbox, self.failures
        if failures.untold or self._is_sign_due:
            failure = Failure(self.upstream.consumer, self._session, tuple(failures.untold))
            # Without an outbox or a session the next attach tells it; what cannot be sent waits for the next flush.
            if outbox is None or not self._session or outbox.try_send(failure):
                self._is_sign_due = False
                failures.note_told()
        self._receiver.flush(outbox, len(self.leases))

    def close(self, *, is_followed: bool = False) -> None:
        """Tell the producer of all completed leases, and close; detach, unless a successor says what our edges hold."""
        self.flush()
        self._receiver.tell_all(self._outbox)
        if self._outbox is not None:
            if self._session and not (is_followed and self.upstream.is_durable):
                self._outbox.try_send(Detach(self.upstream.consumer, self._session))
            self._outbox.close(linger_ms=500)
            self._outbox = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        self._receiver.close()

    def _attach(self, now_ns: int) -> None:
        upstream = self.upstream
        inbox = self._folder.inbox(upstream.producer, upstream.producer_replica)
        if not inbox.exists():
            self._open_journal()
            self.why = f"waiting for {upstream.producer}"
            return
        if self._outbox is not None:
            self._outbox.close()
        bell = self._folder.doorbell(upstream.producer, upstream.producer_replica)
        self._outbox = self._link.open_outbox(inbox, bell)
        if not self._session:
            self._session = secrets.randbits(63) | 1
            self._receiver.begin_session()
            self.progress.begin_session(self._session)
        self._attach_epoch, self._sent_ns = self._attach_epoch + 1, now_ns
        self.failures.note_told()  # the attach tells of them too: what is neither held nor failed counts as delivered
        self.why = f"waiting for {upstream.producer} to answer"
        self._outbox.try_send(
            Attach(
                consumer=upstream.consumer,
                replica=f"{self._status_block.path.stem}",
                session=self._session,
                attach_epoch=self._attach_epoch,
                window=upstream.window,
                is_durable=upstream.is_durable,
                is_ephemeral=upstream.is_ephemeral,
                when_full=upstream.when_full,
                received=self._receiver.received,
                held=tuple([name for name, lease in self.held.items() if lease is None or not self._has_ended(lease)]),
                seen=tuple(self._seen()),
                failed=self.failures.to_tell(),
                previous=self._previous,
                max_deliveries=upstream.max_deliveries,
                timeout_ns=upstream.timeout_ns,
                completed=self._receiver.restate(),
                lane=upstream.lane,
                is_stateful=self.is_stateful,
                passed=tuple(self._passed),
                done=tuple(self._done(self.entry)),
            )
        )

    def _leave(self, why: str) -> None:
        """Begin another session that holds nothing; the result of a frame in work will be refused."""
        self.why, self.is_attached = why, False
        self._receiver.left()
        self._previous, self._session, self._sent_ns = self.progress.last(), 0, 0
        self.leases.extend(self.failures.clear())
        for lease in self.leases:  # never begun, and not ours any more
            self.held.pop((lease.key, lease.sequence), None)
            self._skipped(lease)
        self.leases.clear()
        if not self.upstream.is_durable:
            self.held = dict.fromkeys(self._passed)  # those are our edges' own, whatever becomes of the leases
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _open_journal(self) -> None:
        upstream = self.upstream
        if self._journal is not None:
            self._journal.close()
        path = self._folder.journal(upstream.producer, upstream.producer_replica, upstream.consumer)
        self._journal = open_journal(path, upstream.producer, upstream.consumer)
