"""One edge: queue, policy, leases, redelivery and counting. No sockets, no clock: time and messages come in.

This module decides what happens to each frame between one producer and one consumer group. The state is kept in a
journal, so that a successor of the producer can adopt the edge wherever its predecessor died.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Literal

from detektr.edge.edge_options import EdgeOptions, FrameOutcome, OutcomeKind
from detektr.edge.frame_trail import EdgeTrail
from detektr.edge.partition.camera_backlog import CameraBacklog
from detektr.edge.partition.camera_map import CameraMap
from detektr.edge.partition.edge_partition import EdgePartition
from detektr.edge.state.backlog import Backlog
from detektr.edge.state.consumer_group import ConsumerGroup
from detektr.edge.state.dropped_cameras import DroppedCameras
from detektr.edge.state.lease import Cell, Replica, SessionState
from detektr.edge.state.reserve import oldest_of_stream
from detektr.memory.announcement import Announcement, FrameName
from detektr.memory.completion_queue import PASSED_ON, Completion
from detektr.memory.journal import DEAD_LETTERED, DELIVERED, DROPPED, SETTLED_MAX, CellRecord, Journal
from detektr.memory.layout import TRAIL_FAILED, TRAIL_NOBODY
from detektr.selection.frame_selection import FrameSelection
from detektr.wire.message import FailedAttempt, FailureKind

STALL_NS = 300_000_000  # with the tick's own period, a stall is reported within a second

Offer = Literal["taken", "dropped", "known"]
Progress = tuple[int, int, int]
"""What a status block says of a session: delivery tags begun last and finished last, and the suspect's (0: unsaid)."""


class Edge:
    """The edge of the module's first lines. After each call, `settled` holds the frames that it no longer needs."""

    def __init__(
        self,
        consumer: str,
        options: EdgeOptions,
        journal: Journal,
        keep: Callable[[FrameOutcome], None] | None = None,
    ) -> None:
        """Adopt the frames and replicas in the journal.

        Args:
            consumer: the consumer group's name.
            options: limits and policy.
            journal: formatted, and ours to write.
            keep: saves a dead letter before it is counted: a kill in between saves it twice, and loses none. None:
                nobody wants them.
        """
        records = list(journal.records())
        used = {record.cell for record in records}
        self.consumer, self.options, self.journal, self._keep = consumer, options, journal, keep
        self.is_given_up = False
        self._full_reason = "consumer_slow" if options.is_optional else "queue_full"
        self.settled: list[FrameName] = []
        self.group = ConsumerGroup(journal, options.window_total, options.passed_max)
        self.replicas = self.group.replicas
        self.backlog = Backlog(options.inputs, options.mark, options.low)
        self.partition: EdgePartition | None = None
        """Which replica gets the frames of which camera; None: any gets any."""
        self.trail: EdgeTrail | None = None
        """Takes what becomes of each frame; None: nobody wants to know."""
        self._cameras = CameraBacklog(options.mark, options.low)  # the backlog of an edge that is partitioned
        self._has_lost = False
        may_be_absent = options.is_joined and options.is_optional
        has_selection = options.fps is not None or bool(options.cameras) or options.only_results or may_be_absent
        selection = FrameSelection(options.fps, options.cameras, only_results=options.only_results)
        self._selection = selection if has_selection else None
        self._dropped_cameras = None if options.has_one_camera else DroppedCameras(journal)
        self._outcomes: list[FrameOutcome] = []
        self._announced_to: set[int] = set()  # sessions, until somebody takes them
        self._unserved_since_ns = 0
        self._free = [index for index in range(journal.cells - 1, -1, -1) if index not in used]
        self._offered = journal.offered
        self._next_ordinal = records[-1].ordinal + 1 if records else 1
        self._adopt_cells(records)

    # -- offering ---------------------------------------------------------------------------------------------------

    @property
    def queued(self) -> int:
        """Frames that wait for a replica."""
        return self.backlog.count

    @property
    def in_flight(self) -> int:
        """Frames leased to replicas."""
        return self.group.in_flight

    @property
    def is_empty(self) -> bool:
        """Whether nothing is queued or leased."""
        return not self.queued and not self.in_flight

    @property
    def needs_completions(self) -> bool:
        """Whether the producer should look for completions: frames wait, or see `ConsumerGroup`."""
        return self.backlog.count > 0 or self.group.needs_completions

    @property
    def has_outcomes(self) -> bool:
        """Whether there are outcomes that `take_outcomes` has not returned yet."""
        return bool(self._outcomes)

    @property
    def has_announced(self) -> bool:
        """Whether there are new leases whose replicas were not told yet."""
        return bool(self._announced_to)

    @property
    def _is_absent(self) -> bool:
        """Whether nobody is there to take a frame, and somebody below waits for what becomes of it."""
        return self.options.is_joined and self.options.is_optional and not self.group.is_served

    def has_room(self, input_index: int) -> bool:
        """Whether a frame may be offered now; an edge that drops always has room, one that blocks up to its mark."""
        if self.options.when_full != "block" or self.is_given_up:
            return True
        backlog = self.backlog
        return bool(self._free) and (not backlog.count or backlog.has_room(input_index))

    def holds(self) -> list[Cell]:
        """Return every frame that is queued or leased, in no order."""
        return [*self.backlog, *self.group.leased()]

    def offer(self, input_index: int, announcement: Announcement, now_ns: int = 0, *, is_owed: bool = False) -> Offer:
        """Take one frame, or drop one as selection or policy say; `known`: a predecessor was offered the frame.

        Args:
            input_index: the producer's input from which the frame came.
            announcement: name, age and descriptor; the sequences of a stream must increase.
            now_ns: the monotonic time: the frame is leased at once where nothing waits and a replica has credit; 0: it
                waits for the next `lease_queued`.
            is_owed: True: a predecessor had room for this frame, so a blocking edge takes it even above its mark.
        """
        journal, backlog = self.journal, self.backlog
        sequence = announcement.sequence
        if sequence < journal.seen(announcement.key):
            return "known"
        if len(announcement.payload) > journal.payload_bytes_max:
            raise journal.too_long(sequence, announcement.payload)
        if self._selection is not None and not self.is_given_up:
            reason = self._selection.reason_against(announcement.payload, announcement.captured_ns)
            if not reason and self._is_absent:
                reason = "absent"
            if reason:
                self.count_dropped(announcement.key, sequence, 1, reason, announcement.payload)
                return "dropped"
        replica: Replica | None = None
        partition = self.partition
        if now_ns and not self.is_given_up and self.options.max_age_ns is None:
            if partition is None:
                replica = None if backlog.count else self.group.ready()
            elif not self._cameras.is_waiting(input_index, announcement.key):
                replica = self._owner_of(announcement, partition)
        if replica is None or not self._free:
            queue = backlog.queue_of(
                input_index, announcement.key
            )  # perhaps fewer: the journal keeps the frame's input
            if not self._make_room(queue, announcement, is_owed=is_owed):
                return "dropped"
        ordinal, self._next_ordinal = self._next_ordinal, self._next_ordinal + 1
        cell = Cell(self._free.pop(), ordinal, input_index, announcement)
        if self.trail is not None and self.trail.is_in(cell):
            cell.queued_ns = self.trail.queued(now_ns)
            journal.note_queued(cell.index, cell.queued_ns)
        lease = None if replica is None else self.group.lease(cell, replica, now_ns)
        self._offered += 1
        journal.record(cell.index, ordinal, input_index, announcement, self._offered, lease)
        if replica is None:
            backlog.append(cell)
        else:
            self._announce(cell, replica)
        return "taken"

    def take_losses(self) -> bool:
        """Whether frames have ended here otherwise than by being delivered, since the last call."""
        has_lost, self._has_lost = self._has_lost, False
        return has_lost

    def count_dropped(self, key: int, last_sequence: int, count: int, reason: str, payload: bytes = b"") -> None:
        """Count frames that never came to this edge's queue; `last_sequence` is the last one's."""
        self._has_lost = True
        self._outcomes.append(FrameOutcome(OutcomeKind.DROPPED, last_sequence, reason, 0, payload, count))
        if self.trail is not None:
            self.trail.dropped(key, last_sequence, count, reason, payload)
        self._offered += count
        camera = None if self._dropped_cameras is None else self._dropped_cameras.entry_of(key, payload)
        self.journal.count_dropped(key, last_sequence, count, reason, self._offered, camera)

    def take_outcomes(self) -> list[FrameOutcome]:
        """Return the outcomes of frames since the last call."""
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    # -- replicas ---------------------------------------------------------------------------------------------------

    def attach(
        self, session: int, name: str, window: int, state: SessionState, *, is_durable: bool, now_ns: int
    ) -> bool:
        """Attach a replica (again), and settle the leases that it reports; False: there are too many replicas.

        Leases that it holds stay its own, leases that it has finished are delivered, the others are queued again.
        """
        replica = self.replicas.get(session)
        if replica is None:
            replica = self.group.add(session, name, window, is_durable=is_durable)
            if replica is None:
                return False
        else:
            for failed in state.failed:
                cell = replica.leases.get(failed[:2])
                if cell is not None and cell.delivery_tag <= state.received:  # else: known, and leased again
                    self.fail(session, failed)
            settled = {
                cell.delivery_tag
                for name, cell in replica.leases.items()
                if cell.delivery_tag <= state.received or name in state.done  # handed over, and never announced to it
            }
            self._reconcile(replica, settled, state)
            self.note_passed(session, state.passed)
        for other in list(self.replicas.values()):
            if other.name == name and other is not replica:
                self._succeed(other, replica, state)
        replica.last_tag = max(replica.last_tag, state.received)
        self.group.welcome(replica, now_ns)
        return True

    def detach(self, session: int, passed: Collection[FrameName] = (), done: Collection[FrameName] = ()) -> None:
        """Detach a replica; the frames that it still held are queued again; of a relay, see `evict`."""
        replica = self.replicas.get(session)
        if replica is not None:
            leases = self._left_over(replica, passed, done)
            self._requeue(leases, "detached", is_attempt=False)
            self._remove(replica)

    def evict(
        self,
        session: int,
        progress: Progress | None,
        passed: Collection[FrameName] = (),
        done: Collection[FrameName] = (),
    ) -> None:
        """Evict a dead replica: finished frames are delivered, the one in work failed once, others are queued again.

        Args:
            session: the dead replica's.
            progress: what its status block says; a suspect there alone is to blame (of a batch in work nobody is).
            passed: of a relay, frames that some of its edges know; their leases wait for its successor.
            done: of a relay, frames that all its edges know and are done with; they are delivered.
        """
        replica = self.replicas.get(session)
        if replica is None:
            return
        self.group.note_absent(replica)
        if replica.is_durable:
            return  # its successor says what it holds
        working, finished, suspect = progress or (0, 0, 0)
        leases = self._left_over(replica, passed, done)
        self._settle([cell for cell in leases if cell.delivery_tag <= finished], DELIVERED)
        leases = [cell for cell in leases if cell.delivery_tag > finished]
        suspects = [cell for cell in leases if cell.delivery_tag == (suspect or working)]
        begun_before = 0 if suspect else working  # whether each of them failed is known of single calls only
        failed = [cell for cell in leases if cell.delivery_tag < begun_before]  # the message was lost
        untouched = [cell for cell in leases if cell not in suspects and cell.delivery_tag >= begun_before]
        if self.partition is not None:  # what came behind a failure was not begun
            first: dict[int, Cell] = {}
            for cell in failed:
                first.setdefault(cell.key, cell)
            untouched += [cell for cell in failed if cell is not first[cell.key]]
            failed = list(first.values())
        self._requeue(untouched, "died", is_attempt=False)
        self._requeue(failed, "failed, and its replica died", is_attempt=True)
        self._requeue(suspects, "its replica died", is_attempt=True)
        self._remove(replica)

    def let_go(self, name: str) -> None:
        """Deliver what a dead relay had passed on: it will have no successor, and its own edges have ended."""
        for replica in list(self.replicas.values()):
            if replica.name == name and replica.is_waiting:
                self._has_lost = True
                self._settle(list(replica.leases.values()), DELIVERED)
                self.group.remove(replica)

    # -- leases -----------------------------------------------------------------------------------------------------

    def lease_queued(self, now_ns: int) -> None:
        """Lease queued frames to the least busy replicas with credit, inputs in turn; the caller announces them."""
        if self.partition is not None:
            self._lease_by_camera(self.partition, now_ns)
            return
        while self.backlog.count and (replica := self.group.ready()) is not None:
            cell = self._next_cell(now_ns)
            if cell is None:
                break
            self._lease(cell, replica, now_ns)
        while self.options.reserve and self.backlog.count and self._lease_oldest(now_ns):
            pass

    def _lease_oldest(self, now_ns: int) -> bool:
        """Lease the oldest frame of a stream beyond the windows; whether there was one, and a replica to take it."""
        if self.group.in_flight >= self.options.window_total:
            return False
        replica = self.group.ready_for_oldest(is_gathering=self.options.is_gathering)
        cell = None if replica is None else oldest_of_stream(self.backlog, self.group.leased())
        if replica is None or cell is None:
            return False
        self.backlog.take_cell(cell)
        self._lease(cell, replica, now_ns)
        return True

    def take_announced(self) -> set[int]:
        """Return the sessions that got leases since the last call; the caller announces the leases."""
        announced_to, self._announced_to = self._announced_to, set()
        return announced_to

    def finish(self, session: int, completed: Iterable[Completion], now_ns: int) -> None:
        """Settle completed leases; one that the session does not hold (any more) is refused and counted.

        Args:
            session: whose leases.
            completed: stream key, sequence and delivery tag of each; tag 0: its holder does not know it.
            now_ns: the monotonic time.
        """
        replica = self.replicas.get(session)
        done: dict[FrameName, Cell] = {}
        for key, sequence, delivery_tag in completed:
            cell = replica.leases.get((key, sequence)) if replica is not None else None
            if cell is None or delivery_tag not in (0, cell.delivery_tag) or (key, sequence) in done:
                if delivery_tag & PASSED_ON == 0:
                    self._refuse(sequence)
                elif cell is not None and delivery_tag & ~PASSED_ON in (0, cell.delivery_tag):
                    self.group.note_passed(cell)
            else:
                done[key, sequence] = cell
        if replica is not None:
            replica.head_since_ns, replica.is_suspended = now_ns, False
        self._settle(list(done.values()), DELIVERED)

    def finish_until(self, session: int, delivery_tag: int, now_ns: int) -> None:
        """Settle a replica's leases up to the one that it finished last, as its status block says."""
        replica = self.replicas.get(session)
        if replica is None:
            return
        done = [cell for cell in replica.leases.values() if cell.delivery_tag <= delivery_tag]
        if done:
            replica.head_since_ns = now_ns
            self._settle(done, DELIVERED)

    def fail(self, session: int, failed: FailedAttempt) -> None:
        """End a lease whose attempt failed: the frame is queued again, dead-lettered or dropped."""
        key, sequence, kind, reason = failed
        replica = self.replicas.get(session)
        cell = replica.leases.get((key, sequence)) if replica is not None else None
        if cell is None:
            self._refuse(sequence)
        elif kind == FailureKind.OVERWRITTEN:
            self._drop(cell, "overwritten")
        elif kind == FailureKind.TOO_OLD:
            self._drop(cell, "too_old")
        elif kind == FailureKind.STOPPED:
            self._drop(cell, "stopped")
        elif kind == FailureKind.GIVEN_BACK:
            self._requeue([cell], reason, is_attempt=False)
        elif kind == FailureKind.PERMANENT:
            self._dead_letter(cell, reason)
        else:
            if (
                self.partition is not None
            ):  # first: its holder begins none of these until it sees that this lease is over
                leases = self.replicas[session].leases.values()
                later = [one for one in leases if one.key == key and one.ordinal > cell.ordinal and not one.is_passed]
                self._requeue(later, "behind a failure", is_attempt=False)
            self._requeue([cell], reason, is_attempt=True)

    def note_passed(self, session: int, names: Collection[FrameName]) -> None:
        """Note which of its leases a relay has passed on: their work is done, so they leave its window, and never end.

        Args:
            session: the relay's.
            names: of the frames; others than those leased to it mean nothing here.
        """
        replica = self.replicas.get(session)
        if replica is not None:
            for name in names:
                cell = replica.leases.get(name)
                if cell is not None:
                    self.group.note_passed(cell)

    def overdue(self, now_ns: int) -> list[Replica]:
        """Return the replicas that have made no progress for so long that their leases are to end."""
        limit_ns, found = self.options.timeout_ns, list[Replica]()
        if limit_ns is not None:
            for replica in self.replicas.values():
                replica.head_since_ns = replica.head_since_ns or now_ns
                if len(replica.leases) > replica.passed and now_ns - replica.head_since_ns > limit_ns:
                    found.append(replica)
        return found

    def expire(self, now_ns: int, progress_of: Callable[[Replica], Progress | None] | None = None) -> None:
        """End the leases of replicas that made no progress for too long; they get no more until they send something.

        Args:
            now_ns: the monotonic time.
            progress_of: reads the progress of a replica that is too late; where that names a suspect, the lease is the
                one whose attempt has failed. Otherwise that is the oldest lease.
        """
        limit_ns = self.options.timeout_ns
        if limit_ns is not None:
            for replica in self.overdue(now_ns):
                replica.is_suspended = True
                _, _, suspect = (None if progress_of is None else progress_of(replica)) or (0, 0, 0)
                working = [cell for cell in replica.leases.values() if not cell.is_passed]
                leases = sorted(working, key=lambda cell: cell.delivery_tag)
                late = [cell for cell in leases if cell.delivery_tag == (suspect or leases[0].delivery_tag)]
                others = [cell for cell in leases if cell not in late]
                self._requeue(others, "beside a lease that timed out", is_attempt=False)
                self._requeue(late, f"took longer than {limit_ns / 1e9:g} s", is_attempt=True)

    # -- partition by camera ----------------------------------------------------------------------------------------

    def partition_by_camera(self, camera_map: CameraMap) -> None:
        """Lease each camera's frames to one replica, in order, as this state of the map says from now on."""
        if self.partition is not None:
            self.partition.take(camera_map)
        else:
            self.partition = EdgePartition(camera_map)
            while (cell := self.backlog.take()) is not None:
                self._cameras.append(cell)
            self.backlog = self._cameras
        self.acknowledge_map()

    def acknowledge_map(self) -> None:
        """Say in the journal to which epoch of the map the edge keeps, as soon as every lease is with its owner."""
        partition = self.partition
        if partition is not None and not partition.is_settled and partition.is_kept(self.replicas.values()):
            partition.is_settled = True
            self.journal.set_map_epoch(partition.map.epoch)

    def absent_owners(self) -> list[int]:
        """Return the numbers of replicas whose cameras' frames wait, and that are not there or take none."""
        if self.partition is None:
            return []
        return self.partition.absent(self._cameras.first_of_each(), self.replicas.values())

    def _lease_by_camera(self, partition: EdgePartition, now_ns: int) -> None:
        """Lease the oldest frame of each camera whose owner has credit, again and again, as long as there are some."""
        has_leased, limit_ns = True, self.options.max_age_ns
        while has_leased and self._cameras.count:
            has_leased = False
            for cell in self._cameras.first_of_each():
                replica = self._owner_of(cell, partition)
                if replica is None:
                    continue
                self._cameras.take_first(cell)
                has_leased = True
                if limit_ns is not None and now_ns - cell.captured_ns > limit_ns:
                    self._drop(cell, "too_old")
                else:
                    self._lease(cell, replica, now_ns)
        if not partition.is_settled:
            self.acknowledge_map()

    def _owner_of(self, frame: Announcement, partition: EdgePartition) -> Replica | None:
        """Return the replica that takes this camera's next frame now, if it can take one."""
        if self.group.in_flight >= self.options.window_total:
            return None
        replica = partition.replica_for(frame, self.replicas.values())
        if replica is None and self.options.reserve and self._is_oldest(frame):
            return partition.replica_for_oldest(frame, self.replicas.values(), is_gathering=self.options.is_gathering)
        return replica

    def _is_oldest(self, frame: Announcement) -> bool:
        """Whether no earlier frame of its stream is leased here; those that wait are behind it in their queue."""
        return all([cell.key != frame.key or cell.sequence > frame.sequence for cell in self.group.leased()])

    # -- time and stalls --------------------------------------------------------------------------------------------

    def forgive(self, unseen_ns: int) -> None:
        """Do not count the time in which our own process did not run against any replica."""
        for replica in self.replicas.values():
            if replica.head_since_ns:
                replica.head_since_ns += unseen_ns
        if self._unserved_since_ns:
            self._unserved_since_ns += unseen_ns

    @property
    def is_unserved(self) -> bool:
        """Whether no replica could take a frame when `note_stall` last looked."""
        return self._unserved_since_ns > 0

    def note_stall(self, now_ns: int) -> bool | None:
        """Return True: the edge has stalled (frames wait, nobody takes them); False: it resumed; None: no change."""
        if self.group.is_served and not self.absent_owners():
            self._unserved_since_ns = 0
        else:
            self._unserved_since_ns = self._unserved_since_ns or now_ns
        since_ns = self._unserved_since_ns
        is_stalled = since_ns > 0 and now_ns - since_ns > STALL_NS and not self.is_empty
        if is_stalled == (self.journal.stalled_since_ns != 0):
            return None
        self.journal.set_stalled_since(since_ns if is_stalled else 0)
        return is_stalled

    def note_full(self, now_ns: int) -> None:
        """Record in the journal since when the producer waits for room here, or that it does not wait."""
        is_waiting = self.options.when_full == "block" and not self.is_given_up
        is_full = is_waiting and (self.backlog.has_full or not self._free)
        if is_full != (self.journal.full_since_ns != 0):
            self.journal.set_full_since(now_ns if is_full else 0)

    @property
    def hanging(self) -> list[tuple[str, int]]:
        """Attached replicas whose leases were ended: name, and monotonic time since which each made no progress."""
        return [
            (replica.name, replica.head_since_ns)
            for replica in self.replicas.values()
            if replica.is_present and replica.is_suspended
        ]

    def give_up(self) -> None:
        """Drop all frames, and all that are offered from now on, as `gone`: the consumer has failed for good."""
        self.is_given_up = self._has_lost = True
        self._settle([cell for cell in self.group.leased() if cell.is_passed], DELIVERED)
        self.drop_all("gone")

    def drop_all(self, reason: str) -> None:
        """Drop all queued and leased frames, or dead-letter them, where the consumer retries: nobody will take them."""
        for cell in self.group.leased():
            self._give_up(cell, reason)
        while (waiting := self.backlog.take()) is not None:
            self._give_up(waiting, reason)

    def clear_queue(self) -> int:
        """Drop all queued frames, as an operator asks for; leased ones stay. Returns how many."""
        count = 0
        while (waiting := self.backlog.take()) is not None:
            self._give_up(waiting, "cleared")
            count += 1
        return count

    # -- within -----------------------------------------------------------------------------------------------------

    def _lease(self, cell: Cell, replica: Replica, now_ns: int) -> None:
        self.journal.lease_cell(cell.index, *self.group.lease(cell, replica, now_ns))
        if cell.deliveries > 1:
            self.journal.count_redelivered()
        self._announce(cell, replica)

    def _announce(self, cell: Cell, replica: Replica) -> None:
        self.journal.announce(replica.entry, cell.delivery_tag, cell.index)
        self._announced_to.add(replica.session)

    def _make_room(self, queue: int, announcement: Announcement, *, is_owed: bool) -> bool:
        """Make room for a frame as the policy says; False: the frame itself was dropped, and counted."""
        backlog, is_full = self.backlog, False
        key, sequence = announcement.key, announcement.sequence
        if self.is_given_up:
            self.count_dropped(key, sequence, 1, "gone", announcement.payload)
            return False
        if self.options.when_full == "drop-oldest":
            while backlog.has_reached(queue) or not self._free:
                oldest = backlog.take_oldest(queue)
                if oldest is None:
                    break
                self._drop(oldest, self._full_reason)
        else:
            is_full = backlog.is_full(queue) and not (is_owed and self.options.when_full == "block")
        if is_full or not self._free:
            self.count_dropped(key, sequence, 1, self._full_reason, announcement.payload)
            return False
        return True

    def _adopt_cells(self, records: list[CellRecord]) -> None:
        for record in records:
            announcement = Announcement(record.key, record.sequence, record.captured_ns, record.payload)
            cell = Cell(record.cell, record.ordinal, record.input_index, announcement)
            cell.attempts, cell.deliveries, cell.queued_ns = record.attempts, record.deliveries, record.queued_ns
            cell.delivery_tag, cell.leased_ns = record.delivery_tag, record.leased_ns
            replica = self.replicas.get(record.owner) if record.is_leased else None
            if replica is not None:
                cell.owner = replica.session
                replica.leases[cell.key, cell.sequence] = cell
                replica.last_tag = max(replica.last_tag, cell.delivery_tag)
            else:
                if record.is_leased:
                    self.journal.queue_cell(cell.index)
                self.backlog.append(cell)

    def _succeed(self, old: Replica, new: Replica, state: SessionState) -> None:
        """Settle the leases of an earlier session of the same name."""
        if not old.is_durable:
            past, working, finished, suspect = state.previous
            progress = (working, finished, suspect) if past == old.session else None
            self.evict(old.session, progress, state.held, state.done)
        else:
            taken = {
                cell.delivery_tag
                for name, cell in old.leases.items()
                if cell.sequence < state.seen.get(cell.key, 0) or name in state.done
            }
            self._reconcile(old, taken, state)
        if old.session in self.replicas:
            self.group.hand_over(old, new)

    def _left_over(self, replica: Replica, passed: Collection[FrameName], done: Collection[FrameName]) -> list[Cell]:
        """Deliver what a relay and its edges are done with; return the leases that it has not passed on either."""
        if not self.options.relays_to:
            return list(replica.leases.values())
        self._settle([cell for name, cell in replica.leases.items() if name in done], DELIVERED)
        self.note_passed(replica.session, passed)
        return [cell for name, cell in replica.leases.items() if name not in passed]

    def _remove(self, replica: Replica) -> None:
        """Strike a replica out, unless it has passed on frames, which wait for its successor."""
        if replica.leases:
            self.group.note_absent(replica)
            replica.is_waiting = True
        else:
            self.group.remove(replica)

    def _reconcile(self, replica: Replica, taken: Collection[int], state: SessionState) -> None:
        """Keep the leases that are held; others that were received are delivered, those never received queued again.

        Args:
            replica: whose leases.
            taken: delivery tags of the leases that the replica received.
            state: the leases that the replica says it holds.
        """
        others = [cell for name, cell in replica.leases.items() if name not in state.held]
        self._settle([cell for cell in others if cell.delivery_tag in taken], DELIVERED)
        self._requeue([cell for cell in others if cell.delivery_tag not in taken], "never arrived", is_attempt=False)

    def _next_cell(self, now_ns: int) -> Cell | None:
        """Take the next queued frame, inputs in turn, and drop the frames before it that are too old."""
        limit_ns = self.options.max_age_ns
        while (cell := self.backlog.take()) is not None:
            if limit_ns is None or now_ns - cell.captured_ns <= limit_ns:
                return cell
            self._drop(cell, "too_old")
        return None

    def _drop(self, cell: Cell, reason: str) -> None:
        camera = None if self._dropped_cameras is None else self._dropped_cameras.entry_of(cell.key, cell.payload)
        self._settle([cell], DROPPED[reason], camera)
        self._outcomes.append(FrameOutcome(OutcomeKind.DROPPED, cell.sequence, reason, cell.attempts, cell.payload))

    def _give_up(self, cell: Cell, reason: str) -> None:
        if self.options.is_retried:
            self._dead_letter(cell, f"{reason}: {self.consumer} had not taken it when the waiting for it ended")
        else:
            self._drop(cell, reason)

    def _refuse(self, sequence: int) -> None:
        self.journal.count_refused()
        self._outcomes.append(FrameOutcome(OutcomeKind.REFUSED, sequence, "its lease was over", 0, b""))

    def _settle(self, cells: list[Cell], counter: int, camera: int | None = None) -> None:
        """Remove frames from the edge, and count each once in `counter`; drops of one camera also in its entry."""
        self._has_lost |= counter != DELIVERED
        if self.trail is not None:
            self._tell(cells, counter)
        for begin in range(0, len(cells), SETTLED_MAX):
            batch = cells[begin : begin + SETTLED_MAX]
            self.journal.settle([cell.index for cell in batch], counter, camera)
            for cell in batch:
                self.group.release(cell)
                self._free.append(cell.index)
                self.settled.append((cell.key, cell.sequence))

    def _tell(self, cells: list[Cell], outcome: int) -> None:
        """Tell the trail what becomes of frames, before the journal says so: a kill in between tells it twice."""
        assert self.trail is not None
        for cell in cells:
            holder = self.replicas.get(cell.owner)
            self.trail.settled(cell, outcome, TRAIL_NOBODY if holder is None else holder.number)

    def _requeue(self, cells: list[Cell], reason: str, *, is_attempt: bool) -> None:
        """Queue leased frames again at their old places; those without an attempt left are dead-lettered."""
        for cell in cells:
            if is_attempt and cell.attempts + 1 >= self.options.max_deliveries:
                self._dead_letter(cell, reason)
                continue
            if is_attempt and self.trail is not None:
                self._tell([cell], TRAIL_FAILED)
            self.group.release(cell)
            cell.attempts += is_attempt
            self.journal.requeue(cell.index, cell.attempts)
            self.backlog.put_back(cell)
            if is_attempt:
                told = FrameOutcome(OutcomeKind.REDELIVERED, cell.sequence, reason, cell.attempts, cell.payload)
                self._outcomes.append(told)

    def _dead_letter(self, cell: Cell, reason: str) -> None:
        cell.attempts += 1
        told = FrameOutcome(OutcomeKind.DEAD_LETTERED, cell.sequence, reason, cell.attempts, cell.payload)
        if self._keep is not None:
            self._keep(told)
        self._outcomes.append(told)
        self._settle([cell], DEAD_LETTERED)
