"""One edge: queue, policy, credit, leases, redelivery and counting. No sockets, no clock: time and messages come in.

Every decision about what becomes of a frame between one producer and one consumer group is made here. The state lives
in a journal, so that a successor of the producer adopts the edge as it was, at whatever point its predecessor died.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

from detektr.edge.backlog import Backlog
from detektr.edge.edge_options import EdgeOptions, FrameOutcome
from detektr.edge.lease import HOPELESS, Cell, Completion, FrameName, Replica, SessionState
from detektr.ledger import DROP_REASONS
from detektr.memory import layout
from detektr.memory.journal import CellRecord, Journal
from detektr.memory.layout import (
    CELL_LEASED,
    CELL_QUEUED,
    CELL_STATE,
    EDGE_WORD_OFFERED,
)

_DROPPED = {reason: layout.EDGE_WORD_DROPPED + place for place, reason in enumerate(DROP_REASONS)}
_SETTLE_MAX = layout.EDGE_REDO_PAIRS_MAX - 1  # cells freed in one change, beside the counter
LEASES_MANY = 4  # returned or not: so many are looked at; fewer together with later ones
STALL_NS = 300_000_000  # told within a second, with the time between two looks

Offer = Literal["taken", "dropped", "known"]


class Edge:
    """See the module's first lines. After each call, `settled` holds the frames that this edge needs no more."""

    def __init__(self, consumer: str, options: EdgeOptions, journal: Journal) -> None:
        """Adopt what the journal holds."""
        records = list(journal.records())
        used = {record.cell for record in records}
        self.consumer, self.options, self.journal = consumer, options, journal
        self.is_given_up = False
        self._full_reason = "consumer_slow" if options.is_optional else "queue_full"
        self.settled: list[FrameName] = []
        self.outcomes: list[FrameOutcome] = []
        self.replicas: dict[int, Replica] = {}
        self.backlog = Backlog(options.inputs, options.mark, options.low)
        self.announced_to: set[int] = set()  # sessions, since the last `grant`
        self._unread_since_ns = 0
        self._free = [index for index in range(journal.cells - 1, -1, -1) if index not in used]
        self._offered = journal[EDGE_WORD_OFFERED]
        self._next_ordinal = records[-1].ordinal + 1 if records else 1
        for record in journal.replicas():
            replica = Replica(record.entry, record.session, record.name, record.window, is_durable=record.is_durable)
            self.replicas[record.session] = replica
        self._adopt_cells(records)
        journal[layout.EDGE_WORD_ATTACHED] = 0

    # -- offering ---------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Frames that wait for a replica."""
        return self.backlog.count

    @property
    def in_flight(self) -> int:
        """Frames leased to replicas."""
        return sum([len(replica.leases) for replica in self.replicas.values()])

    @property
    def is_read(self) -> bool:
        """Whether a replica that is there holds leases."""
        return any([replica.is_present and bool(replica.leases) for replica in self.replicas.values()])

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued or leased."""
        return not self.queued and not self.in_flight

    @property
    def is_short(self) -> bool:
        """Whether it matters what came back: frames wait, leases are many, or several replicas are to share alike."""
        if self.backlog.count or len(self.replicas) != 1:
            return True
        for replica in self.replicas.values():
            leases = len(replica.leases)
            return leases >= LEASES_MANY or 2 * leases > replica.window
        return True

    def has_room(self, input_index: int) -> bool:
        """Whether a frame may be offered now; an edge that drops always has room, one that blocks up to its mark."""
        if self.options.when_full != "block" or self.is_given_up:
            return True
        backlog = self.backlog
        return bool(self._free) and (not backlog.count or not backlog.is_full(backlog.input_index(input_index)))

    def holds(self) -> list[Cell]:
        """Return every frame that is queued or leased, in no order."""
        leased = [cell for replica in self.replicas.values() for cell in replica.leases.values()]
        return [*self.backlog, *leased]

    def offer(
        self,
        input_index: int,
        key: int,
        sequence: int,
        captured_ns: int,
        payload: bytes,
        now_ns: int = 0,
        *,
        is_owed: bool = False,
    ) -> Offer:
        """Take one frame, or drop one as the policy says; `known`: it was offered before (a predecessor took it).

        Args:
            lane: the input that it came by.
            key: its stream; a stream's sequences must come in increasing order.
            sequence: its number in the stream.
            captured_ns: monotonic time of its capture.
            payload: what is announced.
            now_ns: the monotonic time: the frame is leased at once where nothing waits and a replica has credit; 0: it
                waits for the next `grant`.
            is_owed: True: `has_room` was told of it, before a restart: an edge that blocks takes it over its mark.
        """
        journal, backlog = self.journal, self.backlog
        if sequence < journal.seen(key):
            return "known"
        if len(payload) > journal.payload_bytes_max:
            raise journal.too_long(sequence, payload)
        is_prompt = now_ns and not backlog.count and not self.is_given_up and self.options.max_age_ns is None
        replica = self._ready_replica() if is_prompt else None
        if replica is None or not self._free:
            queue = backlog.input_index(input_index)  # a guest has one for all lanes; the journal keeps the frame's own
            if not self._make_room(queue, key, sequence, payload, is_owed=is_owed):
                return "dropped"
        ordinal, self._next_ordinal = self._next_ordinal, self._next_ordinal + 1
        cell = Cell(self._free.pop(), ordinal, key, sequence, input_index, captured_ns, payload)
        lease = None if replica is None else self._lease(cell, replica, now_ns)
        self._offered += 1
        journal.offer(cell.index, ordinal, key, sequence, input_index, captured_ns, payload, self._offered, lease)
        if replica is None:
            backlog.append(cell)
        else:
            journal.announce(replica.entry, cell.delivery_tag, cell.index)
        return "taken"

    def count_dropped(self, key: int, last_sequence: int, count: int, reason: str, payload: bytes = b"") -> None:
        """Count frames that never came to this edge's queue; `last_sequence` is the last one's."""
        self.outcomes.append(FrameOutcome("dropped", last_sequence, reason, 0, payload, count))
        journal, word = self.journal, _DROPPED[reason]
        self._offered += count
        journal.apply(
            (
                journal.seen_word(key),
                last_sequence + 1,
                EDGE_WORD_OFFERED,
                self._offered,
                word,
                journal[word] + count,
            )
        )

    # -- replicas ---------------------------------------------------------------------------------------------------

    def attach(
        self, session: int, name: str, window: int, state: SessionState, *, is_durable: bool, now_ns: int
    ) -> bool:
        """Let a replica in, or in again, and settle what it says of leases; False: there are too many replicas.

        Leases that it holds stay its own, leases that it has finished are delivered, the others are queued again.
        """
        replica = self.replicas.get(session)
        if replica is None:
            entry = self._free_entry()
            if entry is None:
                return False
            replica = Replica(entry, session, name, min(window, self.options.window_total), is_durable=is_durable)
            self.journal.write_replica(entry, session, name, replica.window, is_durable=is_durable)
            self.replicas[session] = replica
        else:
            for key, sequence, why in state.failed:
                cell = replica.leases.get((key, sequence))
                if cell is not None and cell.delivery_tag <= state.received:  # else: heard, and granted once more since
                    self.fail(session, key, sequence, why)
            self._reconcile(
                replica,
                {cell.delivery_tag for cell in replica.leases.values() if cell.delivery_tag <= state.received},
                state,
            )
        for other in list(self.replicas.values()):
            if other.name == name and other is not replica:
                self._succeed(other, replica, state)
        replica.last_tag = max(replica.last_tag, state.received)
        self.journal.begin_tags(replica.entry, replica.last_tag)
        replica.is_present, replica.is_suspended, replica.head_since_ns = True, False, now_ns
        self._count_present()
        return True

    def detach(self, session: int) -> None:
        """Let a replica go; what it still held is queued again."""
        replica = self.replicas.get(session)
        if replica is not None:
            self._requeue(list(replica.leases.values()), "detached", is_attempt=False)
            self._remove(replica)

    def evict(self, session: int, progress: tuple[int, int] | None) -> None:
        """Settle a dead replica: what it finished is delivered, what it worked on failed once, the rest waits again.

        Args:
            session: the dead replica's.
            progress: running numbers of the lease that it worked on last and finished last, from its page.
        """
        replica = self.replicas.get(session)
        if replica is None:
            return
        replica.is_present = False
        self._count_present()
        if replica.is_durable:
            return  # its journal lives; its successor will say what it holds
        working, finished = progress or (0, 0)
        leases = list(replica.leases.values())
        self._settle([cell for cell in leases if cell.delivery_tag <= finished], layout.EDGE_WORD_DELIVERED)
        suspects = [cell for cell in leases if cell.delivery_tag > finished and cell.delivery_tag == working]
        failed = [cell for cell in leases if finished < cell.delivery_tag < working]  # its word of them did not arrive
        self._requeue([cell for cell in leases if cell.delivery_tag > max(finished, working)], "died", is_attempt=False)
        self._requeue(failed, "failed, and its replica died", is_attempt=True)
        self._requeue(suspects, "its replica died", is_attempt=True)
        self._remove(replica)

    # -- leases -----------------------------------------------------------------------------------------------------

    def lease_queued(self, now_ns: int) -> set[int]:
        """Lease queued frames to replicas with credit, the least busy first, lanes in turn; the journal tells them.

        Returns:
            The sessions that were granted something since the last call, here or by `offer`.
        """
        journal = self.journal
        while self.backlog.count and (replica := self._ready_replica()) is not None:
            cell = self._next_cell(now_ns)
            if cell is None:
                break
            journal.lease_cell(cell.index, *self._lease(cell, replica, now_ns))
            if cell.deliveries > 1:
                journal[layout.EDGE_WORD_REDELIVERED] += 1
            journal.announce(replica.entry, cell.delivery_tag, cell.index)
        announced_to, self.announced_to = self.announced_to, set()
        return announced_to

    def finish(self, session: int, completed: Iterable[Completion], now_ns: int) -> None:
        """Take back leases whose work is done; one that is not the session's own, or was ended, is refused and counted.

        Args:
            session: whose leases.
            returned: stream key, sequence and the lease's running number, 0 where its holder does not know it.
            now_ns: the monotonic time.
        """
        replica = self.replicas.get(session)
        done: dict[FrameName, Cell] = {}
        for key, sequence, delivery_tag in completed:
            cell = replica.leases.get((key, sequence)) if replica is not None else None
            if cell is None or delivery_tag not in (0, cell.delivery_tag) or (key, sequence) in done:
                self._refuse(sequence)
            else:
                done[key, sequence] = cell
        if replica is not None:
            replica.head_since_ns, replica.is_suspended = now_ns, False
        self._settle(list(done.values()), layout.EDGE_WORD_DELIVERED)

    def finish_until(self, session: int, delivery_tag: int) -> None:
        """Take back a replica's leases up to this one, which it finished last, as its page says."""
        replica = self.replicas.get(session)
        if replica is not None:
            done = [cell for cell in replica.leases.values() if cell.delivery_tag <= delivery_tag]
            self._settle(done, layout.EDGE_WORD_DELIVERED)

    def fail(self, session: int, key: int, sequence: int, why: str) -> None:
        """Take back a lease whose attempt failed: again, or dead-lettered after the last attempt."""
        replica = self.replicas.get(session)
        cell = replica.leases.get((key, sequence)) if replica is not None else None
        if cell is None:
            self._refuse(sequence)
        elif why == "overwritten":
            self._drop(cell, "overwritten")
        else:
            self._requeue([cell], why, is_attempt=True)

    def expire(self, now_ns: int) -> None:
        """End the leases of replicas without progress for too long; they get no more until they say something."""
        limit_ns = self.options.timeout_ns
        if limit_ns is None:
            return
        for replica in list(self.replicas.values()):
            replica.head_since_ns = replica.head_since_ns or now_ns
            if replica.leases and now_ns - replica.head_since_ns > limit_ns:
                replica.is_suspended = True
                head, *others = sorted(replica.leases.values(), key=lambda cell: cell.delivery_tag)
                self._requeue(others, "behind a lease that timed out", is_attempt=False)
                self._requeue([head], f"took longer than {limit_ns / 1e9:g} s", is_attempt=True)

    def forgive(self, unseen_ns: int) -> None:
        """Count time in which our own process did not run against no replica."""
        for replica in self.replicas.values():
            if replica.head_since_ns:
                replica.head_since_ns += unseen_ns
        if self._unread_since_ns:
            self._unread_since_ns += unseen_ns

    @property
    def has_no_consumer(self) -> bool:
        """Whether nobody could take a frame when `note_stall` last looked."""
        return self._unread_since_ns > 0

    def note_stall(self, now_ns: int) -> bool | None:
        """Say that the edge has stalled (True: frames, and nobody to take them) or resumed (False); None: as before."""
        if any(replica.is_present and not replica.is_suspended for replica in self.replicas.values()):
            self._unread_since_ns = 0
        else:
            self._unread_since_ns = self._unread_since_ns or now_ns
        since_ns = self._unread_since_ns
        is_stalled = since_ns > 0 and now_ns - since_ns > STALL_NS and not self.is_empty
        if is_stalled == (self.journal[layout.EDGE_WORD_STALLED_SINCE_NS] != 0):
            return None
        self.journal[layout.EDGE_WORD_STALLED_SINCE_NS] = since_ns if is_stalled else 0
        return is_stalled

    def note_full(self, now_ns: int) -> None:
        """Say in the journal since when the producer waits for room here, or that it does not."""
        is_waiting = self.options.when_full == "block" and not self.is_given_up
        is_full = is_waiting and (self.backlog.has_full or not self._free)
        if is_full != (self.journal[layout.EDGE_WORD_FULL_SINCE_NS] != 0):
            self.journal[layout.EDGE_WORD_FULL_SINCE_NS] = now_ns if is_full else 0

    @property
    def hanging(self) -> list[tuple[str, int]]:
        """Replicas that are there and had their leases ended: who, and since when they made no progress, monotonic."""
        return [
            (replica.name, replica.head_since_ns)
            for replica in self.replicas.values()
            if replica.is_present and replica.is_suspended
        ]

    def give_up(self) -> None:
        """Drop what it holds, and from now on all that is offered, as `gone`: its consumer has failed for good."""
        self.is_given_up = True
        self.drop_all("gone")

    def drop_all(self, reason: str) -> None:
        """Drop what is queued and what is leased: the end of a drain whose time is over."""
        for cell in [cell for replica in self.replicas.values() for cell in replica.leases.values()]:
            self._drop(cell, reason)
        while (waiting := self.backlog.take()) is not None:
            self._drop(waiting, reason)

    # -- within -----------------------------------------------------------------------------------------------------

    def _make_room(self, input_index: int, key: int, sequence: int, payload: bytes, *, is_owed: bool) -> bool:
        """See to it that a frame may be queued, as the policy says; False: it was dropped itself, and counted."""
        backlog, is_full = self.backlog, False
        if self.is_given_up:
            self.count_dropped(key, sequence, 1, "gone")
            return False
        if self.options.when_full == "drop-oldest":
            while backlog.has_reached(input_index) or not self._free:
                oldest = backlog.take_oldest(input_index)
                if oldest is None:
                    break
                self._drop(oldest, self._full_reason)
        else:
            is_full = backlog.is_full(input_index) and not (is_owed and self.options.when_full == "block")
        if is_full or not self._free:
            self.count_dropped(key, sequence, 1, self._full_reason, payload)
            return False
        return True

    def _adopt_cells(self, records: list[CellRecord]) -> None:
        for record in records:
            cell = Cell(
                record.cell,
                record.ordinal,
                record.key,
                record.sequence,
                record.input_index,
                record.captured_ns,
                record.payload,
            )
            cell.attempts, cell.deliveries = record.attempts, record.deliveries
            cell.delivery_tag, cell.leased_ns = record.delivery_tag, record.leased_ns
            replica = self.replicas.get(record.owner) if record.state == CELL_LEASED else None
            if replica is not None:
                cell.owner = replica.session
                replica.leases[cell.key, cell.sequence] = cell
                replica.last_tag = max(replica.last_tag, cell.delivery_tag)
            else:
                if record.state == CELL_LEASED:
                    self.journal[self.journal.word_of(cell.index, CELL_STATE)] = CELL_QUEUED
                self.backlog.append(cell)

    def _succeed(self, old: Replica, new: Replica, state: SessionState) -> None:
        """Settle what a predecessor of the same name left."""
        if not old.is_durable:
            past, working, finished = state.previous
            self.evict(old.session, (working, finished) if past == old.session else None)
            return
        taken = {cell.delivery_tag for cell in old.leases.values() if cell.sequence < state.seen.get(cell.key, 0)}
        self._reconcile(old, taken, state)
        for name, cell in old.leases.items():
            new.last_tag += 1
            cell.owner, cell.delivery_tag = new.session, new.last_tag
            self.journal.lease_cell(cell.index, cell.owner, cell.delivery_tag, cell.leased_ns, cell.deliveries)
            new.leases[name] = cell
        old.leases = {}
        self._remove(old)

    def _reconcile(self, replica: Replica, taken: Collection[int], state: SessionState) -> None:
        """Keep the leases that are held; those taken and not held are done, those never taken wait again.

        Args:
            replica: whose leases.
            taken: running numbers of the leases that reached the replica.
            claim: what it says it holds.
        """
        others = [cell for name, cell in replica.leases.items() if name not in state.held]
        self._settle([cell for cell in others if cell.delivery_tag in taken], layout.EDGE_WORD_DELIVERED)
        self._requeue([cell for cell in others if cell.delivery_tag not in taken], "never arrived", is_attempt=False)

    def _ready_replica(self) -> Replica | None:
        """Return the least busy replica that has credit; None: nobody can take a frame now."""
        room, ready = self.options.window_total, None
        for replica in self.replicas.values():
            leases = len(replica.leases)
            room -= leases
            if (
                leases < replica.window
                and replica.is_present
                and not replica.is_suspended
                and (ready is None or replica.busyness < ready.busyness)
            ):
                ready = replica
        return ready if room > 0 else None

    def _lease(self, cell: Cell, replica: Replica, now_ns: int) -> tuple[int, int, int, int]:
        """Let a replica have a frame; returns the lease as the journal must say it."""
        if not replica.leases:
            replica.head_since_ns = now_ns
        replica.last_tag += 1
        replica.last_ordinal = cell.ordinal
        replica.leases[cell.key, cell.sequence] = cell
        self.announced_to.add(replica.session)
        cell.owner, cell.delivery_tag, cell.leased_ns = replica.session, replica.last_tag, now_ns
        cell.deliveries += 1
        return cell.owner, cell.delivery_tag, now_ns, cell.deliveries

    def _next_cell(self, now_ns: int) -> Cell | None:
        """Take the next queued frame, lanes in turn; the ones that are too old are dropped on the way."""
        limit_ns = self.options.max_age_ns
        while (cell := self.backlog.take()) is not None:
            if limit_ns is None or now_ns - cell.captured_ns <= limit_ns:
                return cell
            self._drop(cell, "too_old")
        return None

    def _drop(self, cell: Cell, reason: str) -> None:
        self._settle([cell], _DROPPED[reason])
        self.outcomes.append(FrameOutcome("dropped", cell.sequence, reason, cell.attempts, cell.payload))

    def _refuse(self, sequence: int) -> None:
        self.journal[layout.EDGE_WORD_REFUSED] += 1
        self.outcomes.append(FrameOutcome("refused", sequence, "its lease was over", 0, b""))

    def _settle(self, cells: list[Cell], counter: int) -> None:
        """Let frames leave the edge, each counted once in `counter`."""
        for begin in range(0, len(cells), _SETTLE_MAX):
            batch = cells[begin : begin + _SETTLE_MAX]
            self.journal.free([cell.index for cell in batch], counter)
            for cell in batch:
                self._release(cell)
                self._free.append(cell.index)
                self.settled.append((cell.key, cell.sequence))

    def _requeue(self, cells: list[Cell], reason: str, *, is_attempt: bool) -> None:
        """Put leased frames back where they were in the queue; after the last attempt they are dead-lettered."""
        journal = self.journal
        for cell in cells:
            is_hopeless = reason.startswith(HOPELESS)
            if is_hopeless or (is_attempt and cell.attempts + 1 >= self.options.max_deliveries):
                cell.attempts += 1
                self.outcomes.append(FrameOutcome("dead_lettered", cell.sequence, reason, cell.attempts, cell.payload))
                self._settle([cell], layout.EDGE_WORD_DEAD_LETTERED)
                continue
            self._release(cell)
            cell.attempts += is_attempt
            journal.apply(
                (
                    journal.word_of(cell.index, layout.CELL_ATTEMPTS),
                    cell.attempts,
                    journal.word_of(cell.index, CELL_STATE),
                    CELL_QUEUED,
                )
            )
            self.backlog.put_back(cell)
            if is_attempt:
                self.outcomes.append(FrameOutcome("redelivered", cell.sequence, reason, cell.attempts, cell.payload))

    def _release(self, cell: Cell) -> None:
        replica = self.replicas.get(cell.owner)
        if replica is not None:
            replica.leases.pop((cell.key, cell.sequence), None)
        cell.owner = 0

    def _remove(self, replica: Replica) -> None:
        self.journal.clear_replica(replica.entry)
        self.replicas.pop(replica.session, None)
        self._count_present()

    def _count_present(self) -> None:
        self.journal[layout.EDGE_WORD_ATTACHED] = sum(replica.is_present for replica in self.replicas.values())

    def _free_entry(self) -> int | None:
        taken = {replica.entry for replica in self.replicas.values()}
        return next((entry for entry in range(layout.EDGE_REPLICAS_MAX) if entry not in taken), None)
