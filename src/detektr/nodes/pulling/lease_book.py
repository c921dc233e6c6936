"""What is out at clients: the dispenser decides, and the table keeps it, so that a successor knows it too.

The table has a row for each frame that was ever out here and that its producer still leases to this node. A row is
written before a client, or the producer, hears of what it says. What a row says stands until the producer's journal
shows that the lease is over.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from detektr.memory.announcement import FrameName
from detektr.memory.pull_table import BACK, DEAD, DONE, OUT, PullTable, Row
from detektr.nodes.pulling.dispenser import Dispenser, Given, Result

PulledFrame = tuple[int, int, int]
"""Number of the input that the frame came from, stream key, sequence."""


class LeaseBook:
    """The frames of one node that are, or were, out at clients."""

    def __init__(self, node: str, table: PullTable, window: int, deliveries_max: int, inputs: int = 1) -> None:
        """Go on with what the table says.

        Args:
            node: its name; the names of its leases begin with it.
            table: of the node, ours to write.
            window: most frames that are out at once.
            deliveries_max: how often a frame is given out before it is given up.
            inputs: how many it has; rows of others, which a predecessor had, are let go of.
        """
        self._table = table
        prefix = f"{node}.{table.prefix:08x}"
        self._dispenser: Dispenser[PulledFrame] = Dispenser(
            prefix, window, deliveries_max=deliveries_max, count=table.named
        )
        self._rows: dict[PulledFrame, tuple[int, Row]] = {}
        for place, row in list(table.rows()):
            if row.entry >= inputs:
                table.free(place)
                continue
            frame = row.entry, row.key, row.sequence
            self._rows[frame] = place, row
            if row.state == OUT:
                lease = self._dispenser.name_of(row.number)
                self._dispenser.adopt(Given(lease, frame, row.deliveries, row.expires_ns, row.request))
            elif row.state == BACK:
                self._dispenser.adopt_back(frame, row.deliveries)
        for number, how in table.ends():
            self._dispenser.remember(self._dispenser.name_of(number), "already" if how == "already" else "expired")
        taken = {place for place, _ in self._rows.values()}
        self._free = [place for place in reversed(range(table.rows_max)) if place not in taken]

    @property
    def waiting(self) -> int:
        """How many frames were out, and are to be given out again."""
        return self._dispenser.waiting

    @property
    def is_any_out(self) -> bool:
        """Whether a lease is out at a client."""
        return self._dispenser.due_ns() is not None

    @property
    def has_room(self) -> bool:
        """Whether one more frame can be given out."""
        return self._dispenser.free > 0

    @property
    def has_free_row(self) -> bool:
        """Whether a frame that was never out can be noted."""
        return len(self._free) > 0

    def due_ns(self) -> int | None:
        """Return when the next lease expires, monotonic; None: none is out."""
        return self._dispenser.due_ns()

    def state_of(self, frame: PulledFrame) -> int:
        """Return the state of a frame; 0: it was never out, or its lease is over."""
        return self._rows[frame][1].state if frame in self._rows else 0

    def names(self, entry: int, states: Collection[int]) -> set[FrameName]:
        """Return the frames of an input that are in one of some states."""
        return {frame[1:] for frame, (_, row) in self._rows.items() if frame[0] == entry and row.state in states}

    def get(self, lease: str) -> Given[PulledFrame] | None:
        """Return what is out under a lease; None: nothing (any more)."""
        return self._dispenser.get(lease)

    def given_for(self, request: int) -> list[Given[PulledFrame]]:
        """Return what is out because of a question that was asked before, perhaps at a predecessor."""
        return self._dispenser.given_for(request)

    def give(
        self, count: int, until_ns: int, fresh: Callable[[], PulledFrame | None], request: int
    ) -> list[Given[PulledFrame]]:
        """Give frames out: see `Dispenser.give`."""
        left = len(self._free)

        def fresh_with_row() -> PulledFrame | None:
            nonlocal left
            left -= 1
            return fresh() if left >= 0 else None

        given = self._dispenser.give(count, until_ns, fresh_with_row, request)
        self._table.note_named(self._dispenser.count)
        for one in given:
            number = int(one.lease.rpartition("-")[2])
            self._write(one.item, OUT, number, one.delivery, one.expires_ns, request)
        return given

    def ack(self, lease: str) -> tuple[Result, PulledFrame | None]:
        """End a lease whose frame is done; returns what became of it, and the frame if it is to be settled."""
        given = self._dispenser.get(lease)
        if given is not None:
            self._end(given, DONE, "already")
        return self._dispenser.ack(lease)

    def fail(self, lease: str) -> tuple[Result, PulledFrame | None]:
        """End a lease whose work failed; returns what became of it, and the frame if it is to be given up."""
        given = self._dispenser.get(lease)
        result, lost = self._dispenser.fail(lease)
        if given is not None:
            self._end(given, BACK if lost is None else DEAD, "already")
        return result, lost

    def extend(self, lease: str, until_ns: int) -> Result:
        """Let a lease end later, or earlier."""
        given = self._dispenser.get(lease)
        if given is not None:
            number = int(lease.rpartition("-")[2])
            self._write(given.item, OUT, number, given.delivery, until_ns, given.request)
        return self._dispenser.extend(lease, until_ns)

    def undo(self, leases: Collection[str]) -> list[Result]:
        """Take back what never reached its client; returns what became of each."""
        results: list[Result] = ["expired" if self._dispenser.get(lease) is None else "acked" for lease in leases]
        for given in self._dispenser.undo(leases):
            self._end(given, BACK, "expired", given.delivery - 1)
        return results

    def expire(self, now_ns: int) -> tuple[list[Given[PulledFrame]], list[PulledFrame]]:
        """End the leases whose time is over; returns them, and those of their frames that are to be given up."""
        late, lost = self._dispenser.expire(now_ns)
        for given in late:
            self._end(given, DEAD if given.item in lost else BACK, "expired")
        return late, lost

    def forget(self, frames: Collection[PulledFrame]) -> int:
        """Let go of frames whose leases are over; returns how many of them were out, or waited."""
        gone = set(frames)
        count = self._dispenser.drop(lambda frame: frame in gone)
        for frame in gone:
            known = self._rows.pop(frame, None)
            if known is not None:
                self._table.free(known[0])
                self._free.append(known[0])
        return count

    def close(self, *, unlink: bool) -> None:
        """Close the table; with `unlink`, nobody goes on with it."""
        self._table.close(unlink=unlink)

    def _end(self, given: Given[PulledFrame], state: int, how: str, deliveries: int | None = None) -> None:
        number = int(given.lease.rpartition("-")[2])
        count = given.delivery if deliveries is None else deliveries
        self._write(given.item, state, number, count, given.expires_ns, 0)
        self._table.note_end(number, how)

    def _write(
        self, frame: PulledFrame, state: int, number: int, deliveries: int, expires_ns: int, request: int
    ) -> None:
        known = self._rows.get(frame)
        place = self._free.pop() if known is None else known[0]
        row = Row(state, *frame, number, deliveries, expires_ns, request)
        self._rows[frame] = place, row
        self._table.write(place, row)
