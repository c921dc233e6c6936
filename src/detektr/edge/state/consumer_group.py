"""The replicas of one edge: which are attached and have credit, and which one is next. Pure: time comes in."""

from __future__ import annotations

from detektr.edge.state.lease import Cell, Replica
from detektr.memory.journal import Journal
from detektr.memory.layout import EDGE_REPLICAS_MAX

LEASES_MANY = 4  # from this many leases on, the producer wants to hear of completions at once


class ConsumerGroup:
    """Replicas by session. The edge decides about frames; the group knows who can take one."""

    def __init__(self, journal: Journal, window_total: int, passed_max: int = 0) -> None:
        """Adopt the replicas that the journal names; each counts as absent until it attaches again.

        Args:
            journal: the edge's.
            window_total: most leases that all replicas hold together.
            passed_max: how many frames a replica may have passed on, beside its window.
        """
        self._journal, self._window_total, self._passed_max = journal, window_total, passed_max
        self.replicas: dict[int, Replica] = {}
        for record in journal.replicas():
            self.replicas[record.session] = self._replica(
                record.entry, record.session, record.name, record.window, is_durable=record.is_durable
            )
        journal.set_attached(0)

    @property
    def in_flight(self) -> int:
        """Frames leased to replicas."""
        return sum([len(replica.leases) for replica in self.replicas.values()])

    @property
    def is_served(self) -> bool:
        """Whether a replica is attached that takes frames."""
        return any([replica.is_present and not replica.is_suspended for replica in self.replicas.values()])

    @property
    def needs_completions(self) -> bool:
        """Whether the producer should look for completions: many leases are out, or several replicas share them."""
        if len(self.replicas) != 1 or self._passed_max:
            return True
        for replica in self.replicas.values():
            leases = len(replica.leases)
            return leases >= LEASES_MANY or 2 * leases > replica.window
        return True

    def leased(self) -> list[Cell]:
        """Return every frame that is leased, in no order."""
        return [cell for replica in self.replicas.values() for cell in replica.leases.values()]

    def holders(self) -> list[int]:
        """Return the sessions that hold leases."""
        return [replica.session for replica in self.replicas.values() if replica.leases]

    def ready(self) -> Replica | None:
        """Return the least busy replica that has credit; None: no replica can take a frame now."""
        room, ready = self._window_total, None
        for replica in self.replicas.values():
            leases = len(replica.leases)
            room -= leases
            if (
                leases - replica.passed < replica.window
                and leases < replica.limit
                and replica.is_present
                and not replica.is_suspended
                and (ready is None or replica.busyness < ready.busyness)
            ):
                ready = replica
        return ready if room > 0 else None

    def ready_for_oldest(self, *, is_gathering: bool) -> Replica | None:
        """Return the least busy replica that can take the oldest frame of a stream; see `Replica.may_take_oldest`."""
        found = [one for one in self.replicas.values() if one.may_take_oldest(is_gathering=is_gathering)]
        return min(found, key=lambda replica: replica.busyness, default=None)

    def add(self, session: int, name: str, window: int, *, is_durable: bool) -> Replica | None:
        """Write down a new replica; None: as many are attached as there can be."""
        taken = {replica.entry for replica in self.replicas.values()}
        entry = next((entry for entry in range(EDGE_REPLICAS_MAX) if entry not in taken), None)
        if entry is None:
            return None
        replica = self._replica(entry, session, name, min(window, self._window_total), is_durable=is_durable)
        self._journal.write_replica(entry, session, name, replica.window, is_durable=is_durable)
        self.replicas[session] = replica
        return replica

    def welcome(self, replica: Replica, now_ns: int) -> None:
        """Let a replica take frames from now on, behind the last lease that it knows."""
        self._journal.begin_tags(replica.entry, replica.last_tag)
        replica.is_present, replica.is_suspended, replica.head_since_ns = True, False, now_ns
        self._count_present()

    def note_absent(self, replica: Replica) -> None:
        """Note that a replica's process is gone."""
        replica.is_present = False
        self._count_present()

    def remove(self, replica: Replica) -> None:
        """Strike out a replica that holds nothing any more."""
        self._journal.clear_replica(replica.entry)
        self.replicas.pop(replica.session, None)
        self._count_present()

    def lease(self, cell: Cell, replica: Replica, now_ns: int) -> tuple[int, int, int, int]:
        """Give a replica a lease; returns owner, delivery tag, time and deliveries, as the journal must say them."""
        if len(replica.leases) == replica.passed:  # what it has passed on is no work of its own
            replica.head_since_ns = now_ns
        replica.last_tag += 1
        replica.last_ordinal = cell.ordinal
        replica.leases[cell.key, cell.sequence] = cell
        cell.owner, cell.delivery_tag, cell.leased_ns = replica.session, replica.last_tag, now_ns
        cell.deliveries += 1
        return cell.owner, cell.delivery_tag, now_ns, cell.deliveries

    def release(self, cell: Cell) -> None:
        """Take a lease from its holder."""
        replica = self.replicas.get(cell.owner)
        if replica is not None:
            replica.leases.pop((cell.key, cell.sequence), None)
            if cell.is_passed:
                replica.passed -= 1
        cell.owner, cell.is_passed = 0, False

    def note_passed(self, cell: Cell) -> None:
        """Note that the holder of a lease has done its work and passed the frame on."""
        replica = self.replicas.get(cell.owner)
        if replica is not None and not cell.is_passed:
            cell.is_passed = True
            replica.passed += 1

    def hand_over(self, old: Replica, new: Replica) -> None:
        """Give a successor the leases of its predecessor, in the same order, and strike the predecessor out."""
        for name, cell in old.leases.items():
            new.last_tag += 1
            cell.owner, cell.delivery_tag = new.session, new.last_tag
            self._journal.lease_cell(cell.index, cell.owner, cell.delivery_tag, cell.leased_ns, cell.deliveries)
            new.leases[name] = cell
        new.passed += old.passed
        old.leases, old.passed = {}, 0
        self.remove(old)

    def _replica(self, entry: int, session: int, name: str, window: int, *, is_durable: bool) -> Replica:
        return Replica(entry, session, name, window, is_durable=is_durable, passed_max=self._passed_max)

    def _count_present(self) -> None:
        self._journal.set_attached(sum([replica.is_present for replica in self.replicas.values()]))
