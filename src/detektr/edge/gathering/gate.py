"""Between the leases that a node receives and those that it may work on: orders them, and joins branches.

What may not begin yet is held here. `look` asks, at each turn of the loop, what has become of the frames that are
waited for; whoever ends one of them wakes this process, as its status block says that it holds frames back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from detektr.edge.gathering.join import Join, Joined
from detektr.edge.gathering.order import Order
from detektr.edge.gathering.outlook import Outlook
from detektr.edge.partition.map_reader import MapReader
from detektr.memory.announcement import FrameName, Lease
from detektr.memory.segment import fence
from detektr.memory.status_block import StatusBlock
from detektr.results import join
from detektr.selection.frame_selection import source_of
from detektr.wire.message import FailureKind

ENDS = (FailureKind.PERMANENT, FailureKind.OVERWRITTEN, FailureKind.TOO_OLD)  # no attempt follows these


class Input(Protocol):
    """What the gate needs of an `EdgeSubscriber`."""

    leases: deque[Lease]
    held: dict[FrameName, Lease | None]

    @property
    def branch(self) -> str:
        """The node at its other end."""
        ...

    def still_holds(self, lease: Lease) -> bool:
        """Whether a lease stands."""
        ...

    def let_go(self, lease: Lease) -> None:
        """Forget a lease that has ended."""
        ...

    def give_back(self, lease: Lease) -> None:
        """Give a lease back undone, since its camera is another replica's."""
        ...

    def settle(self, name: FrameName) -> None:
        """Complete a lease whose frame our own edges are done with, or without work on it."""
        ...

    def begin_alone(self, lease: Lease) -> None:
        """Note that a lease is worked on."""
        ...

    def finish(self, name: FrameName, delivery_tag: int = 0) -> None:
        """Complete a lease whose work is done."""
        ...

    def pass_on(self, name: FrameName) -> None:
        """Say that a frame's work is done and our own edges hold it."""
        ...

    def fail(self, name: FrameName, why: str, kind: FailureKind = FailureKind.RETRYABLE) -> None:
        """Note a failed attempt."""
        ...

    def bind(self, lease: Lease, partners: Sequence[tuple[Input, Lease]]) -> None:
        """Hold a lease together with those of the same frame on other inputs."""
        ...

    def unbind(self, lease: Lease) -> list[tuple[Input, Lease]]:
        """Forget which leases were held together with one; returns them."""
        ...


class Held(NamedTuple):
    """A lease that has come, and its input."""

    input: Input
    lease: Lease
    camera: str
    capture: str

    @property
    def is_over(self) -> bool:
        """Whether it is held no more, or was ended."""
        return self.input.held.get(self.lease.name) is not self.lease or not self.input.still_holds(self.lease)


class Gate:
    """See the module's first lines."""

    def __init__(
        self,
        outlook: Outlook,
        status_block: StatusBlock,
        replica: int,
        camera_map: MapReader | None,
        branches: Sequence[str],
        *,
        is_ordered: bool,
        is_passed_on: Callable[[FrameName], bool] | None = None,
    ) -> None:
        """Hold nothing yet.

        Args:
            outlook: what may still come to the node.
            status_block: ours.
            replica: our number.
            camera_map: of the node, where a camera may move to another replica.
            branches: the node's inputs where they are joined; else empty.
            is_ordered: whether each camera's frames begin in their order.
            is_passed_on: of a relay: whether it, or its predecessor, was done with a frame that its readers have still.
        """
        self._is_passed_on = is_passed_on
        self._outlook, self._status_block, self._replica, self._map = outlook, status_block, replica, camera_map
        self._order: Order[Held] | None = Order(self._pending) if is_ordered else None
        self._join: Join[Held] | None = Join(branches, self._branch_outcome) if branches else None
        self._out: dict[FrameName, Held] = {}  # of an order: ready, and not begun
        self._is_told = self._has_moved = False
        status_block.note_holding(is_holding=False)  # a predecessor may have died while it held some

    @property
    def is_holding(self) -> bool:
        """Whether leases are held back."""
        return (self._order is not None and self._order.is_holding) or (
            self._join is not None and self._join.is_holding
        )

    def following(self) -> int:
        """Return how many leases are held back only until others before them have begun."""
        return 0 if self._order is None else self._order.following()

    def admit(self, source: Input, lease: Lease) -> None:
        """Take a lease that has come by an input; `look` lets it through once its time has come."""
        held = _held(source, lease)
        other: Held | None = None
        if self._join is not None:
            other = self._join.hold(lease.name, source.branch, held)
        elif self._order is not None:
            other = self._order.hold(lease.name, held)
        if other is not None and other.input is not source and not other.is_over:
            other.input.settle(lease.name)  # two replicas have passed it on, as a lease had ended: once is enough

    @property
    def must_look(self) -> bool:
        """Whether leases are held back, and nobody was told to wake us yet when what they wait for has ended."""
        return self.is_holding and not self._is_told

    def look(self) -> None:
        """Let through what may begin now; say whether something is held back.

        It is said before the journals are read, so of a frame that ends meanwhile either we read it, or we are woken.
        """
        if self.is_holding:
            self._tell(is_holding=True)
            self._outlook.look()
            self._drop_over()
            self._let_through()
            if self._map is not None and (self._map.look() or self._has_moved):
                self._has_moved = True  # a lease may come that an edge gave us before it knew
                self._give_back(self._map)
        self._tell(is_holding=self.is_holding)

    def look_at_map(self) -> None:
        """Look for the map of cameras where there was none; once a second or so."""
        if self._map is not None and self._map.look(is_thorough=True):
            self._has_moved = True
            self._give_back(self._map)

    def begun(self, name: FrameName) -> None:
        """Note that work on a frame begins; the next one of its stream may be ready by that."""
        if self._order is not None:
            self._out.pop(name, None)
            self._order.begun(name)
            self._let_through()

    def puts_aside(self, source: Input, lease: Lease) -> bool:
        """Whether an attempt at an earlier frame of a stream has failed: then this lease waits here once more."""
        if self._order is None or not self._order.is_behind(lease.name):
            return False
        self._out.pop(lease.name, None)
        self._order.skipped(lease.name)
        self._order.hold(lease.name, _held(source, lease))
        return True

    def skipped(self, source: Input, lease: Lease) -> None:
        """Note that a lease that was let through is not begun, as it has ended; what came with it waits again."""
        self._out.pop(lease.name, None)
        if self._order is not None:
            self._order.skipped(lease.name)
        self.readmit(source.unbind(lease))

    def readmit(self, partners: Sequence[tuple[Input, Lease]]) -> None:
        """Let leases wait again, of whose frame the lease on another input has ended."""
        for source, lease in partners:
            held = _held(source, lease)
            if held.is_over:
                source.let_go(lease)
            elif self._join is not None:
                self._join.hold(lease.name, source.branch, held)

    def failed(self, name: FrameName, kind: FailureKind = FailureKind.RETRYABLE) -> None:
        """Note that an attempt has failed: later frames of the stream begin after the next attempt, or its end.

        A frame that comes no more, whatever its producer is told, keeps none of them waiting for that.
        """
        if kind in ENDS:
            self.begun(name)
        elif self._order is not None:
            self._out.pop(name, None)
            recalled = self._order.failed(name)
            if recalled is not None:
                held = self._out.pop((name[0], recalled), None)
                if held is not None and held.lease in held.input.leases:
                    held.input.leases.remove(held.lease)
                    self._order.hold(held.lease.name, held)

    def _tell(self, *, is_holding: bool) -> None:
        if self._is_told != is_holding:
            self._is_told = is_holding
            self._status_block.note_holding(is_holding=is_holding)
            if is_holding:
                fence()

    def _drop_over(self) -> None:
        """Let go of held leases that have ended."""
        self._forget(_lets_go)

    def _give_back(self, camera_map: MapReader) -> None:
        """Give back what is held of cameras that are another replica's by now: they move when nobody holds a frame."""

        def is_moving(held: Held) -> bool:
            if camera_map.map.home(held.camera).owner == self._replica:
                return False
            held.input.give_back(held.lease)
            return True

        self._forget(is_moving)

    def _forget(self, is_over: Callable[[Held], bool]) -> None:
        for held in [] if self._order is None else self._order.forget(is_over):
            self.readmit(held.input.unbind(held.lease))
        if self._join is not None:
            self._join.forget(is_over)

    def _let_through(self) -> None:
        for joined in [] if self._join is None else self._join.ready():
            held = self._bound(joined)
            if held is not None and self._order is not None:
                self._order.hold(joined.name, held)
            elif held is not None:
                held.input.leases.append(held.lease)
        if self._order is not None:
            for name, held in self._order.ready():
                if held.is_over:
                    held.input.let_go(held.lease)
                    self.skipped(held.input, held.lease)
                else:
                    self._out[name] = held
                    held.input.leases.append(held.lease)

    def _bound(self, joined: Joined[Held]) -> Held | None:
        """Return the leases of one frame as one, held by the first input; None: the frame was done with already."""
        if joined.is_done:
            for held in joined.items:
                held.input.settle(joined.name)
            return None
        first, others = joined.items[0], joined.items[1:]
        leases = [held.lease for held in joined.items]
        payload, delivery = join([one.payload for one in leases], [one.delivery for one in leases], joined.missing)
        one = first.lease
        lease = Lease(one.key, one.sequence, one.captured_ns, payload, one.cell, one.delivery_tag, delivery)
        first.input.bind(lease, [(held.input, held.lease) for held in others])
        return Held(first.input, lease, first.camera, first.capture)

    def _pending(self, key: int, first: int, last: int) -> set[int]:
        found = self._outlook.pending(key, first, last)
        if self._is_passed_on is not None:
            found = {sequence for sequence in found if not self._is_passed_on((key, sequence))}
        return found

    def _branch_outcome(self, branch: str, name: FrameName, held: Held) -> str:
        return self._outlook.outcome(branch, held.capture, name)

    def close(self) -> None:
        """Close what is open."""
        self._outlook.close()
        if self._map is not None:
            self._map.close()


def _lets_go(held: Held) -> bool:
    """Let go of a lease if it has ended; whether it has."""
    if held.is_over:
        held.input.let_go(held.lease)
        return True
    return False


def _held(source: Input, lease: Lease) -> Held:
    return Held(source, lease, *source_of(lease.payload))  # a broken one is its own work's failure
